//! The name that this host gives itself: in the consumer groups of a Redis, and as the source of events.

use ark_model::ids::Millis;
use ark_store::{CommitError, ReadError, RedisChange, Store, Unit};

/// Why the name is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostNameError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// This host's name; given with the first question.
pub(crate) fn find_host_name(store: &Store) -> Result<String, HostNameError> {
    if let Some(consumer) = store.redis_consumer()? {
        return Ok(consumer);
    }
    store.commit(Unit {
        at: Millis::now(),
        redis: vec![RedisChange::join()],
        ..Unit::default()
    })?;
    // Another stream's thread may have been first.
    let consumer = store.redis_consumer()?;
    consumer.ok_or(HostNameError::Commit(CommitError::Closed))
}
