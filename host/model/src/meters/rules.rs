//! How the rules answered. The rows are the rules of the policies in force. A row includes what earlier versions of a policy of the same name
//! counted, so that it only grows.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::decision::{Decision, PolicyIdentity, PolicyVerdict};
use crate::verdict::RuleResult;

use super::handles::Counter;

/// The rule answers that are counted, in the order of a rule's counters.
pub const COUNTED_ANSWERS: [&str; 4] = ["violation", "hold", "warn", "error"];

/// The key of a row: the names of policy, rule and severity.
pub type RuleRow = (String, String, &'static str);

/// How the rules of one policy answered.
#[derive(Debug)]
struct PolicyMeter {
    policy: Arc<PolicyIdentity>,
    /// For each rule, in the order of the metadata, one counter for each of [`COUNTED_ANSWERS`].
    rules: Vec<[Counter; 4]>,
    /// Decisions for which the policy could not judge.
    failures: Counter,
}

impl PolicyMeter {
    fn for_policy(policy: &Arc<PolicyIdentity>) -> Self {
        Self {
            policy: Arc::clone(policy),
            rules: policy
                .metadata
                .rules
                .iter()
                .map(|_| Default::default())
                .collect(),
            failures: Counter::default(),
        }
    }

    /// Records a verdict with what is counted of its answers, which are in the order of the policy's rules: the runtime checks that.
    fn record_verdict<'a>(
        &self,
        part: &PolicyVerdict,
        answers: impl Iterator<Item = &'a CountedAnswer>,
    ) {
        if part.verdict.is_err() {
            self.failures.increment();
        }
        for counted in answers {
            let Some([violation, hold, warn, error]) = self.rules.get(counted.rule) else {
                continue;
            };
            match counted.answer {
                RuleResult::Pass | RuleResult::NotApplicable => {}
                RuleResult::Violation => violation.increment(),
                RuleResult::Hold => hold.increment(),
                RuleResult::Warn => warn.increment(),
                RuleResult::Error => error.increment(),
            }
        }
    }

    fn add_to(&self, sums: &mut RuleSums) {
        let metadata = &self.policy.metadata;
        for (rule, counts) in metadata.rules.iter().zip(&self.rules) {
            let row = (
                metadata.name.clone(),
                rule.name.clone(),
                rule.severity.into(),
            );
            let sum = sums.rules.entry(row).or_default();
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count.get();
            }
        }
        *sums.failures.entry(metadata.name.clone()).or_default() += self.failures.get();
    }
}

/// What is counted of the answers in decisions. They are looked through where they have just been made: most are not counted, and another thread would
/// wait for the memory of each.
#[derive(Debug)]
pub struct CountedAnswers(Vec<CountedAnswer>);

#[derive(Debug)]
struct CountedAnswer {
    /// The index of the decision.
    decision: usize,
    /// The index of the verdict in the decision.
    part: usize,
    /// The index of the answer, and so of the rule.
    rule: usize,
    answer: RuleResult,
}

impl CountedAnswers {
    /// Finds what is counted of the answers in some decisions.
    #[must_use]
    pub fn find(decisions: &[Arc<Decision>]) -> Self {
        let mut counted = Vec::new();
        for (decision, made) in decisions.iter().enumerate() {
            for (part, verdict) in made.verdicts.iter().enumerate() {
                let answers = verdict.verdict.iter().flat_map(|it| &it.answers);
                for (rule, answer) in answers.enumerate() {
                    if answer.answer.has_fired() {
                        counted.push(CountedAnswer {
                            decision,
                            part,
                            rule,
                            answer: answer.answer,
                        });
                    }
                }
            }
        }
        Self(counted)
    }

    /// Returns those of one verdict. They are in the order of decisions and verdicts.
    fn of_verdict(&self, decision: usize, part: usize) -> impl Iterator<Item = &CountedAnswer> {
        let place = (decision, part);
        let start = self.0.partition_point(|it| (it.decision, it.part) < place);
        let rest = self.0.get(start..).unwrap_or_default().iter();
        rest.take_while(move |it| (it.decision, it.part) == place)
    }
}

/// The counts at one moment.
#[derive(Debug, Clone, Default)]
pub struct RuleSums {
    /// For each row, one count for each of [`COUNTED_ANSWERS`].
    pub rules: BTreeMap<RuleRow, [u64; 4]>,
    /// Decisions for which a policy could not judge, by policy.
    pub failures: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct RuleMetersState {
    policies: Vec<PolicyMeter>,
    /// What versions counted that are no longer in force, where another version of the same name is.
    retired: RuleSums,
}

/// How all rules answered.
#[derive(Debug, Default)]
pub struct RuleMeters(RwLock<RuleMetersState>);

impl RuleMeters {
    /// Sets the policies that are in force from now on. Their rules have rows at once, with 0 before they first fire.
    pub fn set_in_force(&self, policies: &[Arc<PolicyIdentity>]) {
        let known = &mut *self.0.write();
        let stays = |meter: &PolicyMeter| {
            let digest = meter.policy.digest;
            policies.iter().any(|policy| policy.digest == digest)
        };
        let named = |name: &str| policies.iter().any(|policy| policy.metadata.name == name);
        let (stay, go): (Vec<_>, Vec<_>) = known.policies.drain(..).partition(stays);
        known.policies = stay;
        for meter in go {
            meter.add_to(&mut known.retired);
        }
        known.retired.rules.retain(|(name, ..), _| named(name));
        known.retired.failures.retain(|name, _| named(name));
        for policy in policies {
            known.add_policy(policy);
        }
    }

    /// Records the answers of decisions that are durable. `counted`: what [`CountedAnswers::find`] found in them.
    pub fn record_decisions(&self, decisions: &[Arc<Decision>], counted: &CountedAnswers) {
        let known = self.0.read();
        let mut late = Vec::new();
        for (index, decision) in decisions.iter().enumerate() {
            for (part, verdict) in decision.verdicts.iter().enumerate() {
                let answers = counted.of_verdict(index, part);
                match known.find_meter(&verdict.policy) {
                    Some(meter) => meter.record_verdict(verdict, answers),
                    None => late.push((verdict, answers)),
                }
            }
        }
        drop(known);
        if !late.is_empty() {
            self.record_late_verdicts(late);
        }
    }

    /// Returns the counts.
    #[must_use]
    pub fn sums(&self) -> RuleSums {
        let known = self.0.read();
        let mut sums = known.retired.clone();
        for meter in &known.policies {
            meter.add_to(&mut sums);
        }
        sums
    }

    /// Records verdicts of policies that were replaced before their decisions were durable.
    #[cold]
    fn record_late_verdicts<'a>(
        &self,
        late: Vec<(&PolicyVerdict, impl Iterator<Item = &'a CountedAnswer>)>,
    ) {
        let known = &mut *self.0.write();
        for (part, answers) in late {
            if let Some(meter) = known.find_meter(&part.policy) {
                meter.record_verdict(part, answers);
                continue;
            }
            let meter = PolicyMeter::for_policy(&part.policy);
            meter.record_verdict(part, answers);
            if known.has_name(&part.policy.metadata.name) {
                meter.add_to(&mut known.retired);
            }
        }
    }
}

impl RuleMetersState {
    fn find_meter(&self, policy: &Arc<PolicyIdentity>) -> Option<&PolicyMeter> {
        self.policies.iter().find(|meter| {
            Arc::ptr_eq(&meter.policy, policy) || meter.policy.digest == policy.digest
        })
    }

    fn has_name(&self, name: &str) -> bool {
        let mut policies = self.policies.iter();
        policies.any(|meter| meter.policy.metadata.name == name)
    }

    fn add_policy(&mut self, policy: &Arc<PolicyIdentity>) {
        if self.find_meter(policy).is_none() {
            self.policies.push(PolicyMeter::for_policy(policy));
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;
    use crate::action::{Action, Criticality, Custom, Parameters};
    use crate::decision::Outcome;
    use crate::facts::Facts;
    use crate::ids::{DecisionId, Digest, Millis, TraceId};
    use crate::verdict::{Metadata, ObservedValue, Rule, RuleAnswer, Severity, Verdict};

    fn make_identity(name: &str, bytes: &[u8]) -> Arc<PolicyIdentity> {
        let rule = Rule {
            number: 1,
            name: "r".into(),
            category: "c".into(),
            severity: Severity::High,
            hold: false,
            description: String::new(),
        };
        let metadata = Metadata {
            name: name.into(),
            version: "1".into(),
            rules: vec![rule],
        };
        Arc::new(PolicyIdentity::new(Digest::hash_bytes(bytes), metadata))
    }

    fn make_decision(verdicts: Vec<PolicyVerdict>) -> Arc<Decision> {
        let action = Action {
            action_type: "x".into(),
            parameters: Parameters::Custom(Custom {
                kind: "x".into(),
                parameters_json: "{}".into(),
            }),
            reasoning: None,
            sources: Vec::new(),
            reversible: true,
            rollback_plan: None,
            external: None,
            criticality: Criticality::Critical,
        };
        Arc::new(Decision {
            id: DecisionId::fresh(),
            trace_id: TraceId::fresh(),
            agent: "kenny".parse().unwrap(),
            submitter: None,
            decided_at: Millis(1),
            action,
            facts: Facts::default(),
            verdicts,
            shadows: Vec::new(),
            refusal: None,
            approval: None,
            outcome: Outcome::Denied,
            compliance_score: 0.0,
        })
    }

    #[test]
    fn what_fired_in_each_decision_is_counted_also_of_a_policy_that_is_gone() {
        let meters = RuleMeters::default();
        let identities = [("p", b"1"), ("p", b"2"), ("q", b"3")];
        let [old, new, other] = identities.map(|(name, bytes)| make_identity(name, bytes));
        let answered = |policy: &Arc<PolicyIdentity>, answer| PolicyVerdict {
            policy: Arc::clone(policy),
            settings: None,
            verdict: Ok(Verdict {
                answers: vec![RuleAnswer {
                    rule: 1,
                    answer,
                    observed: ObservedValue::None,
                    limit: ObservedValue::None,
                    nearest_passing: None,
                }],
                warnings: Vec::new(),
                compliance_score: 1.0,
            }),
        };
        let decisions: Vec<_> = RuleResult::VARIANTS
            .iter()
            .map(|answer| {
                let verdicts = vec![answered(&old, RuleResult::Hold), answered(&other, *answer)];
                make_decision(verdicts)
            })
            .collect();
        let counted = CountedAnswers::find(&decisions);
        for in_force in [[&old, &other], [&new, &other]] {
            meters.set_in_force(&in_force.map(Arc::clone));
            meters.record_decisions(&decisions, &counted);
        }
        let sums = meters.sums();
        let of = |name: &str| {
            let row: RuleRow = (name.to_owned(), "r".to_owned(), Severity::High.into());
            sums.rules[&row]
        };
        assert_eq!((of("p"), of("q")), ([0, 12, 0, 0], [2, 2, 2, 2]));
    }

    #[test]
    fn a_row_grows_over_versions_and_goes_with_its_name() {
        let meters = RuleMeters::default();
        let (one, two) = (make_identity("p", b"1"), make_identity("p", b"2"));
        meters.set_in_force(std::slice::from_ref(&one));
        let failed = |policy: &Arc<PolicyIdentity>| PolicyVerdict {
            policy: Arc::clone(policy),
            settings: None,
            verdict: Err("trap".into()),
        };
        let count = |policy| {
            let known = meters.0.read();
            known
                .find_meter(policy)
                .unwrap()
                .record_verdict(&failed(policy), std::iter::empty());
        };
        count(&one);
        count(&one);
        meters.set_in_force(std::slice::from_ref(&two));
        assert_eq!(meters.sums().failures["p"], 2);
        count(&two);
        let sums = meters.sums();
        assert_eq!(sums.failures["p"], 3);
        assert_eq!(sums.rules.len(), 1);
        meters.set_in_force(&[make_identity("q", b"3")]);
        assert_eq!(
            meters.sums().failures.into_iter().collect::<Vec<_>>(),
            [("q".to_owned(), 0)]
        );
    }
}
