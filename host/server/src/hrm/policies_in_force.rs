//! The policies in force: the Graveyard first, then the operator policies.
//!
//! Invariants:
//! * Every policy is evaluated for every action. A policy that cannot answer leaves a failure among the verdicts, which denies.
//! * A shadow policy is evaluated after all verdicts are known. Neither its answers nor its failures are among the verdicts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use ark_model::action::Action;
use ark_model::decision::{PolicyIdentity, PolicyVerdict, ShadowVerdict};
use ark_model::facts::Facts;
use ark_model::ids::{Digest, Name};
use ark_model::meters::{HrmMeters, PolicySlotMeter};
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;
use ark_model::verdict::Verdict;
use ark_runtime::{Policy, PolicyError, PolicyInstance};

use super::combine::shadow_outcome;

/// Evaluations after which the warm instance of the Graveyard is replaced, so that its memory cannot grow without bound.
const RENEW_INSTANCE_AFTER: u32 = 10_000;
/// Failures in a row after which a shadow policy is no longer evaluated: each failure may have used up its whole fuel.
pub const MAX_SHADOW_FAILURES: u32 = 8;

/// A policy with its settings, enforced or in shadow.
pub struct ConfiguredPolicy {
    policy: Arc<Policy>,
    settings: Option<Settings>,
    settings_digest: Option<Digest>,
    meter: Arc<PolicySlotMeter>,
    failures_in_a_row: AtomicU32,
}

impl ConfiguredPolicy {
    /// Configures a policy under the name of its slot. The caller has checked that the policy accepts the settings.
    #[must_use]
    pub fn new(
        name: &Name,
        policy: Arc<Policy>,
        settings: Option<Settings>,
        mode: PolicyMode,
        meters: &HrmMeters,
    ) -> Self {
        let settings_digest = settings.as_ref().map(Settings::digest);
        let digest = policy.identity().digest;
        Self {
            meter: meters
                .policy_slots
                .for_slot(name, digest, settings_digest, mode),
            policy,
            settings,
            settings_digest,
            failures_in_a_row: AtomicU32::new(0),
        }
    }

    /// The digest and the metadata of the policy.
    #[must_use]
    pub fn identity(&self) -> &Arc<PolicyIdentity> {
        self.policy.identity()
    }

    /// The counts of its evaluations.
    #[must_use]
    pub const fn meter(&self) -> &Arc<PolicySlotMeter> {
        &self.meter
    }

    /// Returns whether it failed [`MAX_SHADOW_FAILURES`] times in a row. A shadow policy is then no longer evaluated.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.failures_in_a_row.load(Ordering::Relaxed) >= MAX_SHADOW_FAILURES
    }

    fn evaluate_action(&self, action: &Action, facts: &Facts) -> PolicyVerdict {
        let asked = Instant::now();
        let verdict = self
            .policy
            .new_instance()
            .and_then(|mut instance| instance.evaluate(self.settings.as_ref(), action, facts));
        self.meter.record_evaluation(asked.elapsed());
        if verdict.is_ok() {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        } else {
            self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
        PolicyVerdict {
            policy: Arc::clone(self.policy.identity()),
            settings: self.settings_digest,
            verdict: verdict.map_err(|error| error.to_string()),
        }
    }
}

/// The policy that a slot enforces.
#[derive(Clone)]
pub enum EnforcedPolicy {
    /// A policy that is loaded.
    Loaded(Arc<ConfiguredPolicy>),
    /// A policy that cannot be loaded. It denies every action and names itself as the reason.
    Broken {
        /// The digest and the metadata of the policy.
        identity: Arc<PolicyIdentity>,
        /// The digest of its settings.
        settings: Option<Digest>,
        /// Why it cannot be loaded, and what to do about it.
        reason: String,
    },
}

impl EnforcedPolicy {
    /// The digest and the metadata of the policy.
    #[must_use]
    pub fn identity(&self) -> &Arc<PolicyIdentity> {
        match self {
            Self::Loaded(policy) => policy.identity(),
            Self::Broken { identity, .. } => identity,
        }
    }

    fn evaluate_action(&self, action: &Action, facts: &Facts) -> PolicyVerdict {
        match self {
            Self::Loaded(policy) => policy.evaluate_action(action, facts),
            Self::Broken {
                identity,
                settings,
                reason,
            } => PolicyVerdict {
                policy: Arc::clone(identity),
                settings: *settings,
                verdict: Err(reason.clone()),
            },
        }
    }
}

/// The operator policy in force under one name. A slot is immutable: a change replaces it.
pub struct SlotInForce {
    /// The name.
    pub name: Name,
    /// Lower ones are evaluated first, equal ones by name.
    pub place: u32,
    /// The enforced policy. `None`: there is only a shadow policy.
    pub enforced: Option<EnforcedPolicy>,
    /// The shadow policy.
    pub shadow: Option<Arc<ConfiguredPolicy>>,
}

/// The policies in force.
#[derive(Clone)]
pub struct PoliciesInForce {
    graveyard: Arc<Policy>,
    operator_slots: Vec<Arc<SlotInForce>>,
}

impl PoliciesInForce {
    /// Makes the policies in force of the Graveyard and the operator policies, in the order they are evaluated.
    #[must_use]
    pub const fn new(graveyard: Arc<Policy>, operator_slots: Vec<Arc<SlotInForce>>) -> Self {
        Self {
            graveyard,
            operator_slots,
        }
    }

    /// The identities of the enforced policies, in the order they are evaluated.
    pub fn list_identities(&self) -> impl Iterator<Item = &Arc<PolicyIdentity>> {
        let operator = self
            .operator_slots
            .iter()
            .filter_map(|slot| slot.enforced.as_ref());
        std::iter::once(self.graveyard.identity()).chain(operator.map(EnforcedPolicy::identity))
    }

    /// The identity of the Graveyard.
    #[must_use]
    pub fn graveyard_identity(&self) -> &Arc<PolicyIdentity> {
        self.graveyard.identity()
    }

    /// The slots of the operator policies.
    #[must_use]
    pub fn operator_slots(&self) -> &[Arc<SlotInForce>] {
        &self.operator_slots
    }

    /// Tells the meters which policies are in force.
    pub(super) fn report_in_force(&self, meters: &HrmMeters) {
        let identities: Vec<_> = self.list_identities().cloned().collect();
        meters.rules.set_in_force(&identities);
        let loaded = self.operator_slots.iter().flat_map(|slot| {
            let enforced = match &slot.enforced {
                Some(EnforcedPolicy::Loaded(policy)) => Some(policy),
                _ => None,
            };
            enforced.into_iter().chain(&slot.shadow)
        });
        meters
            .policy_slots
            .set_in_force(loaded.map(|policy| Arc::clone(&policy.meter)).collect());
    }

    /// Makes a judge without a warm instance, for a thread that decides or for one evaluation.
    #[must_use]
    pub fn new_judge(&self) -> PolicyJudge {
        PolicyJudge {
            policies: self.clone(),
            warm_instance: None,
            evaluations: 0,
        }
    }
}

/// Evaluates the policies in force.
///
/// One instance of the Graveyard is kept warm: its source holds no state between evaluations. Operator policies get a fresh instance for each
/// evaluation.
pub struct PolicyJudge {
    // Dropped before its policy, which has the memory of ended instances given back when it is dropped: that memory holds on to the policy's code.
    warm_instance: Option<PolicyInstance>,
    policies: PoliciesInForce,
    evaluations: u32,
}

impl PolicyJudge {
    /// The policies that are evaluated.
    #[must_use]
    pub const fn policies(&self) -> &PoliciesInForce {
        &self.policies
    }

    /// Replaces the operator policies and returns the previous ones.
    pub fn replace_operator_slots(
        &mut self,
        slots: Vec<Arc<SlotInForce>>,
    ) -> Vec<Arc<SlotInForce>> {
        std::mem::replace(&mut self.policies.operator_slots, slots)
    }

    /// Evaluates every enforced policy.
    pub fn collect_verdicts(&mut self, action: &Action, facts: &Facts) -> Vec<PolicyVerdict> {
        let graveyard = self
            .evaluate_graveyard(action, facts)
            .map_err(|error| error.to_string());
        let mut verdicts = Vec::with_capacity(1 + self.policies.operator_slots.len());
        verdicts.push(PolicyVerdict {
            policy: Arc::clone(self.policies.graveyard.identity()),
            settings: None,
            verdict: graveyard,
        });
        let enforced = self
            .policies
            .operator_slots
            .iter()
            .filter_map(|slot| slot.enforced.as_ref());
        verdicts.extend(enforced.map(|policy| policy.evaluate_action(action, facts)));
        #[cfg(feature = "faults")]
        crate::faults::overlook_violations(&mut verdicts);
        for failed in &verdicts {
            if let Err(error) = &failed.verdict {
                let policy = failed.policy.metadata.name.as_str();
                tracing::error!(policy, error, "a policy failed: the action is denied");
            }
        }
        verdicts
    }

    /// Evaluates the shadow policies. `refused`: the host itself denies the action, so each of their outcomes is a denial.
    #[must_use]
    pub fn collect_shadow_verdicts(
        &self,
        action: &Action,
        facts: &Facts,
        verdicts: &[PolicyVerdict],
        refused: bool,
    ) -> Vec<ShadowVerdict> {
        self.policies
            .operator_slots
            .iter()
            .filter_map(|slot| slot.shadow.as_ref())
            .filter(|shadow| !shadow.is_given_up())
            .map(|shadow| {
                let part = shadow.evaluate_action(action, facts);
                if shadow.is_given_up() {
                    tracing::warn!(
                        policy = shadow.meter.name.as_str(),
                        failures = MAX_SHADOW_FAILURES,
                        "a shadow policy fails every time and is no longer evaluated"
                    );
                }
                ShadowVerdict {
                    outcome: shadow_outcome(verdicts, &part, refused),
                    policy_verdict: part,
                }
            })
            .collect()
    }

    fn evaluate_graveyard(
        &mut self,
        action: &Action,
        facts: &Facts,
    ) -> Result<Verdict, PolicyError> {
        self.evaluations += 1;
        if self.evaluations > RENEW_INSTANCE_AFTER {
            self.evaluations = 0;
            self.warm_instance = None;
        }
        let mut instance = match self.warm_instance.take() {
            Some(instance) => instance,
            None => self.policies.graveyard.new_instance()?,
        };
        let verdict = instance.evaluate(None, action, facts)?;
        self.warm_instance = Some(instance);
        Ok(verdict)
    }
}
