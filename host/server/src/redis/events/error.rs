//! Errors of sending events to a Redis, after which it is tried again.

use ark_store::{CommitError, ReadError};

use crate::outgoing_events::{EventSourceError, HostNameError};
use crate::redis::connection::LinkError;

/// Why events are not sent for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendingError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Source(#[from] EventSourceError),
    #[error("an event cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    /// The stream is not this host's.
    #[error(
        "the last entry of the stream, {}-{}, {why}; name another stream in redis.events.stream, or rename or delete this one",
        last_id.0,
        last_id.1
    )]
    Foreign {
        /// The id of its last entry.
        last_id: (u64, u64),
        /// What is wrong with it, to be read after the entry.
        why: &'static str,
    },
}

impl From<redis::RedisError> for SendingError {
    fn from(error: redis::RedisError) -> Self {
        Self::Link(error.into())
    }
}

impl From<HostNameError> for SendingError {
    fn from(error: HostNameError) -> Self {
        match error {
            HostNameError::Read(error) => error.into(),
            HostNameError::Commit(error) => error.into(),
        }
    }
}
