//! What the API shows of a held action to anyone who must approve it: the action, the rules that fired, the facts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use ark_model::action::Action;
use ark_model::decision::Decision;
use ark_model::facts::Facts;
use ark_store::Approval;

use super::approval_view::ApprovalView;
use super::decision_view::{DecisionView, RuleView};

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
    pub fired: Vec<HeldRule>,
    /// The facts under which it was held. Only where one approval is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// A rule that fired in the decision that held the action.
#[derive(Serialize, Deserialize, ToSchema)]
#[expect(
    missing_docs,
    reason = "a comment on the flattened rule would stand in the document of the API"
)]
pub struct HeldRule {
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

fn list_fired_rules(decision: &Decision) -> Vec<HeldRule> {
    let whole = DecisionView::with_facts(decision);
    let policies = whole.policies.into_iter();
    policies
        .flat_map(|said| {
            let policy = said.policy.into_owned();
            let rules = said.rules.into_iter();
            let fired = rules.filter(|rule| rule.answer.has_fired());
            let fired: Vec<HeldRule> = fired
                .map(|rule| HeldRule {
                    policy: policy.clone(),
                    rule: rule.into_owned(),
                })
                .collect();
            fired
        })
        .collect()
}
