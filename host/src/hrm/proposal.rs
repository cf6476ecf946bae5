//! What is handed to the HRM, and what it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::meters::HrmMeters;
use crate::model::action::Action;
use crate::model::control::Order;
use crate::model::decision::Decision;
use crate::model::ids::{DecisionId, Digest, Fraction, Millis, Name, TraceId};
use crate::model::signal::Signal;
use crate::model::state::{NewMemory, StateWrite, TruthWrite};

use super::ledger::ExecutionStatus;

/// How the HRM works.
#[derive(Debug, Clone)]
pub struct HrmConfig {
    /// How many proposals may wait; past it callers are told to come back. Each proposer may fill a quarter of it, and actions that reduce
    /// risk have a quarter of their own, which is decided first.
    pub queue: usize,
    /// How long an approved trade holds its exposure without an execution report.
    pub reservation_ttl: Duration,
    /// What counts and times it.
    pub meters: Arc<HrmMeters>,
}

impl Default for HrmConfig {
    fn default() -> Self {
        Self {
            queue: 4096,
            reservation_ttl: Duration::from_mins(10),
            meters: Arc::default(),
        }
    }
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
    NotInForce(String),
    /// The delivery was already settled: nothing was committed.
    #[error("the delivery is already settled")]
    AlreadySettled,
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
    pub request: Digest,
}

/// A proposal from outside an invocation.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Who proposes.
    pub agent: Name,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// What: checked by [`crate::model::check`].
    pub action: Action,
    /// How many signals led to it.
    pub causal_depth: u32,
    /// Under which key it is answered once only.
    pub idempotency: Option<IdempotencyKey>,
}

/// The answer to a proposal.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It was decided now.
    Decided(Arc<Decision>),
    /// It was decided before, under the same key: that decision.
    Seen(DecisionId),
}

/// One action of an invocation.
#[derive(Debug, Clone)]
pub struct InvocationAction {
    /// What: checked by [`crate::model::check`].
    pub action: Action,
    /// Why the host itself denies it, e.g. that the manifest does not grant its type.
    pub refusal: Option<String>,
}

/// What an invocation wants to have committed, all or nothing.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Whose invocation.
    pub agent: Name,
    /// The signal it handled.
    pub signal: Signal,
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
}

/// An order with its reason and who gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What.
    pub order: Order,
    /// Why, in words.
    pub reason: String,
    /// Who: `watchdog`, or an operator's name.
    pub by: String,
}

/// The answer to an order that is in force and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// The answer to an execution report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionReceipt {
    /// Whether it was seen before (nothing was changed now).
    pub duplicate: bool,
    /// The trace of the decision.
    pub trace_id: TraceId,
}
