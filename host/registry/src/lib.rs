//! Components in an OCI registry, as the tools of WebAssembly keep them (`wkg`, CNCF's guidance for Wasm artifacts), and their signatures, as
//! cosign keeps them.
//!
//! A component is an artifact: a manifest that names one configuration (`application/vnd.wasm.config.v0+json`) and one layer
//! (`application/wasm`, the component). The manifest of an agent or a policy is an annotation of it, since other tools refuse an artifact with a
//! second layer.
//!
//! Invariants: a registry is not trusted. Whatever it sends is read up to a limit that is known before, and counts only if it has the digest
//! that was asked for. What is in a manifest decides neither where a file is written nor how much memory is taken. Credentials go to
//! the registry that they are for, and to the service for tokens that it names, never to where it redirects.
//!
//! The crate `oci-client` is not used: it reads manifests, tokens and errors of a registry without a limit.
//!
//! Must not know: what a component does, keys, files of components.

mod artifact;
mod client;
mod credentials;
mod documents;
mod error;
mod reference;
mod transport;

pub use artifact::{Artifact, ArtifactDescription, PulledArtifact, SignatureLayer};
pub use client::{Registry, RegistryOptions};
pub use credentials::Credentials;
pub use documents::MAX_ANNOTATION_BYTES;
pub use error::RegistryError;
pub use reference::{Reference, ReferenceError};
