//! Status of reading streams and of sending events, for the API and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use ark_model::meters::Counter;

use super::answer::LastAnswer;
use super::config::RedisConfig;
use super::events::EventsStatus;

/// How each stream is read, and how events are sent.
#[derive(Debug, Default)]
pub struct RedisStatus {
    /// In the order of the configuration.
    pub streams: Vec<StreamStatus>,
    /// `None`: no events are sent.
    pub events: Option<Arc<EventsStatus>>,
}

/// How a stream is read, since the start of the host.
#[derive(Debug, Default)]
pub struct StreamStatus {
    /// The key of the stream.
    pub stream: String,
    /// The consumer group.
    pub group: String,
    /// The topic of the signals.
    pub topic: String,
    /// The stream for entries that cannot become signals.
    pub dead_letters: String,
    /// Entries that became signals.
    pub accepted: Counter,
    /// Entries that had become signals before.
    pub duplicates: Counter,
    /// Entries that went to the dead-letter stream.
    pub refused: Counter,
    /// Entries that were trimmed from the stream before they could be read.
    pub trimmed: Counter,
    /// Entries that were taken over from another consumer.
    pub claimed: Counter,
    /// Connections that failed, and commands that were refused.
    pub failures: Counter,
    /// Whether entries wait for a receiver whose queue is full. 1: they do.
    waiting: AtomicU64,
    /// When the Redis answered the reader of this stream last.
    answer: LastAnswer,
    /// Why the stream is not read now.
    problem: Mutex<Option<String>>,
}

impl RedisStatus {
    /// Makes the status of what is configured, of which nothing was read or sent yet.
    #[must_use]
    pub fn new(config: Option<&RedisConfig>) -> Self {
        let events = config.and_then(|config| config.events.as_ref());
        let streams = config.into_iter().flat_map(|config| &config.signals);
        Self {
            events: events.map(|events| Arc::new(EventsStatus::new(events))),
            streams: streams
                .map(|stream| StreamStatus {
                    stream: stream.stream.clone(),
                    group: stream.group.clone(),
                    topic: stream.form.topic.clone(),
                    dead_letters: stream.dead_letters.clone(),
                    ..StreamStatus::default()
                })
                .collect(),
        }
    }
}

impl StreamStatus {
    /// Why the stream is not read now; `None`: it is read.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// How long ago the Redis answered the reader of this stream last; `None`: never since the start of the host.
    #[must_use]
    pub fn answer_age(&self) -> Option<Duration> {
        self.answer.age()
    }

    pub(super) fn note_answer(&self) {
        self.answer.note_now();
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }

    /// Whether entries wait until a receiver's queue has room.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    pub(super) fn set_waiting(&self, waits: bool) {
        self.waiting.store(u64::from(waits), Ordering::Relaxed);
    }
}
