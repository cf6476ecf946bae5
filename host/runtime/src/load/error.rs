//! Errors of loading a component.

use ark_model::ids::Digest;

use crate::limits::LimitError;
use crate::quotas::QuotaError;

/// The largest component that is loaded, in bytes. The bound is checked before anything else.
pub const MAX_COMPONENT_BYTES: usize = 64 * 1024 * 1024;

/// Why a component is refused.
///
/// Except for [`LoadError::Failed`] and the two variants about metadata, a component is refused before any of its code runs. Its metadata is
/// asked for under the same limits as an invocation.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The component is larger than [`MAX_COMPONENT_BYTES`].
    #[error("it has {bytes} bytes; {MAX_COMPONENT_BYTES} are allowed")]
    TooLarge {
        /// The size, in bytes.
        bytes: usize,
    },
    /// The bytes are not WebAssembly.
    #[error(
        "it is not a WebAssembly component: it does not start with the WebAssembly magic number"
    )]
    NotWasm,
    /// The bytes are a core module.
    #[error(
        "it is a core WebAssembly module, not a component; build it for wasm32-wasip2, or make it one with wit-component"
    )]
    CoreModule,
    /// The component is malformed, cut off, or uses a WebAssembly proposal that is switched off. Holds wasmtime's description.
    #[error("it is malformed or uses a feature that is not supported: {0}")]
    Malformed(String),
    /// The component declares more than may be compiled.
    #[error("it declares {found} {what}; {most} are allowed")]
    TooComplex {
        /// What it declares too many of, e.g. `functions`.
        what: &'static str,
        /// The number at which counting stopped.
        found: u64,
        /// The number that is allowed.
        most: u64,
    },
    /// The component imports functions that no agent gets, or, as a policy, any function. Holds their names, as `interface#function`.
    #[error("it imports what is not granted: {}", .0.join(", "))]
    NotGranted(Vec<String>),
    /// The component is a policy where an agent is wanted.
    #[error(
        "it is a policy (it exports `evaluate`), not an agent; `ark policy upload FILE` takes a policy"
    )]
    IsPolicy,
    /// The component is an agent where a policy is wanted.
    #[error(
        "it is an agent (it exports `handle`), not a policy; `ark agent add FILE` writes the manifest that `ark agent upload` takes"
    )]
    IsAgent,
    /// The component does not export or import what its world demands.
    #[error("it does not fit the world {world}: {problem}")]
    WrongWorld {
        /// The world for which it was loaded.
        world: &'static str,
        /// What is missing or different, as wasmtime describes it.
        problem: String,
    },
    /// The bytes have another SHA-256 than the manifest states.
    #[error(
        "its SHA-256 is {found}, its manifest says {expected}; if the change is meant, update the manifest"
    )]
    WrongDigest {
        /// The SHA-256 in the manifest.
        expected: Digest,
        /// The SHA-256 of the bytes.
        found: Digest,
    },
    /// The agent's metadata differs from its manifest.
    #[error("its metadata says {field} {found:?}, its manifest {expected:?}")]
    WrongMetadata {
        /// The field that differs: `name` or `version`.
        field: &'static str,
        /// The value in the manifest.
        expected: String,
        /// The value in the metadata.
        found: String,
    },
    /// The policy's metadata breaks a rule of the format. Holds which one.
    #[error("its metadata is not usable: {0}")]
    BadMetadata(String),
    /// The component failed while it was asked for its metadata. Holds the failure.
    #[error("asked for its metadata, it failed: {0}")]
    Failed(String),
    /// The operator demands a signature, and the component has none that counts. Holds why.
    #[error("{0}")]
    Unsigned(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The manifest asks for limits that are looser than the operator's ceiling.
    #[error(transparent)]
    Limits(#[from] LimitError),
    /// The manifest asks for quotas that are looser than the operator's.
    #[error(transparent)]
    Quotas(#[from] QuotaError),
}
