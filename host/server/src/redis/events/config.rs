//! Configuration of the events that are sent to a Redis.

use strum::VariantArray;

use crate::outgoing_events::EventChannel;

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

impl EventsConfig {
    /// Returns the channels that events are published to; none if they are not.
    #[must_use]
    pub fn list_channels(&self) -> Vec<String> {
        let channels = EventChannel::VARIANTS.iter();
        channels
            .filter(|_| self.publish)
            .map(|channel| format!("{}{}", self.channel_prefix, channel.as_str()))
            .collect()
    }
}
