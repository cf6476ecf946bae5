//! The approval or rejection of a held action, and its answer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use ark_model::decision::Decision;
use ark_model::ids::{DecisionId, Millis, TraceId};
use ark_store::ApprovalStatus;

use super::idempotency::IdempotencyKey;

/// An approval or a rejection of a held action.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The approval, by the id of the decision that held the action.
    pub id: DecisionId,
    /// `true` approves, `false` rejects.
    pub approve: bool,
    /// The actor.
    pub by: String,
    /// The actor's comment.
    pub comment: String,
    /// The idempotency key, unique for the actor.
    pub idempotency: Option<IdempotencyKey>,
}

/// How an approval was resolved. Stored as the answer of an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolutionReceipt {
    /// The approval.
    pub id: DecisionId,
    /// Its status now.
    pub status: ApprovalStatus,
    /// The decision of the second judgement. `None` after a rejection.
    pub decision_id: Option<DecisionId>,
    /// The trace of the held action.
    pub trace_id: TraceId,
    /// When it was resolved.
    pub at: Millis,
}

/// The answer to a resolution that is durable.
#[derive(Debug, Clone)]
pub struct ResolutionAnswer {
    /// How the approval was resolved.
    pub receipt: ResolutionReceipt,
    /// The second judgement. `None` after a rejection, and when the answer is repeated.
    pub decision: Option<Arc<Decision>>,
    /// Whether this answer was given before, under the same idempotency key.
    pub replayed: bool,
}
