//! How the rules answered. The rules are those of the policies that judged since the start.

use std::sync::{Arc, PoisonError, RwLock};

use crate::model::decision::{Decision, PolicyIdentity};
use crate::model::verdict::RuleResult;

use super::Count;

/// The answers that are counted, in the order of a rule's counts.
pub const ANSWERS: [&str; 4] = ["violation", "hold", "warn", "error"];

/// How the rules of one policy answered.
#[derive(Debug)]
pub struct PolicyMeter {
    /// Which policy.
    pub policy: Arc<PolicyIdentity>,
    /// For each rule, in the order of its metadata, the counts of [`ANSWERS`].
    pub rules: Vec<[Count; 4]>,
    /// Decisions for which it could not answer at all.
    pub failures: Count,
}

impl PolicyMeter {
    fn of(policy: &Arc<PolicyIdentity>) -> Self {
        Self {
            policy: Arc::clone(policy),
            rules: policy
                .metadata
                .rules
                .iter()
                .map(|_| Default::default())
                .collect(),
            failures: Count::default(),
        }
    }
}

/// How all rules answered.
#[derive(Debug, Default)]
pub struct RuleMeters {
    policies: RwLock<Vec<Arc<PolicyMeter>>>,
}

impl RuleMeters {
    /// Makes a policy known, so that its rules are shown with 0 before they ever fire.
    pub fn know(&self, policy: &Arc<PolicyIdentity>) {
        let _ = self.of(policy);
    }

    /// Counts a decision's answers. The order of a verdict's answers is that of the policy's rules (the runtime checks it).
    pub fn decided(&self, decision: &Decision) {
        for part in &decision.verdicts {
            let meter = self.of(&part.policy);
            let Ok(verdict) = &part.verdict else {
                meter.failures.one();
                continue;
            };
            for (answer, counts) in verdict.answers.iter().zip(&meter.rules) {
                let [violation, hold, warn, error] = counts;
                match answer.answer {
                    RuleResult::Pass | RuleResult::NotApplicable => {}
                    RuleResult::Violation => violation.one(),
                    RuleResult::Hold => hold.one(),
                    RuleResult::Warn => warn.one(),
                    RuleResult::Error => error.one(),
                }
            }
        }
    }

    /// All of them, in the order in which they became known.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<PolicyMeter>> {
        self.policies
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn of(&self, policy: &Arc<PolicyIdentity>) -> Arc<PolicyMeter> {
        let same = |meter: &&Arc<PolicyMeter>| {
            Arc::ptr_eq(&meter.policy, policy) || meter.policy.digest == policy.digest
        };
        let known = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = known.iter().find(same) {
            return Arc::clone(meter);
        }
        drop(known);
        let mut policies = self
            .policies
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = policies.iter().find(same) {
            return Arc::clone(meter);
        }
        let meter = Arc::new(PolicyMeter::of(policy));
        policies.push(Arc::clone(&meter));
        meter
    }
}
