//! The unit of writing: everything that is committed together.

use std::time::Instant;

use ark_model::control::Alert;
use ark_model::ids::{Millis, Name, TraceId};
use ark_model::state::{NewMemory, StateWrite, TruthWrite};

use crate::error::CommitError;
use crate::idempotency::IdempotencyRecord;
use crate::operation::Operation;
use crate::tables::audit::AuditEntry;
use crate::tables::control::{ControlChange, FleetCursor, RedisChange};
use crate::tables::ledger::{AccountChange, ApprovalChange, LedgerChange, ListChange, ListEntry};
use crate::tables::signals::{DeliveryCompletion, NewSignal, OutboxMessage, SignalReceipt};
use crate::tables::versions::{AgentChange, PolicyChange, PolicyRecord};

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
    /// The agent that `state`, `memories` and `truths` belong to. Without it they are not written.
    pub agent: Option<Name>,
    /// The trace that `state`, `truths` and `operations` belong to.
    pub trace_id: Option<TraceId>,
    /// When `state`, `memories`, `truths` and `operations` were made.
    pub at: Millis,
    /// Writes to the state of `agent`.
    pub state: Vec<StateWrite>,
    /// Memories of `agent`.
    pub memories: Vec<NewMemory>,
    /// Truths that `agent` writes.
    pub truths: Vec<TruthWrite>,
    /// Changes by operators. Each gets a row of the audit log.
    pub operations: Vec<Operation>,
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
    /// Alerts of the watchdog.
    pub alerts: Vec<Alert>,
    /// The moment from which on the unit is refused.
    pub deadline: Option<Instant>,
    /// Whether the unit builds on the units submitted before it, so that it must fail when one of them did.
    pub chained: bool,
}

impl Unit {
    /// Whether the unit can be refused after a part of it was written.
    ///
    /// Every step is checked before it writes, and the steps that can be refused come first. So with one such step nothing has to be
    /// rolled back, and no savepoint is needed.
    pub(crate) fn needs_savepoint(&self) -> bool {
        let late = self.signals.len() + self.outbox_done.len() + self.operations.len();
        let early =
            self.approvals.len() + self.lists.len() + usize::from(self.idempotency.is_some());
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
    /// For each operation the revision it wrote; for a memory its id.
    pub operations: Vec<u64>,
    /// How many pending deliveries its changes of agents closed.
    pub closed_deliveries: u64,
}

/// Called on the writer's thread once a unit is durable or has failed.
pub type CommitCallback = Box<dyn FnOnce(Result<Receipt, CommitError>) + Send>;
