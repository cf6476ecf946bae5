//! Errors of starting a front.

use std::path::PathBuf;

use ark_runtime::{EngineError, PinError};
use ark_signature::KeyError;

use crate::policies::LoadPoliciesError;
use crate::telemetry::TelemetryError;

/// Why a front does not start, or does not take other policies.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// A file cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The client of the owner cannot be made.
    #[error("the owner cannot be reached over TLS: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// A key that may sign policies cannot be used.
    #[error("signatures.policies: {0}")]
    SignatureKeys(#[from] KeyError),
    /// The WebAssembly engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The Graveyard cannot be trusted.
    #[error(transparent)]
    Graveyard(#[from] PinError),
    /// An operator policy cannot be loaded.
    #[error(transparent)]
    Policies(#[from] LoadPoliciesError),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}
