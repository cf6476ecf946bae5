//! Status of a webhook, for the API and metrics.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use ark_model::ids::{Millis, Name};
use ark_model::meters::Counter;
use ark_store::{EventCursor, ReadError, Store};

use super::config::WebhookConfig;
use crate::outgoing_events::{EventsBacklog, measure_backlog};

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum FailureKind {
    /// The receiver answered with something else than success.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// There was no connection to it, or the connection ended.
    Unreachable,
    /// Its address is none that may be connected to.
    Blocked,
}

impl FailureKind {
    /// Returns the kind as metrics have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The state of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookState {
    /// How far events were sent; `None`: it is not known yet.
    pub position: Option<EventCursor>,
    /// The event that was tried last and is not delivered.
    pub event_id: Option<String>,
    /// How many attempts at it have failed.
    pub attempts: u32,
    /// When it is tried again.
    pub retry_at: Option<Millis>,
    /// The time from which on no attempt has succeeded.
    pub failing_since: Option<Millis>,
    /// The time from which on nothing is sent, and why.
    pub disabled: Option<(Millis, String)>,
    /// Why the last attempt failed, or why there is none.
    pub problem: Option<String>,
    /// When an event was delivered last, since the start of the host.
    pub delivered_at: Option<Millis>,
}

/// How a webhook has done since the start of the host.
#[derive(Debug)]
pub struct WebhookStatus {
    /// Its name.
    pub name: Name,
    /// Scheme, host and port of its address.
    pub origin: String,
    /// The patterns of the events that it gets.
    pub events: Vec<String>,
    /// How many dead letters are kept at most.
    pub kept_dead_letters: u32,
    /// Attempts that delivered an event.
    pub delivered: Counter,
    failed: [Counter; 4],
    /// Events that became dead letters.
    pub dead_letters_written: Counter,
    /// Dead letters that were dropped, since there were too many.
    pub dropped: Counter,
    /// Audit rows that went into an archive before they could be sent.
    pub missed: Counter,
    state: Mutex<WebhookState>,
    /// Whether the database says something new about it: an operator has enabled it or asked for a redelivery.
    is_changed: AtomicBool,
}

impl WebhookStatus {
    pub(super) fn new(config: &WebhookConfig) -> Self {
        Self {
            name: config.name.clone(),
            origin: config.origin.clone(),
            events: config.events.patterns(),
            kept_dead_letters: config.dead_letters,
            delivered: Counter::default(),
            failed: Default::default(),
            dead_letters_written: Counter::default(),
            dropped: Counter::default(),
            missed: Counter::default(),
            state: Mutex::default(),
            // What was asked for before the start is looked up too.
            is_changed: AtomicBool::new(true),
        }
    }

    /// Counts the attempts that failed in one way.
    #[must_use]
    pub fn failed(&self, kind: FailureKind) -> &Counter {
        let [refused, timeout, unreachable, blocked] = &self.failed;
        match kind {
            FailureKind::Refused => refused,
            FailureKind::Timeout => timeout,
            FailureKind::Unreachable => unreachable,
            FailureKind::Blocked => blocked,
        }
    }

    /// Returns how it does now.
    #[must_use]
    pub fn state(&self) -> WebhookState {
        self.state.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut WebhookState)) {
        change(&mut self.state.lock());
    }

    /// Notes that the database says something new about the webhook.
    pub(super) fn note_change(&self) {
        self.is_changed.store(true, Ordering::Release);
    }

    /// Returns whether [`Self::note_change`] was called since the last question.
    pub(super) fn take_change(&self) -> bool {
        self.is_changed.swap(false, Ordering::AcqRel)
    }

    /// Returns what was committed behind the last event that was sent or passed over; `None`: it is not known how far that is.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn measure_backlog(&self, store: &Store) -> Result<Option<EventsBacklog>, ReadError> {
        let position = self.state.lock().position;
        position
            .map(|position| measure_backlog(store, position))
            .transpose()
    }

    /// Returns why events are not delivered now; `None` while they are.
    #[must_use]
    pub fn describe_problem(&self) -> Option<String> {
        let state = self.state.lock();
        if let Some((_, reason)) = &state.disabled {
            return Some(format!("it is disabled: {reason}"));
        }
        state.problem.clone()
    }
}
