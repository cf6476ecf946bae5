//! Meters of API calls: counts by status class, durations.

use std::sync::Arc;
use std::time::Instant;

use super::handles::{Counter, Level, Timing};
use super::streams::StreamMeters;

/// The kind of an API call. The API classifies its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[repr(usize)]
pub enum CallKind {
    /// Proposes actions.
    Actions,
    /// Sends a signal.
    Signals,
    /// Reports an execution.
    Executions,
    /// Changes something else.
    Changes,
    /// Only reads.
    Reads,
    /// Asks for liveness or readiness. It does not count for the availability objective.
    Health,
}

impl CallKind {
    /// Every kind, in the order of [`ApiMeters::calls`].
    pub const ALL: [Self; 6] = [
        Self::Actions,
        Self::Signals,
        Self::Executions,
        Self::Changes,
        Self::Reads,
        Self::Health,
    ];

    /// Returns the name as a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The classes of HTTP statuses, in the order of [`CallMeter::answers`].
pub const ANSWER_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The calls of one kind.
#[derive(Debug, Default)]
pub struct CallMeter {
    /// Answers, by class in the order of [`ANSWER_CLASSES`].
    pub answers: [Counter; 4],
    /// One call, from the head of the request to the head of the answer.
    pub duration: Timing,
}

/// The calls of all kinds.
#[derive(Debug, Default)]
pub struct ApiMeters {
    /// One meter for each kind, in the order of [`CallKind::ALL`].
    pub calls: [CallMeter; 6],
    /// The event streams.
    pub streams: Arc<StreamMeters>,
    /// When the certificate in force ends, in seconds since 1970; 0 without one.
    pub certificate_end: Arc<Level>,
}

impl ApiMeters {
    /// Records an answer with its HTTP status.
    pub fn record_answer(&self, call: CallKind, status: u16, started: Instant) {
        let Some(meter) = self.calls.get(call as usize) else {
            return;
        };
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        if let Some(count) = meter.answers.get(class) {
            count.increment();
        }
        meter.duration.record_since(started);
    }
}
