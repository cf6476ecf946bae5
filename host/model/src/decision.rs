//! Decisions: the outcome over all verdicts about one action, and its record.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::facts::Facts;
use super::ids::{DecisionId, Digest, Millis, Name, TraceId};
use super::verdict::{Metadata, ObservedValue, Rule, RuleAnswer, RuleResult, Verdict};

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The action may be carried out.
    Approved,
    /// The action waits for an approval.
    Held,
    /// The action must not be carried out.
    Denied,
}

impl Outcome {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What identifies a policy: its exact bytes and its own description.
#[derive(Debug, PartialEq)]
pub struct PolicyIdentity {
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// The policy's description of itself.
    pub metadata: Metadata,
}

/// One policy's part of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyVerdict {
    /// The policy.
    pub policy: Arc<PolicyIdentity>,
    /// The SHA-256 of the settings that the policy judged with; absent: it had none.
    pub settings: Option<Digest>,
    /// The verdict, or why the policy could not judge. A policy that could not judge denies.
    pub verdict: Result<Verdict, String>,
}

/// What a policy in shadow mode said about an action. It does not change the outcome of the decision.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowVerdict {
    /// The verdict. Here a policy that could not judge denies nothing.
    pub policy_verdict: PolicyVerdict,
    /// The outcome that the decision would have had if this version had been enforced, in the place of the enforced version of the same name if
    /// there is one.
    pub outcome: Outcome,
}

/// The approval under which an action was judged again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalGiven {
    /// The id of the decision that held the action. It is also the id of the approval.
    pub held: DecisionId,
    /// The name of the approver.
    pub by: String,
}

/// The record of one judgement.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The id.
    pub id: DecisionId,
    /// The trace that the decision belongs to.
    pub trace_id: TraceId,
    /// The requester.
    pub agent: Name,
    /// The name of the token that proposed in the requester's name; absent: the agent itself, or a caller without a token.
    pub submitter: Option<String>,
    /// When the decision was made.
    pub decided_at: Millis,
    /// The action as it was judged: normalised and redacted.
    pub action: Action,
    /// The facts under which the action was judged.
    pub facts: Facts,
    /// The verdicts: the Graveyard's first, then those of the enforced operator policies in their order.
    pub verdicts: Vec<PolicyVerdict>,
    /// The verdicts of the policies in shadow mode, in their order.
    pub shadows: Vec<ShadowVerdict>,
    /// Why the host denies, apart from any policy, e.g. because the manifest does not grant the action type; absent: it does not.
    pub refusal: Option<String>,
    /// The approval under which the action was judged again; absent: the action was not held before.
    pub approval: Option<ApprovalGiven>,
    /// The outcome over all verdicts, the refusal and the approval.
    pub outcome: Outcome,
    /// The lowest compliance score of the verdicts; 0 where a policy could not judge or the host refuses.
    pub compliance_score: f64,
}

impl Decision {
    /// Returns whether a rule of a policy in force is violated.
    #[must_use]
    pub fn violates_rules(&self) -> bool {
        self.fired_rules()
            .any(|(_, answer)| answer.answer == RuleResult::Violation)
    }

    /// Returns the rules that warned, held, were violated or could not be evaluated, with their answers, in the order of the policies.
    pub fn fired_rules(&self) -> impl Iterator<Item = (&Rule, &RuleAnswer)> {
        self.verdicts.iter().flat_map(|part| {
            let answers = part
                .verdict
                .as_ref()
                .map_or(&[][..], |verdict| &verdict.answers);
            answers
                .iter()
                .filter(|answer| {
                    !matches!(answer.answer, RuleResult::Pass | RuleResult::NotApplicable)
                })
                .filter_map(|answer| part.policy.rule(answer.rule).map(|rule| (rule, answer)))
        })
    }

    /// Returns the reasons for the outcome, for people: one line for each rule that fired, those that deny first.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut lines: Vec<(u8, String)> = Vec::new();
        if let Some(refusal) = &self.refusal {
            lines.push((0, refusal.clone()));
        }
        for part in &self.verdicts {
            if let Err(failure) = &part.verdict {
                lines.push((
                    0,
                    format!("{} could not judge: {failure}", part.policy.metadata.name),
                ));
            }
        }
        for (rule, answer) in self.fired_rules() {
            let (order, verb) = match answer.answer {
                RuleResult::Violation => (1, "is violated"),
                RuleResult::Error => (1, "could not be evaluated"),
                RuleResult::Hold => (2, "asks for an approval"),
                _ => (3, "warns"),
            };
            let mut line = format!("{} {verb}", rule.name);
            if let Some(observed) = format_value(&answer.observed) {
                line.push_str(": observed ");
                line.push_str(&observed);
                if let Some(limit) = format_value(&answer.limit) {
                    line.push_str(", limit ");
                    line.push_str(&limit);
                }
            }
            if let Some(nearest) = answer.nearest_passing {
                line = format!("{line}; {nearest} would pass");
            }
            lines.push((order, line));
        }
        lines.sort_by_key(|(order, _)| *order);
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// Returns an observed value or a limit as text; `None` when there is no value.
#[must_use]
pub fn format_value(value: &ObservedValue) -> Option<String> {
    match value {
        ObservedValue::None => None,
        ObservedValue::Flag(flag) => Some(flag.to_string()),
        ObservedValue::Number(number) => Some(number.to_string()),
        ObservedValue::Text(text) => Some(text.clone()),
    }
}

impl PolicyIdentity {
    /// Returns the rule with this number.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<&Rule> {
        let rules = &self.metadata.rules;
        // Most policies number their rules from 1 in order.
        let likely = usize::from(number)
            .checked_sub(1)
            .and_then(|index| rules.get(index));
        likely
            .filter(|rule| rule.number == number)
            .or_else(|| rules.iter().find(|rule| rule.number == number))
    }
}
