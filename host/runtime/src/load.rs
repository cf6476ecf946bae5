//! What is refused before anything of it runs.

use wasmtime::component::Component;
use wasmtime::component::types::{Component as ComponentType, ComponentItem};

use ark_model::ids::Digest;

use super::engine::Engine;
use super::limits::LimitError;

/// The largest component that is looked at, in bytes.
pub const MAX_COMPONENT_BYTES: usize = 32 * 1024 * 1024;

/// Why a component is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Too large to be looked at.
    #[error("it is {bytes} bytes large; {MAX_COMPONENT_BYTES} are the most")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// No WebAssembly at all.
    #[error(
        "it is not a WebAssembly component: it does not start with the WebAssembly magic number"
    )]
    NotWasm,
    /// A core module.
    #[error(
        "it is a core WebAssembly module, not a component; build it for wasm32-wasip2, or make it one with wit-component"
    )]
    CoreModule,
    /// Malformed, truncated, or of a proposal that is switched off.
    #[error("it is malformed or uses a feature that is not supported: {0}")]
    Malformed(String),
    /// It declares more than may be compiled.
    #[error("it declares {found} {what}; {most} are the most")]
    TooComplex {
        /// Of what there is too much.
        what: &'static str,
        /// How much there is, at least.
        found: u64,
        /// The most.
        most: u64,
    },
    /// It wants what it may not have.
    #[error("it imports what is not granted: {}", .0.join(", "))]
    NotGranted(Vec<String>),
    /// It is no such component.
    #[error("it does not fit the world {world}: {problem}")]
    WrongWorld {
        /// The world it was loaded for.
        world: &'static str,
        /// What is missing or different.
        problem: String,
    },
    /// Its bytes are others than the manifest's.
    #[error(
        "its SHA-256 is {found}, its manifest says {expected}; if the change is meant, update the manifest"
    )]
    WrongDigest {
        /// As in the manifest.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// Its own metadata and its manifest differ.
    #[error("its metadata says {field} {found:?}, its manifest {expected:?}")]
    WrongMetadata {
        /// Which field.
        field: &'static str,
        /// As in the manifest.
        expected: String,
        /// As it says itself.
        found: String,
    },
    /// Its metadata makes no sense.
    #[error("its metadata is not usable: {0}")]
    BadMetadata(String),
    /// It could not be started to be asked for its metadata.
    #[error("asked for its metadata, it failed: {0}")]
    Failed(String),
    /// Its manifest asks for too much.
    #[error(transparent)]
    Limits(#[from] LimitError),
}

/// Compiles a component after looking at its first bytes.
pub(super) fn compile_component(engine: &Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    if bytes.len() > MAX_COMPONENT_BYTES {
        return Err(LoadError::TooLarge { bytes: bytes.len() });
    }
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => return Err(LoadError::CoreModule),
        Some([0, b'a', b's', b'm', ..]) => {}
        _ => return Err(LoadError::NotWasm),
    }
    super::shape::check_declared_counts(bytes)?;
    Component::from_binary(engine.wasmtime(), bytes)
        .map_err(|error| LoadError::Malformed(format!("{error:#}")))
}

/// The functions (and other things than types) that a component imports, as `interface#function`.
pub(super) fn list_imports(engine: &Engine, component: &ComponentType) -> Vec<String> {
    let mut found = Vec::new();
    for (name, import) in component.imports(engine.wasmtime()) {
        collect_imports(engine, name, import.ty, &mut found);
    }
    found
}

fn collect_imports(engine: &Engine, name: &str, item: ComponentItem, found: &mut Vec<String>) {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            for (inner, export) in instance.exports(engine.wasmtime()) {
                let separator = if name.contains('#') { '.' } else { '#' };
                collect_imports(
                    engine,
                    &format!("{name}{separator}{inner}"),
                    export.ty,
                    found,
                );
            }
        }
        // A type is a description: it can do nothing. A resource's functions are listed themselves.
        ComponentItem::Type(_) | ComponentItem::Resource(_) => {}
        ComponentItem::ComponentFunc(_)
        | ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_) => {
            found.push(name.to_owned());
        }
    }
}

/// What an agent may import, apart from what its manifest grants.
pub(super) fn agent_may_import(import: &str, capabilities: &[String]) -> bool {
    let (interface, function) = import.split_once('#').unwrap_or((import, ""));
    let unversioned = interface
        .split_once('@')
        .map_or(interface, |(name, _)| name);
    match unversioned {
        "ark:agent/host" if function == "truth-set" => {
            capabilities.iter().any(|granted| granted == "truth-set")
        }
        "ark:agent/host"
        | "wasi:cli/environment"
        | "wasi:cli/exit"
        | "wasi:cli/stdin"
        | "wasi:cli/stdout"
        | "wasi:cli/stderr"
        | "wasi:cli/terminal-input"
        | "wasi:cli/terminal-output"
        | "wasi:cli/terminal-stdin"
        | "wasi:cli/terminal-stdout"
        | "wasi:cli/terminal-stderr"
        | "wasi:io/error"
        | "wasi:io/poll"
        | "wasi:io/streams"
        | "wasi:clocks/wall-clock"
        | "wasi:clocks/monotonic-clock"
        | "wasi:random/random"
        | "wasi:random/insecure"
        | "wasi:random/insecure-seed" => true,
        _ => false,
    }
}
