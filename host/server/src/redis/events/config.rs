//! Configuration of the events that are sent to a Redis.

/// How events are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    /// The key of the stream.
    pub stream: String,
    /// About how many entries the stream keeps.
    pub max_length: u64,
    /// Whether events are published to the channels too.
    pub publish: bool,
    /// What stands before the names of the channels.
    pub channel_prefix: String,
    /// The `source` of the events; `None`: the host's name in the Redis.
    pub source: Option<String>,
}
