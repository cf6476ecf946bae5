//! The unit of writing: everything that is committed together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use ark_model::control::Alert;
use ark_model::ids::{Millis, Name, TraceId};
use ark_model::state::{NewMemory, StateWrite, TruthWrite};
use ark_model::usage::QuotaHolder;

use crate::error::CommitError;
use crate::idempotency::IdempotencyRecord;
use crate::operator_change::{AttributedChange, OperatorChange};
use crate::tables::audit::AuditEntry;
use crate::tables::control::{ControlChange, FleetCursor, RedisChange, WebhookChange};
use crate::tables::ledger::{AccountChange, ApprovalChange, LedgerChange, ListChange, ListEntry};
use crate::tables::signals::{
    DeliveryCompletion, NewSignal, OutboxMessage, Redelivery, SignalReceipt,
};
use crate::tables::versions::{AgentChange, PolicyChange, PolicyRecord};
use crate::usage::UnitUsage;

/// The moment from which on something is not committed any more, shared by the caller that waits for it and the writer.
///
/// Only one of the two can take it. If the caller gives up first, it is certain that nothing is committed; if the writer claimed it first, something may be.
#[derive(Debug, Clone)]
pub struct CommitDeadline {
    at: Instant,
    state: Arc<AtomicU8>,
}

/// Neither the writer nor the edge has taken it.
const OPEN: u8 = 0;
/// The writer writes it, or has written it.
const CLAIMED: u8 = 1;
/// The caller has got its answer at the deadline: the unit is not written.
const GIVEN_UP: u8 = 2;

impl CommitDeadline {
    /// A deadline at a moment.
    #[must_use]
    pub fn at(at: Instant) -> Self {
        Self {
            at,
            state: Arc::new(AtomicU8::new(OPEN)),
        }
    }

    /// Whether the moment is over, or nobody waits any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.at || self.state.load(Ordering::Acquire) == GIVEN_UP
    }

    /// The moment.
    #[must_use]
    pub const fn moment(&self) -> Instant {
        self.at
    }

    /// Claims it, for the thread that is about to do what may count. Returns false when it is too late: then nothing may be done.
    #[must_use]
    pub fn claim(&self) -> bool {
        if Instant::now() >= self.at {
            return self.state.load(Ordering::Acquire) == CLAIMED;
        }
        let claimed =
            self.state
                .compare_exchange(OPEN, CLAIMED, Ordering::AcqRel, Ordering::Acquire);
        claimed.is_ok() || claimed == Err(CLAIMED)
    }

    /// Gives it up, for a caller that waits no more. Returns whether it is certain that nothing is done.
    #[must_use]
    pub fn give_up(&self) -> bool {
        let given_up =
            self.state
                .compare_exchange(OPEN, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
        given_up.is_ok() || given_up == Err(GIVEN_UP)
    }
}

/// What is committed as a whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct Unit {
    /// Rows appended to the audit log, in this order.
    pub audit: Vec<AuditEntry>,
    /// The idempotency key under which this unit's answer is given again.
    pub idempotency: Option<IdempotencyRecord>,
    /// Changes of the ledger.
    pub ledger: Vec<LedgerChange>,
    /// New signals with their deliveries.
    pub signals: Vec<NewSignal>,
    /// Messages that will become signals.
    pub outbox: Vec<OutboxMessage>,
    /// The outbox rows that this unit's signals carry out.
    pub outbox_done: Vec<i64>,
    /// The delivery this unit completes. It must be pending.
    pub delivery: Option<DeliveryCompletion>,
    /// Deliveries that failed and are pending again. Each must have failed.
    pub redeliveries: Vec<Redelivery>,
    /// The agent that `state`, `memories` and `truths` belong to. Without it they are not written.
    pub agent: Option<Name>,
    /// The trace that `state`, `truths` and `operator_changes` belong to.
    pub trace_id: Option<TraceId>,
    /// When `state`, `memories`, `truths` and `operator_changes` were made.
    pub at: Millis,
    /// Writes to the state of `agent`.
    pub state: Vec<StateWrite>,
    /// Memories of `agent`.
    pub memories: Vec<NewMemory>,
    /// Truths that `agent` writes.
    pub truths: Vec<TruthWrite>,
    /// Changes by operators. Each gets a row of the audit log.
    pub operator_changes: Vec<AttributedChange>,
    /// Policies to be remembered, so that decisions that name them can be read later.
    pub policies: Vec<PolicyRecord>,
    /// Changes of the versions and slots of operator policies.
    pub policy_changes: Vec<PolicyChange>,
    /// Approvals that are opened or resolved.
    pub approvals: Vec<ApprovalChange>,
    /// Changes of the operator's lists.
    pub lists: Vec<ListChange>,
    /// Statements of an operator about the account.
    pub account: Vec<AccountChange>,
    /// The entries that replace those the lists have from the operator's configuration.
    pub configured_lists: Option<Vec<ListEntry>>,
    /// Halts and quarantines that begin or end.
    pub control: Vec<ControlChange>,
    /// Changes of the versions and rollouts of agents.
    pub agents: Vec<AgentChange>,
    /// This host's new cursor in a fleet.
    pub fleet: Option<FleetCursor>,
    /// What is kept about Redis streams, as of `at`.
    pub redis: Vec<RedisChange>,
    /// What is kept about webhooks, as of `at`.
    pub webhooks: Vec<WebhookChange>,
    /// Alerts of the watchdog.
    pub alerts: Vec<Alert>,
    /// The quota holder that the unit's bytes are counted for. Without it they are counted for `agent`; without either they are the host's own and not counted.
    pub charged_to: Option<QuotaHolder>,
    /// Whether the unit may be written when only the host's reserve is left in the database ([`crate::StoreConfig::max_bytes`]): orders, what
    /// reduces risk, and what records them.
    pub may_use_reserve: bool,
    /// The moment from which on the unit is refused.
    pub deadline: Option<CommitDeadline>,
    /// Whether the unit builds on the units submitted before it, so that it must fail when one of them did.
    pub chained: bool,
}

impl Unit {
    /// Whether the unit may change what keeps the host closed: a halt, or that there are tokens.
    pub(crate) fn changes_access(&self) -> bool {
        let is_token =
            |change: &AttributedChange| matches!(change.change, OperatorChange::Token(_));
        !self.control.is_empty() || self.operator_changes.iter().any(is_token)
    }

    /// Whether the unit orders a halt or a quarantine, for which there is room in the log when there is none for anything else.
    pub(crate) fn tightens(&self) -> bool {
        self.control.iter().any(|change| {
            matches!(
                change,
                ControlChange::Halt(_) | ControlChange::Quarantine(_)
            )
        })
    }

    /// Whether the unit can be refused after a part of it was written.
    ///
    /// Every step is checked before it writes, and the steps that can be refused come first. So with one such step nothing has to be
    /// rolled back, and no savepoint is needed.
    pub(crate) fn needs_savepoint(&self) -> bool {
        let late = self.signals.len() + self.outbox_done.len() + self.operator_changes.len();
        let early = self.approvals.len()
            + self.lists.len()
            + self.redeliveries.len()
            + usize::from(self.idempotency.is_some());
        let refusable = usize::from(self.delivery.is_some()) + self.state.len() + early + late;
        refusable > 1 || (late > 0 && !(self.memories.is_empty() && self.truths.is_empty()))
    }
}

/// What the commit of a unit gave its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The numbers of its rows in the audit log.
    pub audit_seqs: Vec<u64>,
    /// What happened to its signals.
    pub signals: Vec<SignalReceipt>,
    /// The revisions of its writes to the state.
    pub revisions: Vec<u64>,
    /// For each change of an operator the revision it wrote; for a memory its id.
    pub operator_changes: Vec<u64>,
    /// How many pending deliveries its changes of agents closed.
    pub closed_deliveries: u64,
    /// What the unit changed in the holders' usage.
    pub(crate) usage: UnitUsage,
}

/// Called on the writer's thread once a unit is durable or has failed.
pub type CommitCallback = Box<dyn FnOnce(Result<Receipt, CommitError>) + Send>;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_is_either_claimed_or_given_up() {
        let far = Instant::now() + Duration::from_secs(3600);
        let claimed = CommitDeadline::at(far);
        assert!(!claimed.is_over() && claimed.clone().claim());
        assert!(!claimed.give_up(), "what is claimed may count");
        assert!(claimed.claim(), "a transaction that is tried again goes on");
        let given_up = CommitDeadline::at(far);
        assert!(given_up.clone().give_up() && given_up.give_up());
        assert!(given_up.is_over() && !given_up.claim());
        let past = CommitDeadline::at(Instant::now());
        assert!(past.is_over() && !past.claim() && past.give_up());
    }
}
