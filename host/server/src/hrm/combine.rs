//! Combines verdicts into an outcome.
//!
//! Invariant: another verdict can only tighten the outcome (approved < held < denied) and lower the score, so an operator policy cannot loosen
//! what the Graveyard decided.

use ark_model::decision::{Outcome, PolicyVerdict};
use ark_model::verdict::RuleResult;

/// Combines the verdicts of all enforced policies into the outcome and the compliance score.
///
/// A failed policy, a violation or a rule's error denies; otherwise a hold holds; otherwise the action is approved. No verdict at all denies. The
/// score is the lowest of all verdicts, and 0 when a policy failed.
#[must_use]
pub fn combine_verdicts(verdicts: &[PolicyVerdict]) -> (Outcome, f64) {
    #[cfg(feature = "faults")]
    if crate::faults::find_fault() == Some(crate::faults::Fault::Denies) {
        return (Outcome::Denied, 0.0);
    }
    if verdicts.is_empty() {
        return (Outcome::Denied, 0.0);
    }
    strictest_answer(verdicts.iter())
}

/// Returns the outcome that would result if a shadow policy were enforced.
///
/// Its verdict replaces that of the operator policy of the same name, or joins the others. It never replaces the Graveyard's, which is the first.
/// `refused`: the host itself denies the action.
#[must_use]
pub fn shadow_outcome(
    verdicts: &[PolicyVerdict],
    shadow: &PolicyVerdict,
    refused: bool,
) -> Outcome {
    if refused || verdicts.is_empty() {
        return Outcome::Denied;
    }
    let name = &shadow.policy.metadata.name;
    let (graveyard, operator) = verdicts.split_at(1);
    let others = operator
        .iter()
        .filter(|part| part.policy.metadata.name != *name);
    let parts = graveyard.iter().chain(others).chain([shadow]);
    strictest_answer(parts).0
}

fn strictest_answer<'a>(verdicts: impl Iterator<Item = &'a PolicyVerdict>) -> (Outcome, f64) {
    let mut outcome = Outcome::Approved;
    let mut score: f64 = 1.0;
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

    use proptest::prelude::*;

    use super::*;
    use ark_model::decision::PolicyIdentity;
    use ark_model::ids::Digest;
    use ark_model::verdict::{Metadata, ObservedValue, RuleAnswer, Verdict};

    fn make_verdict(verdict: Result<(&[RuleResult], f64), &str>) -> PolicyVerdict {
        let metadata = Metadata {
            name: "p".into(),
            version: "1.0.0".into(),
            rules: Vec::new(),
        };
        let answer = |(index, &answer): (usize, &RuleResult)| RuleAnswer {
            rule: u16::try_from(index).unwrap(),
            answer,
            observed: ObservedValue::None,
            limit: ObservedValue::None,
            nearest_passing: None,
        };
        PolicyVerdict {
            policy: Arc::new(PolicyIdentity::new(Digest::hash_bytes(b"p"), metadata)),
            settings: None,
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
        let pass = || make_verdict(Ok((&[Pass, Warn, NotApplicable], 1.0)));
        let hold = || make_verdict(Ok((&[Pass, Hold], 0.5)));
        let deny = || make_verdict(Ok((&[Hold, Violation, Pass], 0.25)));
        let error = || make_verdict(Ok((&[Error], 0.0)));
        let broken = || make_verdict(Err("trap"));
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
            assert_eq!(
                combine_verdicts(&verdicts),
                (outcome, score),
                "{verdicts:?}"
            );
        }
    }

    fn any_answer() -> impl Strategy<Value = RuleResult> {
        use RuleResult::{Error, Hold, NotApplicable, Pass, Violation, Warn};
        prop::sample::select(vec![Pass, Warn, NotApplicable, Hold, Violation, Error])
    }

    /// Any verdict of a policy. The score need not fit the answers: it makes no difference here.
    fn any_verdict() -> impl Strategy<Value = PolicyVerdict> {
        let said = (
            prop::collection::vec(any_answer(), 0..6),
            prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
        );
        prop_oneof![
            4 => said.prop_map(|(answers, score)| make_verdict(Ok((&answers, score)))),
            1 => Just(make_verdict(Err("it failed"))),
        ]
    }

    const fn rank_outcome(outcome: Outcome) -> u8 {
        match outcome {
            Outcome::Approved => 0,
            Outcome::Held => 1,
            Outcome::Denied => 2,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn operator_policies_only_tighten(
            graveyard in any_verdict(),
            before in prop::collection::vec(any_verdict(), 0..4),
            added in any_verdict(),
            place in any::<prop::sample::Index>(),
        ) {
            let mut verdicts = vec![graveyard];
            verdicts.extend(before);
            let (outcome, score) = combine_verdicts(&verdicts);
            let failed = added.verdict.is_err();
            // Anywhere behind the Graveyard.
            verdicts.insert(1 + place.index(verdicts.len()), added);
            let (with, score_with) = combine_verdicts(&verdicts);
            prop_assert!(rank_outcome(with) >= rank_outcome(outcome), "{outcome:?} became {with:?}");
            prop_assert!(score_with <= score, "{score} became {score_with}");
            prop_assert!(!failed || with == Outcome::Denied);
        }

        #[test]
        fn the_order_of_operator_policies_changes_no_outcome(
            graveyard in any_verdict(),
            operator in prop::collection::vec(any_verdict(), 0..5),
        ) {
            let mut verdicts = vec![graveyard.clone()];
            verdicts.extend(operator.iter().cloned());
            let mut reversed = vec![graveyard];
            reversed.extend(operator.into_iter().rev());
            prop_assert_eq!(combine_verdicts(&verdicts).0, combine_verdicts(&reversed).0);
        }
    }

    #[test]
    fn a_shadow_policy_replaces_the_verdict_of_its_own_name() {
        use RuleResult::{Hold, Pass, Violation};
        let named = |name: &str, mut part: PolicyVerdict| {
            let metadata = Metadata {
                name: name.into(),
                ..part.policy.metadata.clone()
            };
            let digest = Digest::hash_bytes(name.as_bytes());
            part.policy = Arc::new(PolicyIdentity::new(digest, metadata));
            part
        };
        let pass = || make_verdict(Ok((&[Pass], 1.0)));
        let deny = || make_verdict(Ok((&[Violation], 0.0)));
        let hold = || make_verdict(Ok((&[Hold], 0.0)));
        let verdicts = [
            named("graveyard", pass()),
            named("a", deny()),
            named("b", hold()),
        ];
        assert_eq!(combine_verdicts(&verdicts).0, Outcome::Denied);
        assert_eq!(
            shadow_outcome(&verdicts, &named("a", pass()), false),
            Outcome::Held
        );
        assert_eq!(
            shadow_outcome(&verdicts, &named("b", pass()), false),
            Outcome::Denied
        );
        assert_eq!(
            shadow_outcome(&verdicts, &named("c", pass()), false),
            Outcome::Denied
        );
        assert_eq!(
            shadow_outcome(&verdicts, &named("a", pass()), true),
            Outcome::Denied
        );
        let broken = make_verdict(Err("trap"));
        assert_eq!(
            shadow_outcome(&verdicts[..1], &named("a", broken), false),
            Outcome::Denied
        );
        // A shadow policy named like the Graveyard does not replace it.
        let graveyard = [named("graveyard", deny())];
        assert_eq!(
            shadow_outcome(&graveyard, &named("graveyard", pass()), false),
            Outcome::Denied
        );
        assert_eq!(shadow_outcome(&[], &pass(), false), Outcome::Denied);
    }
}
