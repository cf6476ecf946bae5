//! From a core module to a component: to a policy, as the Graveyard is pinned and as `ark policy build` does it, and to a guest that is written as
//! WebAssembly text (the probes of the host, guests of the tests).
//!
//! A crate of its own, since both the host and the tool that builds the Graveyard (which the host has inside) need it.

use std::borrow::Cow;
use std::path::Path;

use wasm_encoder::{ComponentSection, CustomSection, Module, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The name of the custom section that carries a policy's test vectors.
pub const VECTORS: &str = "ark:vectors";

/// Why a module cannot be made a policy.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    /// It is no module, or a malformed one.
    #[error("it is no valid core module: {0}")]
    Malformed(#[from] wasmparser::BinaryReaderError),
    /// It imports something.
    #[error("a policy imports nothing, but this module imports {}", .0.join(", "))]
    Imports(Vec<String>),
    /// It does not say what it exports.
    #[error(
        "the module does not describe its world: {0}; export the policy with ark_guest::export_policy! or ark_guest::export_configurable_policy!"
    )]
    NoWorld(String),
    /// The contract cannot be read, or has no such world.
    #[error("the contract: {0}")]
    Contract(String),
    /// The exports of the module do not fit the component type that it states.
    #[error("the module cannot be made a component: {0}")]
    Encoding(String),
}

/// Makes a core module that was built for wasm32-unknown-unknown a component, with its test vectors as a custom section.
///
/// # Errors
/// The module imports something, or does not describe its world.
pub fn build_policy_component(module: &[u8], vectors: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let mut encoder = ComponentEncoder::default();
    let mut component = encoder
        .module(&encode_component(module)?)
        .map_err(|error| ComponentizeError::NoWorld(format!("{error:#}")))?
        .validate(true)
        .encode()
        .map_err(|error| ComponentizeError::Encoding(format!("{error:#}")))?;
    let section = CustomSection {
        name: VECTORS.into(),
        data: Cow::Borrowed(vectors),
    };
    section.append_to_component(&mut component);
    Ok(component)
}

/// Makes a core module that does not describe its world a component of a world.
///
/// `contract` are WIT packages, each a directory or a file; the world is that of the last one, by its name where it has several.
///
/// # Errors
/// The contract cannot be read or has no such world, or the module does not fit it.
pub fn build_guest_component(
    contract: &[&Path],
    world: Option<&str>,
    mut module: Vec<u8>,
) -> Result<Vec<u8>, ComponentizeError> {
    let in_contract = |error| ComponentizeError::Contract(format!("{error:#}"));
    let mut resolve = Resolve::default();
    let mut last = None;
    for path in contract {
        last = Some(resolve.push_path(path).map_err(in_contract)?.0);
    }
    let world = resolve
        .select_world(last.as_slice(), world)
        .map_err(in_contract)?;
    let encoded = embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .and_then(|()| {
            ComponentEncoder::default()
                .module(&module)?
                .validate(true)
                .encode()
        });
    encoded.map_err(|error| ComponentizeError::Encoding(format!("{error:#}")))
}

/// The module without the custom sections that say how it was built. Those that describe its world stay: the encoder reads them.
fn encode_component(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let mut bare = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        match &payload {
            Payload::ImportSection(imports) if imports.count() > 0 => {
                let mut named = Vec::new();
                for import in imports.clone().into_imports() {
                    let import = import?;
                    named.push(format!("{}.{}", import.module, import.name));
                }
                return Err(ComponentizeError::Imports(named));
            }
            Payload::CustomSection(custom) if !custom.name().starts_with("component-type") => {
                continue;
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            // The parser's offsets are into this very slice.
            let data = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok())
                .and_then(|(start, end)| module.get(start..end))
                .unwrap_or_default();
            bare.section(&RawSection { id, data });
        }
    }
    Ok(bare.finish())
}
