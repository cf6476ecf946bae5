//! Meters: the plain handles that every part records into while it works.
//!
//! A [`Count`] is an atomic number, a [`Timing`] hands a duration to whoever wants it, or to nobody. Recording takes no lock of its own and
//! allocates nothing, so it may stand on the path of every decision. Whoever shows the numbers reads them when asked.
//!
//! What is counted here starts at 0 with the process. What has an audit row or a row of its own is counted when its commit succeeded, never
//! before.
//!
//! Must not know: how numbers are shown, Prometheus, HTTP, the parts that record.

mod agents;
mod policies;
mod rules;
mod spans;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::decision::Outcome;
use crate::ids::Digest;

pub use agents::{AgentMeter, AgentMeters, Deployment, QUARANTINE_CAUSES};
pub use policies::{
    COMPARISONS, DifferingDecision, PolicySlotMeter, PolicySlotMeters, PolicyTally,
};
pub use rules::{COUNTED_ANSWERS, RuleMeters, RuleRow, RuleSums};
pub use spans::{Span, SpanId, SpanLink, SpanSink};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// What it has come to.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The largest number seen.
#[derive(Debug, Default)]
pub struct Peak(AtomicU64);

impl Peak {
    /// Notes a number.
    pub fn record(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// The largest so far; 0 when there was none.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where durations go. The default goes nowhere and costs a comparison.
#[derive(Clone, Default)]
pub struct Timing(Option<Arc<dyn Fn(Duration) + Send + Sync>>);

impl Timing {
    /// Hands every duration to `sink`, on the thread that records it: it must be quick.
    #[must_use]
    pub fn with_sink(sink: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Records a duration.
    pub fn record(&self, duration: Duration) {
        if let Some(sink) = &self.0 {
            sink(duration);
        }
    }

    /// Records the time since then.
    pub fn record_since(&self, started: Instant) {
        if let Some(sink) = &self.0 {
            sink(started.elapsed());
        }
    }
}

impl std::fmt::Debug for Timing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Timing"
        } else {
            "Timing(nowhere)"
        })
    }
}

/// All meters. Cheap to clone; the default counts and times nothing.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    /// The store's.
    pub store: Arc<StoreMeters>,
    /// The HRM's.
    pub hrm: Arc<HrmMeters>,
    /// The router's.
    pub router: Arc<RouterMeters>,
    /// The watchdog's.
    pub watchdog: Arc<WatchdogMeters>,
    /// The API's.
    pub api: Arc<ApiMeters>,
    /// The agents'.
    pub agents: Arc<AgentMeters>,
}

/// What an execution report may say, in the order of [`StoreMeters::executions`].
pub const EXECUTION_STATUSES: [&str; 4] = ["filled", "partially_filled", "cancelled", "rejected"];

/// What the writer has committed.
#[derive(Debug, Default)]
pub struct StoreMeters {
    /// Decisions, by outcome: approved, held, denied.
    pub decisions: [Counter; 3],
    /// Rows of the audit log.
    pub audit_rows: Counter,
    /// The end of the audit log: its last row's number and hash.
    pub audit_head: Mutex<Option<(u64, Digest)>>,
    /// Signals stored that came from outside.
    pub signals_external: Counter,
    /// Signals stored that the outbox made.
    pub signals_internal: Counter,
    /// Signals whose key had been seen before.
    pub signals_duplicate: Counter,
    /// Deliveries that were handled.
    pub deliveries_done: Counter,
    /// Deliveries whose invocation failed or that expired.
    pub deliveries_failed: Counter,
    /// Deliveries for which there was no room.
    pub deliveries_shed: Counter,
    /// Execution reports, as in [`EXECUTION_STATUSES`].
    pub executions: [Counter; 4],
    /// Units committed.
    pub units: Counter,
    /// Transactions that failed; nothing of them counts.
    pub failed_commits: Counter,
    /// One transaction, from its begin to the end of its sync.
    pub commit: Timing,
    /// A unit that writes state, memories, truths or settings, from its submission until it is durable.
    pub state_write: Timing,
}

impl StoreMeters {
    /// Notes the end of the audit log.
    pub fn record_audit_head(&self, seq: u64, hash: Digest) {
        *self
            .audit_head
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((seq, hash));
    }

    /// The end of the audit log; `None` before the store was opened.
    #[must_use]
    pub fn latest_audit_head(&self) -> Option<(u64, Digest)> {
        *self
            .audit_head
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The count of decisions with this outcome.
    #[must_use]
    pub fn decision_counter(&self, outcome: Outcome) -> &Counter {
        let [approved, held, denied] = &self.decisions;
        match outcome {
            Outcome::Approved => approved,
            Outcome::Held => held,
            Outcome::Denied => denied,
        }
    }
}

/// How the HRM decides.
#[derive(Debug, Default)]
pub struct HrmMeters {
    /// From the moment a proposal is accepted until its decision is durable.
    pub decision: Timing,
    /// The part of it in which it waits for the HRM's thread.
    pub queue: Timing,
    /// The part of it in which the policies judge.
    pub policy: Timing,
    /// The part of it in which it is written.
    pub commit: Timing,
    /// One evaluation: facts, all policies, combination. Dry runs too.
    pub evaluation: Timing,
    /// How the rules answered.
    pub rules: RuleMeters,
    /// The operator policies in force.
    pub policy_slots: PolicySlotMeters,
    /// Proposals turned away since too many were waiting.
    pub queue_rejections: Counter,
    /// Proposals that could not be recorded, and so were denied.
    pub not_recorded: Counter,
    /// Where spans go.
    pub spans: SpanSink,
    /// The agents.
    pub agents: Arc<AgentMeters>,
}

/// How invocations go.
#[derive(Debug, Default)]
pub struct RouterMeters {
    /// Making a fresh instance.
    pub instantiate: Timing,
    /// The guest's own run, its host calls included.
    pub guest: Timing,
    /// From the moment a worker may take the signal to the commit.
    pub invocation: Timing,
    /// Where spans go.
    pub spans: SpanSink,
    /// The agents.
    pub agents: Arc<AgentMeters>,
}

/// What the watchdog sees.
#[derive(Debug, Default)]
pub struct WatchdogMeters {
    /// Re-hashes of the Graveyard that matched its pin.
    pub pin_held: Counter,
    /// Re-hashes that did not.
    pub pin_broken: Counter,
    /// The agents.
    pub agents: Arc<AgentMeters>,
}

/// Kinds of calls over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum CallKind {
    /// `POST /v1/actions…`
    Actions,
    /// `POST /v1/signals`
    Signals,
    /// `POST /v1/executions`
    Executions,
    /// Every other call that changes something.
    Changes,
    /// Every other call that only reads.
    Reads,
    /// `/healthz`, `/readyz`: no part of the availability.
    Health,
}

impl CallKind {
    /// All of them, in the order of [`ApiMeters::calls`].
    pub const ALL: [Self; 6] = [
        Self::Actions,
        Self::Signals,
        Self::Executions,
        Self::Changes,
        Self::Reads,
        Self::Health,
    ];

    /// Its name as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Actions => "actions",
            Self::Signals => "signals",
            Self::Executions => "executions",
            Self::Changes => "changes",
            Self::Reads => "reads",
            Self::Health => "health",
        }
    }

    /// The kind of a request.
    #[must_use]
    pub fn from_request(is_read: bool, path: &str) -> Self {
        match path {
            "/healthz" | "/readyz" => Self::Health,
            _ if is_read => Self::Reads,
            "/v1/signals" => Self::Signals,
            "/v1/executions" => Self::Executions,
            path if path.starts_with("/v1/actions") => Self::Actions,
            _ => Self::Changes,
        }
    }
}

/// Classes of answers, in the order of [`CallMeter::answers`].
pub const ANSWER_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// Calls of one kind.
#[derive(Debug, Default)]
pub struct CallMeter {
    /// Answers, as in [`ANSWER_CLASSES`].
    pub answers: [Counter; 4],
    /// From the request's head to the answer's.
    pub duration: Timing,
}

/// What is asked over HTTP.
#[derive(Debug, Default)]
pub struct ApiMeters {
    /// By kind, as in [`Call::ALL`].
    pub calls: [CallMeter; 6],
}

impl ApiMeters {
    /// Notes an answer.
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
