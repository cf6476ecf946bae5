//! Decisions: the outcome over all verdicts of one action, and the record of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::facts::Facts;
use super::ids::{DecisionId, Digest, Millis, Name, TraceId};
use super::verdict::{Metadata, Rule, RuleAnswer, RuleResult, Verdict};

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// What it said, or why it could say nothing (which denies).
    pub verdict: Result<Verdict, String>,
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
    /// When it was decided.
    pub decided_at: Millis,
    /// The action as judged: normalised and redacted.
    pub action: Action,
    /// The facts it was judged under.
    pub facts: Facts,
    /// The verdicts: Graveyard first, then the operator policies in their order.
    pub verdicts: Vec<PolicyVerdict>,
    /// Why the host itself denies, apart from any policy, e.g. that the manifest does not grant the action type.
    pub refusal: Option<String>,
    /// The outcome over all of it.
    pub outcome: Outcome,
    /// The lowest compliance score of the verdicts; 0 where a policy could not judge or the host refused.
    pub compliance_score: f64,
}

impl Decision {
    /// The rules that warned, held, were broken or could not be judged, with their answers, in the order of the policies.
    pub fn fired(&self) -> impl Iterator<Item = (&Rule, &RuleAnswer)> {
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
