//! Configuration of the streams that are read from, and the events that are sent to, a Redis.

use std::sync::Arc;

use super::connection::RedisSettings;
use super::entry::EntryForm;
use super::events::EventsConfig;

/// The Redis, what is read from it, and what is sent to it.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// How it is reached.
    pub settings: Arc<RedisSettings>,
    /// The streams whose entries become signals.
    pub signals: Vec<SignalStream>,
    /// How events are sent; `None`: none are.
    pub events: Option<EventsConfig>,
}

/// A stream whose entries become signals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalStream {
    /// The key of the stream.
    pub stream: String,
    /// The consumer group.
    pub group: String,
    /// What an entry becomes.
    pub form: EntryForm,
    /// How often an entry is read at most before it goes to the dead-letter stream. It is read again only after this host or the Redis ended
    /// in between.
    pub max_attempts: u64,
    /// The stream for entries that cannot become signals.
    pub dead_letters: String,
}
