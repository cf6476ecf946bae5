//! Why the router refuses a signal or cannot start.

use crate::hrm::RecordFailure;
use crate::reply::ReplyDropped;
use ark_store::{CommitError, ReadError};

/// Why a signal was not accepted, an agent not installed, or the router not started.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// Too many deliveries are pending.
    #[error("too many signals are waiting; try again in a second")]
    Busy,
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Closed,
    /// The signal could not be made durable, or the store not be read.
    #[error("the signal could not be stored: {0}")]
    NotStored(#[source] RecordFailure),
    /// The idempotency key was used for another signal.
    #[error("this idempotency key was used for another signal; use a fresh key")]
    KeyReused,
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl From<ReadError> for RouterError {
    fn from(error: ReadError) -> Self {
        Self::NotStored(error.into())
    }
}

impl From<CommitError> for RouterError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::KeyReused { .. } => Self::KeyReused,
            CommitError::Closed => Self::Closed,
            error => Self::NotStored(error.into()),
        }
    }
}

impl From<ReplyDropped> for RouterError {
    fn from(_: ReplyDropped) -> Self {
        Self::Closed
    }
}
