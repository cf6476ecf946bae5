//! This host's name in the Redis: in consumer groups, and as the source of events.

use ark_model::ids::Millis;
use ark_store::{CommitError, ReadError, RedisChange, Store, Unit};

/// Why the name is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConsumerError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// This host's name; given with the first question.
pub(super) fn find_consumer(store: &Store) -> Result<String, ConsumerError> {
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
    consumer.ok_or(ConsumerError::Commit(CommitError::Closed))
}
