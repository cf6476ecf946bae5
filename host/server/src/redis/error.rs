//! Errors of reading a stream, after which it is tried again.

use ark_store::{CommitError, ReadError};

use super::connection::LinkError;
use super::sink::AcceptError;
use crate::outgoing_events::HostNameError;

/// Why reading a stream stops for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadingError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Accept(#[from] AcceptError),
}

impl From<redis::RedisError> for ReadingError {
    fn from(error: redis::RedisError) -> Self {
        Self::Link(error.into())
    }
}

impl From<HostNameError> for ReadingError {
    fn from(error: HostNameError) -> Self {
        match error {
            HostNameError::Read(error) => error.into(),
            HostNameError::Commit(error) => error.into(),
        }
    }
}
