//! Why reading a stream stops for now.

use ark_store::{CommitError, ReadError};

use super::connection::LinkError;
use super::consumer::ConsumerError;
use super::sink::AcceptError;

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

impl From<ConsumerError> for ReadingError {
    fn from(error: ConsumerError) -> Self {
        match error {
            ConsumerError::Read(error) => error.into(),
            ConsumerError::Commit(error) => error.into(),
        }
    }
}
