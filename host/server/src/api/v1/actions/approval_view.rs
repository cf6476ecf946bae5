//! What the API shows of a held action.

use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use ark_store::{Approval, ApprovalStatus};

use crate::api::http::answer::answer_from;

answer_from! { Approval =>
    /// An action that waits for a person's approval, or did.
    #[derive(serde::Deserialize)]
    #[schema(as = Approval)]
    pub struct ApprovalView {
        /// The decision that held the action. It is the approval's id too.
        id: DecisionId,
        /// The agent that proposed the action.
        agent: Name,
        /// The caller that submitted the proposal. It may not approve it.
        submitter: String,
        /// The trace the proposal belongs to.
        trace_id: TraceId,
        /// The type of the action.
        action_type: String,
        /// The digest of (agent, canonical action). An approval is valid for this action only.
        action_hash: Digest,
        /// Those who approved the action before, when a policy held it again. None of them may approve it again.
        earlier: Vec<String>,
        /// Why the action is held, as sentences.
        reasons: Vec<String>,
        /// The status.
        status: ApprovalStatus,
        /// When the action was held.
        created_at_ms: Millis,
        /// When the approval expires.
        expires_at_ms: Millis,
        /// When the approval was resolved.
        settled_at_ms: Option<Millis>,
        /// Who resolved the approval.
        settled_by: Option<String>,
        /// The comment of who resolved it.
        comment: Option<String>,
        /// The decision of the second judgement.
        decision_id: Option<DecisionId>,
    }
}
