//! Decisions: the outcome over all verdicts of one action, and the record of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::facts::Facts;
use super::ids::{DecisionId, Digest, Millis, Name, TraceId};
use super::verdict::{Metadata, ObservedValue, Rule, RuleAnswer, RuleResult, Verdict};

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It may be carried out.
    Approved,
    /// It waits for an approval.
    Held,
    /// It must not be carried out.
    Denied,
}

impl Outcome {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Held => "held",
            Self::Denied => "denied",
        }
    }
}

/// What identifies a policy: its exact bytes, and its own description.
#[derive(Debug, PartialEq)]
pub struct PolicyIdentity {
    /// SHA-256 of the component.
    pub digest: Digest,
    /// What it says of itself.
    pub metadata: Metadata,
}

/// One policy's part of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyVerdict {
    /// Which policy.
    pub policy: Arc<PolicyIdentity>,
    /// The SHA-256 of the settings it judged with; `None`: with none.
    pub settings: Option<Digest>,
    /// What it said, or why it could say nothing (which denies).
    pub verdict: Result<Verdict, String>,
}

/// What a policy on trial said of a decision in which it had no say.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowVerdict {
    /// What it said. That it could say nothing denies nobody here.
    pub policy_verdict: PolicyVerdict,
    /// The outcome there would have been, had it been enforced: in the place of the enforced version of the same name, if there is one.
    pub outcome: Outcome,
}

/// The approval under which an action was judged again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalGiven {
    /// The decision that held the action; the approval's own id.
    pub held: DecisionId,
    /// Who approved.
    pub by: String,
}

/// A decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Its id.
    pub id: DecisionId,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Who proposed.
    pub agent: Name,
    /// The name of the token that proposed in the agent's name; `None`: the agent itself, or a caller without a token.
    pub submitter: Option<String>,
    /// When it was decided.
    pub decided_at: Millis,
    /// The action as judged: normalised and redacted.
    pub action: Action,
    /// The facts it was judged under.
    pub facts: Facts,
    /// The verdicts: Graveyard first, then the operator policies in their order.
    pub verdicts: Vec<PolicyVerdict>,
    /// What policies on trial said, in their order. The outcome is the same without them.
    pub shadows: Vec<ShadowVerdict>,
    /// Why the host itself denies, apart from any policy, e.g. that the manifest does not grant the action type.
    pub refusal: Option<String>,
    /// The approval it was judged under, where the action was held before.
    pub approval: Option<ApprovalGiven>,
    /// The outcome over all of it.
    pub outcome: Outcome,
    /// The lowest compliance score of the verdicts; 0 where a policy could not judge or the host refused.
    pub compliance_score: f64,
}

impl Decision {
    /// The rules that warned, held, were broken or could not be judged, with their answers, in the order of the policies.
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

    /// Why it is what it is, in words: one line for each rule that fired, those that block first.
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
                RuleResult::Violation => (1, "is broken"),
                RuleResult::Error => (1, "could not be judged"),
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

/// Something observed, or a limit, in words; `None`: there is nothing to show.
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
    /// The rule with this number.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<&Rule> {
        let likely = usize::from(number)
            .checked_sub(1)
            .and_then(|index| self.metadata.rules.get(index));
        likely.filter(|rule| rule.number == number).or_else(|| {
            self.metadata
                .rules
                .iter()
                .find(|rule| rule.number == number)
        })
    }
}
