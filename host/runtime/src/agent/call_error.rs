//! Why a host call returns no value: an error that the guest receives, or one that ends the invocation.

use ark_model::check::FieldError;

use crate::services::ServiceError;

/// The error of a host call.
#[derive(Debug)]
pub enum HostCallError {
    /// The key is at another revision than expected: this one (0: the key does not exist).
    Conflict(u64),
    /// An argument is malformed: which, and what would be right.
    Invalid(String),
    /// The agent's manifest does not grant the call.
    NotGranted(String),
    /// The host cannot do it now.
    Unavailable(String),
    /// The invocation ends. The guest does not receive this error.
    Ended(wasmtime::Error),
}

impl From<FieldError> for HostCallError {
    fn from(error: FieldError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<ServiceError> for HostCallError {
    fn from(error: ServiceError) -> Self {
        Self::Unavailable(error.0)
    }
}

impl From<wasmtime::Error> for HostCallError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Ended(error)
    }
}
