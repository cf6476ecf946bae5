//! Proposals from outside an invocation, one or several, and their answers.

use std::sync::Arc;

use ark_model::action::Action;
use ark_model::decision::Decision;
use ark_model::ids::{DecisionId, Name, TraceId};
use ark_model::usage::QuotaHolder;
use ark_store::CommitDeadline;

use super::idempotency::IdempotencyKey;

/// A proposed action.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The agent the action is proposed for.
    pub agent: Name,
    /// Who handed it in: the agent itself, or the name of the caller's token.
    pub submitter: String,
    /// The quota holder that the bytes of its records are counted for.
    pub charged_to: QuotaHolder,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The action, checked by [`ark_model::check`].
    pub action: Action,
    /// Why the host itself denies it, e.g. since the manifest or the token does not grant its type. `None`: the policies decide.
    pub refusal: Option<String>,
    /// Number of signals that led to it.
    pub causal_depth: u32,
    /// The idempotency key, unique for the agent.
    pub idempotency: Option<IdempotencyKey>,
    /// The moment after which it is no longer committed. `None`: there is none.
    pub deadline: Option<CommitDeadline>,
}

/// The answer to a proposal.
#[derive(Debug, Clone)]
pub enum ProposalAnswer {
    /// It was decided now.
    Decided(Arc<Decision>),
    /// It was decided before, under the same idempotency key: the id of that decision.
    Repeated(DecisionId),
}

/// Several proposals of one caller, committed together or not at all.
#[derive(Debug, Clone)]
pub struct ProposalBatch {
    /// The caller; idempotency keys of batches are unique for each.
    pub by: String,
    /// The proposals, judged in this order. Each is judged with the reservations of those before it.
    pub proposals: Vec<Proposal>,
    /// The idempotency key of the whole batch.
    pub idempotency: Option<IdempotencyKey>,
    /// The moment after which it is no longer committed. `None`: there is none.
    pub deadline: Option<CommitDeadline>,
}

/// The answer to a batch.
#[derive(Debug, Clone)]
pub enum BatchAnswer {
    /// It was decided now.
    Decided(Vec<Arc<Decision>>),
    /// It was decided before, under the same idempotency key: the ids of those decisions.
    Repeated(Vec<DecisionId>),
}
