//! Status of sending events to a Redis, for the API and metrics.

use std::time::Duration;

use parking_lot::Mutex;

use ark_model::meters::Counter;
use ark_store::{EventCursor, ReadError, Store};

use super::config::EventsConfig;
use crate::outgoing_events::{EventsBacklog, measure_backlog};
use crate::redis::answer::LastAnswer;

/// How events are sent, since the start of the host.
#[derive(Debug, Default)]
pub struct EventsStatus {
    /// The key of the stream.
    pub stream: String,
    /// Events that were appended to the stream.
    pub sent: Counter,
    /// Audit rows that went into an archive before they could be sent.
    pub missed: Counter,
    /// Connections that failed, and commands that were refused.
    pub failures: Counter,
    /// How far events were sent; `None`: it is not known yet.
    position: Mutex<Option<EventCursor>>,
    /// Why events are not sent now.
    problem: Mutex<Option<String>>,
    /// When the Redis took events last, or was asked what it has.
    answer: LastAnswer,
}

impl EventsStatus {
    pub(in crate::redis) fn new(config: &EventsConfig) -> Self {
        Self {
            stream: config.stream.clone(),
            ..Self::default()
        }
    }

    /// How far events were sent; `None`: it is not known yet.
    #[must_use]
    pub fn position(&self) -> Option<EventCursor> {
        *self.position.lock()
    }

    pub(super) fn set_position(&self, position: EventCursor) {
        *self.position.lock() = Some(position);
    }

    /// Why events are not sent now; `None`: they are.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// How long ago the Redis took events, or said what it has; `None`: never since the start of the host.
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

    /// Returns what is not sent yet; `None`: it is not known how far events were sent.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn measure_backlog(&self, store: &Store) -> Result<Option<EventsBacklog>, ReadError> {
        let Some(position) = self
            .position()
            .map_or_else(|| store.sent_events(), |it| Ok(Some(it)))?
        else {
            return Ok(None);
        };
        measure_backlog(store, position).map(Some)
    }
}
