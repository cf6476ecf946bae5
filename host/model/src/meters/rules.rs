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

    /// Records a verdict. Its answers are in the order of the policy's rules, which the runtime checks.
    fn record_verdict(&self, part: &PolicyVerdict) {
        let Ok(verdict) = &part.verdict else {
            self.failures.increment();
            return;
        };
        for (answer, counts) in verdict.answers.iter().zip(&self.rules) {
            let [violation, hold, warn, error] = counts;
            match answer.answer {
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

    /// Records the answers of a decision that is durable.
    pub fn record_decision(&self, decision: &Decision) {
        let known = self.0.read();
        let mut unknown = false;
        for part in &decision.verdicts {
            match known.find_meter(&part.policy) {
                Some(meter) => meter.record_verdict(part),
                None => unknown = true,
            }
        }
        drop(known);
        if unknown {
            self.record_late_decision(decision);
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

    /// Records a decision by a policy that was replaced before the decision was durable.
    #[cold]
    fn record_late_decision(&self, decision: &Decision) {
        let known = &mut *self.0.write();
        let gone: Vec<&PolicyVerdict> = decision
            .verdicts
            .iter()
            .filter(|part| known.find_meter(&part.policy).is_none())
            .collect();
        for part in gone {
            let meter = PolicyMeter::for_policy(&part.policy);
            meter.record_verdict(part);
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
    use super::*;
    use crate::ids::Digest;
    use crate::verdict::{Metadata, Rule, Severity};

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
                .record_verdict(&failed(policy));
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
