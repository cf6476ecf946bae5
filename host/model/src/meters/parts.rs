//! The meters of the host's parts.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::decision::Outcome;
use crate::execution::ExecutionStatus;
use crate::ids::Digest;

use super::agents::AgentMeters;
use super::api::ApiMeters;
use super::handles::{Counter, Timing, outcome_counter};
use super::policies::PolicySlotMeters;
use super::rules::RuleMeters;
use super::spans::SpanSink;

/// The meters of all parts. Cheap to clone. The default counts but has no sinks for durations and spans.
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

/// The kinds of alerts that execution reports raise, in the order of [`StoreMeters::execution_alerts`]: a fill after the order had ended, more than was
/// approved, a close of more than was open.
pub const EXECUTION_ALERTS: [&str; 3] = ["late_fill", "overfill", "unmatched_close"];

/// What the writer has committed.
#[derive(Debug, Default)]
pub struct StoreMeters {
    /// Decisions, by outcome: approved, held, denied.
    pub decisions: [Counter; 3],
    /// Rows of the audit log.
    pub audit_rows: Counter,
    /// The number and the hash of the last row of the audit log; absent: the store is not open yet.
    pub audit_head: Mutex<Option<(u64, Digest)>>,
    /// Signals stored that came from outside.
    pub signals_external: Counter,
    /// Signals stored that came from the outbox.
    pub signals_internal: Counter,
    /// Signals that were not stored because their idempotency key was known.
    pub signals_duplicate: Counter,
    /// Deliveries completed as done.
    pub deliveries_done: Counter,
    /// Deliveries completed as failed: the invocation failed or the signal expired.
    pub deliveries_failed: Counter,
    /// Deliveries shed because too many were pending.
    pub deliveries_shed: Counter,
    /// Execution reports, by status: filled, partially filled, cancelled, rejected, expired.
    pub executions: [Counter; 5],
    /// Alerts of execution reports, by kind in the order of [`EXECUTION_ALERTS`].
    pub execution_alerts: [Counter; 3],
    /// Units committed.
    pub units: Counter,
    /// Transactions that failed. What they contained is not counted elsewhere.
    pub failed_commits: Counter,
    /// One transaction, from its begin to the end of its sync.
    pub commit: Timing,
    /// A unit that writes state, memories, truths or configuration values, from its submission until it is durable.
    pub state_write: Timing,
}

impl StoreMeters {
    /// Records the number and the hash of the last row of the audit log.
    pub fn record_audit_head(&self, seq: u64, hash: Digest) {
        *self.audit_head.lock() = Some((seq, hash));
    }

    /// Returns the number and the hash of the last row of the audit log; `None` before the store is open.
    #[must_use]
    pub fn latest_audit_head(&self) -> Option<(u64, Digest)> {
        *self.audit_head.lock()
    }

    /// Returns the counter of decisions with an outcome.
    #[must_use]
    pub const fn decision_counter(&self, outcome: Outcome) -> &Counter {
        outcome_counter(&self.decisions, outcome)
    }

    /// Returns the counter of execution reports with a status.
    #[must_use]
    pub const fn execution_counter(&self, status: ExecutionStatus) -> &Counter {
        let [filled, partially_filled, cancelled, rejected, expired] = &self.executions;
        match status {
            ExecutionStatus::Filled => filled,
            ExecutionStatus::PartiallyFilled => partially_filled,
            ExecutionStatus::Cancelled => cancelled,
            ExecutionStatus::Rejected => rejected,
            ExecutionStatus::Expired => expired,
        }
    }
}

/// How the HRM decides.
#[derive(Debug, Default)]
pub struct HrmMeters {
    /// One decision, from the moment its proposal is accepted until it is durable.
    pub decision: Timing,
    /// The part of a decision in which its proposal waits for the arbiter.
    pub queue: Timing,
    /// The part of a decision in which the policies judge.
    pub policy: Timing,
    /// The part of a decision in which it is written.
    pub commit: Timing,
    /// One evaluation: facts, all policies, combination of the verdicts. Dry runs are included.
    pub evaluation: Timing,
    /// The rule answers.
    pub rules: RuleMeters,
    /// The operator policies in force.
    pub policy_slots: PolicySlotMeters,
    /// Proposals that were refused because too many were waiting.
    pub queue_rejections: Counter,
    /// Proposals that were denied because they could not be recorded.
    pub not_recorded: Counter,
    /// The sink for spans.
    pub spans: SpanSink,
    /// The agents.
    pub agents: Arc<AgentMeters>,
}

/// How invocations go.
#[derive(Debug, Default)]
pub struct RouterMeters {
    /// The making of one instance.
    pub instantiate: Timing,
    /// The run of one guest, including its host calls.
    pub guest: Timing,
    /// One invocation, from the moment a worker takes the signal to the commit.
    pub invocation: Timing,
    /// The sink for spans.
    pub spans: SpanSink,
    /// The agents.
    pub agents: Arc<AgentMeters>,
}

/// Meters of the watchdog.
#[derive(Debug, Default)]
pub struct WatchdogMeters {
    /// Checks of the Graveyard in which its bytes matched the pin.
    pub pin_held: Counter,
    /// Checks of the Graveyard in which they did not.
    pub pin_broken: Counter,
    /// The agents.
    pub agents: Arc<AgentMeters>,
}
