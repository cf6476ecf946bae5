//! The unit of writing: everything that must be committed together.

use std::time::Instant;

use ark_model::control::Alert;
use ark_model::ids::{Digest, Millis, Name, TraceId};
use ark_model::state::{NewMemory, StateWrite, TruthWrite};

use super::account::AccountChange;
use super::agents::AgentChange;
use super::approvals::ApprovalChange;
use super::audit::AuditEntry;
use super::control::ControlChange;
use super::error::CommitError;
use super::fleet::FleetCursor;
use super::ledger::LedgerChange;
use super::lists::{ListChange, ListEntry};
use super::operation::Operation;
use super::policies::PolicyChange;
use super::signals::{DeliveryCompletion, NewSignal, OutboxMessage, SignalReceipt};

/// What is committed whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct Unit {
    /// Appended to the audit log, in order.
    pub audit: Vec<AuditEntry>,
    /// Remembers under which key this unit's answer is given again.
    pub idempotency: Option<IdempotencyRecord>,
    /// Changes of the ledger.
    pub ledger: Vec<LedgerChange>,
    /// New signals with their deliveries.
    pub signals: Vec<NewSignal>,
    /// Messages on their way to becoming signals.
    pub outbox: Vec<OutboxMessage>,
    /// Outbox rows that this unit's signals carry out.
    pub outbox_done: Vec<i64>,
    /// The delivery this unit settles. It must be pending.
    pub delivery: Option<DeliveryCompletion>,
    /// Whose state, memories and truths these are.
    pub agent: Option<Name>,
    /// The trace they belong to.
    pub trace_id: Option<TraceId>,
    /// When they were written.
    pub at: Millis,
    /// State writes of `agent`.
    pub state: Vec<StateWrite>,
    /// Memories of `agent`.
    pub memories: Vec<NewMemory>,
    /// Truths written by `agent`.
    pub truths: Vec<TruthWrite>,
    /// Changes by operators, each recorded in the audit log.
    pub operations: Vec<Operation>,
    /// Policies to be remembered, so that their decisions can be read later.
    pub policies: Vec<PolicyRecord>,
    /// Changes of what is kept of operator policies.
    pub policy_changes: Vec<PolicyChange>,
    /// What is held, and what became of it.
    pub approvals: Vec<ApprovalChange>,
    /// Changes of the operator's lists.
    pub lists: Vec<ListChange>,
    /// What an operator says of the account.
    pub account: Vec<AccountChange>,
    /// Replaces the lists' entries from the operator's configuration.
    pub configured_lists: Option<Vec<ListEntry>>,
    /// Changes of what is in force: halts and quarantines.
    pub control: Vec<ControlChange>,
    /// Changes of what is kept of agents.
    pub agents: Vec<AgentChange>,
    /// This host's place in a fleet, from now on.
    pub fleet: Option<FleetCursor>,
    /// What the watchdog noticed.
    pub alerts: Vec<Alert>,
    /// When it may no longer be committed.
    pub deadline: Option<Instant>,
    /// It was made on top of the units submitted before it: it must fail when one of them did.
    pub chained: bool,
}

impl Unit {
    /// Whether it can be refused, for another reason than the database, after something of it was written. Every step is checked before
    /// it writes, and steps that can be refused come first: with one of them there is nothing to be taken back.
    pub(super) fn needs_savepoint(&self) -> bool {
        let late = self.signals.len() + self.outbox_done.len() + self.operations.len();
        let early =
            self.approvals.len() + self.lists.len() + usize::from(self.idempotency.is_some());
        let refusable = usize::from(self.delivery.is_some()) + self.state.len() + early + late;
        refusable > 1 || (late > 0 && !(self.memories.is_empty() && self.truths.is_empty()))
    }
}

/// The request an idempotency key came with, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Where the key is unique, e.g. the agent's name.
    pub scope: String,
    /// The key.
    pub key: String,
    /// Digest of the request.
    pub request: Digest,
    /// What answered it: an id, or what the caller needs to give the answer again. Empty: the number of the unit's first operation.
    pub answer: String,
}

/// A policy that was in force once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// SHA-256 of its component.
    pub digest: Digest,
    /// Its metadata.
    pub metadata_json: String,
}

/// What became of a committed unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The places of its audit entries in the log.
    pub audit_seqs: Vec<u64>,
    /// What became of its signals.
    pub signals: Vec<SignalReceipt>,
    /// The revisions of its state writes.
    pub revisions: Vec<u64>,
    /// The revision each of its operations made; for a memory, its id.
    pub operations: Vec<u64>,
    /// How many deliveries its changes of agents settled.
    pub closed_deliveries: u64,
}

/// Called once a unit is durable or has failed.
pub type CommitCallback = Box<dyn FnOnce(Result<Receipt, CommitError>) + Send>;
