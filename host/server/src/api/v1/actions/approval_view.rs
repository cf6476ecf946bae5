//! What the API shows of a held action.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use ark_model::action::Action;
use ark_model::decision::Decision;
use ark_model::facts::Facts;
use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use ark_model::verdict::RuleResult;
use ark_store::{Approval, ApprovalStatus};

use crate::api::http::answer::answer_from;

use super::decision_view::{DecisionView, RuleView};

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

/// A held action with what a person must know to approve it.
#[derive(Serialize, Deserialize, ToSchema)]
#[expect(
    missing_docs,
    reason = "a comment on the flattened approval would stand in the document of the API"
)]
pub struct HeldAction {
    #[serde(flatten)]
    pub approval: ApprovalView,
    /// The action as it would be carried out: normalised and redacted. Absent where the decision that held it is in an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// The rules that hold it or warn of it, of every policy.
    pub fired: Vec<FiredRule>,
    /// The facts under which it was held. Only where one approval is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// A rule that fired.
#[derive(Serialize, Deserialize, ToSchema)]
#[expect(
    missing_docs,
    reason = "a comment on the flattened rule would stand in the document of the API"
)]
pub struct FiredRule {
    /// The policy it is a rule of.
    pub policy: String,
    #[serde(flatten)]
    pub rule: RuleView<'static>,
}

impl HeldAction {
    /// An approval with the decision that held the action, if that can be read.
    pub(super) fn new(approval: Approval, decision: Option<Decision>) -> Self {
        let fired = decision.as_ref().map(list_fired_rules).unwrap_or_default();
        let (action, facts) = decision.map(|it| (it.action, it.facts)).unzip();
        Self {
            approval: approval.into(),
            action,
            fired,
            facts,
        }
    }

    /// The row of a list, which leaves the facts out.
    pub(super) fn without_facts(self) -> Self {
        Self {
            facts: None,
            ..self
        }
    }
}

fn list_fired_rules(decision: &Decision) -> Vec<FiredRule> {
    let whole = DecisionView::whole(decision);
    let policies = whole.policies.into_iter();
    policies
        .flat_map(|said| {
            let policy = said.policy.into_owned();
            let fired = said.rules.into_iter().filter(|rule| {
                !matches!(rule.answer, RuleResult::Pass | RuleResult::NotApplicable)
            });
            let fired: Vec<FiredRule> = fired
                .map(|rule| FiredRule {
                    policy: policy.clone(),
                    rule: rule.into_owned(),
                })
                .collect();
            fired
        })
        .collect()
}
