//! From verdicts to an outcome.
//!
//! Invariant: adding a verdict can only tighten the outcome (approved < held < denied) and lower the score, so an operator policy
//! cannot loosen what the Graveyard said.

use crate::model::decision::{Outcome, PolicyVerdict};
use crate::model::verdict::RuleResult;

/// The outcome over all verdicts: a policy that could not judge, a violation or a rule's error denies; else a hold holds; else it is
/// approved. No verdict at all denies. The score is the lowest of all; 0 where a policy could not judge.
#[must_use]
pub fn combine(verdicts: &[PolicyVerdict]) -> (Outcome, f64) {
    let mut outcome = if verdicts.is_empty() {
        Outcome::Denied
    } else {
        Outcome::Approved
    };
    let mut score: f64 = if verdicts.is_empty() { 0.0 } else { 1.0 };
    for part in verdicts {
        let Ok(verdict) = &part.verdict else {
            return (Outcome::Denied, 0.0);
        };
        score = score.min(verdict.compliance_score);
        for answer in &verdict.answers {
            outcome = match (outcome, answer.answer) {
                (_, RuleResult::Violation | RuleResult::Error) => Outcome::Denied,
                (Outcome::Approved, RuleResult::Hold) => Outcome::Held,
                (outcome, _) => outcome,
            };
        }
    }
    (outcome, score)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::decision::PolicyIdentity;
    use crate::model::ids::Digest;
    use crate::model::verdict::{Metadata, RuleAnswer, Value, Verdict};

    fn part(verdict: Result<(&[RuleResult], f64), &str>) -> PolicyVerdict {
        let metadata = Metadata {
            name: "p".into(),
            version: "1.0.0".into(),
            rules: Vec::new(),
        };
        let answer = |(index, &answer): (usize, &RuleResult)| RuleAnswer {
            rule: u16::try_from(index).unwrap(),
            answer,
            observed: Value::None,
            limit: Value::None,
            nearest_passing: None,
        };
        PolicyVerdict {
            policy: Arc::new(PolicyIdentity {
                digest: Digest::of(b"p"),
                metadata,
            }),
            verdict: verdict
                .map_err(str::to_owned)
                .map(|(answers, compliance_score)| Verdict {
                    answers: answers.iter().enumerate().map(answer).collect(),
                    warnings: Vec::new(),
                    compliance_score,
                }),
        }
    }

    #[test]
    fn the_strictest_answer_decides_whatever_the_order() {
        use RuleResult::{Error, Hold, NotApplicable, Pass, Violation, Warn};
        let pass = || part(Ok((&[Pass, Warn, NotApplicable], 1.0)));
        let hold = || part(Ok((&[Pass, Hold], 0.5)));
        let deny = || part(Ok((&[Hold, Violation, Pass], 0.25)));
        let error = || part(Ok((&[Error], 0.0)));
        let broken = || part(Err("trap"));
        let cases = [
            (vec![], Outcome::Denied, 0.0),
            (vec![pass()], Outcome::Approved, 1.0),
            (vec![pass(), hold()], Outcome::Held, 0.5),
            (vec![hold(), pass()], Outcome::Held, 0.5),
            (vec![hold(), deny()], Outcome::Denied, 0.25),
            (vec![deny(), hold(), pass()], Outcome::Denied, 0.25),
            (vec![pass(), error()], Outcome::Denied, 0.0),
            (vec![pass(), broken()], Outcome::Denied, 0.0),
            (vec![broken(), pass()], Outcome::Denied, 0.0),
        ];
        for (verdicts, outcome, score) in cases {
            assert_eq!(combine(&verdicts), (outcome, score), "{verdicts:?}");
        }
    }
}
