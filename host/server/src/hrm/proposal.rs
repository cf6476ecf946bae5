//! What is handed to the HRM, and what it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ark_model::meters::{Deployment, HrmMeters};
use serde::{Deserialize, Serialize};

use ark_model::action::Action;
use ark_model::control::Order;
use ark_model::decision::Decision;
use ark_model::ids::{DecisionId, Digest, Fraction, Millis, Name, TraceId};
use ark_model::signal::Signal;
use ark_model::state::{NewMemory, StateWrite, TruthWrite};
use ark_store::{ApprovalStatus, List, ListEntry, Unit};

use super::chain::ChainSlot;
use super::ledger::ExecutionStatus;

/// How the HRM works.
#[derive(Debug, Clone)]
pub struct HrmConfig {
    /// How many proposals may wait; past it callers are told to come back. Each proposer may fill a quarter of it, and actions that reduce
    /// risk have a quarter of their own, which is decided first.
    pub queue: usize,
    /// How long an approved trade holds its exposure without an execution report.
    pub reservation_ttl: Duration,
    /// How long a held action waits for an approval.
    pub approval_ttl: Duration,
    /// How many held actions may wait; each proposer may take up a tenth of it. Past it what would be held is denied.
    pub approvals: usize,
    /// What counts and times it.
    pub meters: Arc<HrmMeters>,
}

/// Why there is no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HrmError {
    /// Too many proposals wait.
    #[error("too many proposals are waiting; try again in a second")]
    Busy,
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Closed,
    /// The decision could not be made durable, so it does not count: the action is denied.
    #[error("the decision could not be recorded, so the action is denied: {0}")]
    NotRecorded(String),
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request; use a fresh key")]
    KeyReused,
    /// The invocation's effects collide with what was committed meanwhile. It may be run again.
    #[error("the state changed meanwhile: {0}")]
    Conflict(String),
    /// The agent is in quarantine: nothing of it counts.
    #[error("{0} is in quarantine; an operator can restore it")]
    Quarantined(Name),
    /// The invocation's deadline was over before it could be committed.
    #[error("its deadline was over before it could be committed")]
    DeadlineExceeded,
    /// The order cannot be carried out as things are: why.
    #[error("{0}")]
    OrderNotApplicable(String),
    /// The delivery was already settled: nothing was committed.
    #[error("the delivery is already settled")]
    DeliveryAlreadyCompleted,
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Nothing is held under this id.
    #[error("there is no approval {0}")]
    UnknownApproval(DecisionId),
    /// The approval is settled.
    #[error("the approval {id} is {status}{}", .by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default())]
    ApprovalAlreadyResolved {
        /// Which.
        id: DecisionId,
        /// How.
        status: &'static str,
        /// By whom.
        by: Option<String>,
    },
    /// Whoever proposed an action, or approved it before, cannot approve it.
    #[error(
        "{by} proposed the action of approval {id} or approved it before; somebody else must approve it"
    )]
    NotIndependent {
        /// Which.
        id: DecisionId,
        /// Who.
        by: String,
    },
    /// A result in the account's currency means nothing without the capital.
    #[error("the capital is not known, so a result is no fraction of it; say it first")]
    UnknownCapital,
    /// There is no such decision.
    #[error("there is no decision {0}")]
    UnknownDecision(DecisionId),
    /// Nothing can be executed on that decision: why.
    #[error("nothing can be executed on this decision: {0}")]
    NotExecutable(String),
}

/// A key under which a proposal's first answer is given again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The key, scoped to the proposing agent.
    pub key: String,
    /// Digest of the request it came with.
    pub request_digest: Digest,
    /// The digest of the same request that versions before the canonical form stored.
    pub legacy_digest: Option<Digest>,
}

impl IdempotencyKey {
    /// Whether a stored digest is that of the request this key came with.
    #[must_use]
    pub fn matches(&self, stored: Digest) -> bool {
        stored == self.request_digest || self.legacy_digest == Some(stored)
    }
}

/// A proposal from outside an invocation.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Who proposes.
    pub agent: Name,
    /// Who hands it in: the agent itself, or the name of the caller's token.
    pub submitter: String,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// What: checked by [`ark_model::check`].
    pub action: Action,
    /// How many signals led to it.
    pub causal_depth: u32,
    /// Under which key it is answered once only.
    pub idempotency: Option<IdempotencyKey>,
    /// When it may no longer be committed.
    pub deadline: Option<Instant>,
}

/// The answer to a proposal.
#[derive(Debug, Clone)]
pub enum ProposalAnswer {
    /// It was decided now.
    Decided(Arc<Decision>),
    /// It was decided before, under the same key: that decision.
    Repeated(DecisionId),
}

/// Several proposals of one caller.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Who hands them in: keys are unique for each.
    pub by: String,
    /// What: one after the other, each judged with what those before it reserved.
    pub proposals: Vec<Proposal>,
    /// Under which key all of them are answered once only.
    pub idempotency: Option<IdempotencyKey>,
    /// When they may no longer be committed.
    pub deadline: Option<Instant>,
}

/// The answer to several proposals.
#[derive(Debug, Clone)]
pub enum BatchAnswer {
    /// They were decided now.
    Decided(Vec<Arc<Decision>>),
    /// They were decided before, under the same key: those decisions.
    Repeated(Vec<DecisionId>),
}

/// An approval or a rejection.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The approval: the id of the decision that held the action.
    pub id: DecisionId,
    /// Approved, or rejected.
    pub approve: bool,
    /// By whom.
    pub by: String,
    /// What they say.
    pub comment: String,
    /// Under which key it is answered once only.
    pub idempotency: Option<IdempotencyKey>,
}

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolutionReceipt {
    /// Which.
    pub id: DecisionId,
    /// How it is settled.
    pub status: ApprovalStatus,
    /// The decision of the second judgement.
    pub decision_id: Option<DecisionId>,
    /// The trace.
    pub trace_id: TraceId,
    /// When.
    pub at: Millis,
}

/// The answer to an approval or a rejection that is on disk.
#[derive(Debug, Clone)]
pub struct ResolutionAnswer {
    /// What became of it.
    pub receipt: ResolutionReceipt,
    /// The second judgement, if this was an approval and is not answered a second time.
    pub decision: Option<Arc<Decision>>,
    /// Whether it was answered before, under the same key.
    pub replayed: bool,
}

/// Something an operator attests.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// What.
    pub fact: AttestedFact,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Under which key it is answered once only.
    pub idempotency: Option<IdempotencyKey>,
}

/// What an operator attests.
#[derive(Debug, Clone)]
pub enum AttestedFact {
    /// What the configuration puts on the lists, all of it.
    ConfiguredLists(Vec<ListEntry>),
    /// An entry of a list.
    List {
        /// Which list.
        list: List,
        /// Which entry.
        key: String,
        /// What it says from now on; `None`: it is taken off.
        entry: Option<ListEntry>,
    },
    /// The capital, in the account's currency; more than 0.
    Capital(f64),
    /// A result of today that no execution report told of, in the account's currency; a loss is negative.
    Result(f64),
}

/// The answer to an attestation that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AttestationReceipt {
    /// Its trace.
    pub trace_id: TraceId,
    /// Since when it counts.
    pub at: Millis,
    /// Today's loss as a fraction of capital, with it.
    pub daily_loss: f64,
}

/// Other operator policies than those in force.
pub struct PolicySwap {
    /// All of them, in the order they are asked.
    pub slots: Vec<Arc<ChainSlot>>,
    /// What is committed with the exchange: the change, and its audit row. Nothing in it can be refused.
    pub unit: Unit,
}

/// One action of an invocation.
#[derive(Debug, Clone)]
pub struct InvocationAction {
    /// What: checked by [`ark_model::check`].
    pub action: Action,
    /// Why the host itself denies it, e.g. that the manifest does not grant its type.
    pub refusal: Option<String>,
}

/// What an invocation wants to have committed, all or nothing.
#[derive(Debug, Clone)]
pub struct InvocationCommit {
    /// Whose invocation.
    pub agent: Name,
    /// The signal it handled.
    pub signal: Arc<Signal>,
    /// What it proposes.
    pub actions: Vec<InvocationAction>,
    /// Its state writes.
    pub state: Vec<StateWrite>,
    /// Its memories.
    pub memories: Vec<NewMemory>,
    /// Its truths.
    pub truths: Vec<TruthWrite>,
    /// When it may no longer be committed.
    pub deadline: Instant,
    /// Which deployment of the agent it was.
    pub deployment: Deployment,
}

/// An order with its reason and who gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedOrder {
    /// What.
    pub order: Order,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Why, in words.
    pub reason: String,
    /// Who: `watchdog`, or an operator's name.
    pub by: String,
    /// The host of the fleet it was given at; `None`: this one.
    pub origin_host: Option<String>,
    /// Under which key it is answered once only.
    pub idempotency: Option<IdempotencyKey>,
}

/// The answer to an order that is in force and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReceipt {
    /// Whether anything changed; otherwise it was in force already, and the first order's reason stands.
    pub changed: bool,
    /// Since when it is in force.
    pub at: Millis,
}

/// What an executor reports.
#[derive(Debug, Clone)]
pub struct ExecutionReport {
    /// The executor's id of the report: a report seen before is acknowledged and changes nothing.
    pub execution_id: String,
    /// The approved action it is about.
    pub decision_id: DecisionId,
    /// What became of it.
    pub status: ExecutionStatus,
    /// How much was carried out in all so far; `None`: all of it.
    pub filled: Option<Fraction>,
    /// At which price.
    pub price: Option<f64>,
    /// What it realised, as a fraction of capital; a loss is negative.
    pub realised: Option<f64>,
    /// The name of the token it came with.
    pub by: Option<String>,
}

/// The answer to an execution report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionReceipt {
    /// Whether it was seen before (nothing was changed now).
    pub duplicate: bool,
    /// The trace of the decision.
    pub trace_id: TraceId,
}
