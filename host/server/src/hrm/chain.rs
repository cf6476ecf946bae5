//! The policies, in the order they are asked: the Graveyard, then the operator policies.
//!
//! Invariants: every policy is asked, always, and one that cannot answer leaves a failure in its place, which denies. A policy on trial
//! is asked after all verdicts are there, and nothing it says or fails to say is among them.

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

/// After so many evaluations the warm instance is renewed, so that its memory cannot grow for ever.
const RENEW_INSTANCE_AFTER: u32 = 10_000;
/// After so many failures in a row a policy on trial is not asked any more: each may have used up all of its fuel.
pub const MAX_SHADOW_FAILURES: u32 = 8;

/// A policy with its settings, in one mode.
pub struct ConfiguredPolicy {
    policy: Arc<Policy>,
    settings: Option<Settings>,
    settings_digest: Option<Digest>,
    meter: Arc<PolicySlotMeter>,
    /// Failures since it last answered.
    failures_in_a_row: AtomicU32,
}

impl ConfiguredPolicy {
    /// Sets a policy up under its name. Whether it takes the settings was asked before.
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

    /// What identifies it.
    #[must_use]
    pub fn identity(&self) -> &Arc<PolicyIdentity> {
        self.policy.identity()
    }

    /// What it did.
    #[must_use]
    pub const fn meter(&self) -> &Arc<PolicySlotMeter> {
        &self.meter
    }

    /// On trial: it failed [`TRIAL_ENDS`] times in a row and is not asked any more.
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

/// What judges under a name.
#[derive(Clone)]
pub enum EnforcedPolicy {
    /// A policy.
    Loaded(Arc<ConfiguredPolicy>),
    /// A policy that cannot be loaded: it denies everything, naming itself.
    Broken {
        /// What identifies it.
        identity: Arc<PolicyIdentity>,
        /// Its settings.
        settings: Option<Digest>,
        /// Why it cannot be loaded, and what to do.
        reason: String,
    },
}

impl EnforcedPolicy {
    /// What identifies it.
    #[must_use]
    pub fn identity(&self) -> &Arc<PolicyIdentity> {
        match self {
            Self::Loaded(policy) => policy.identity(),
            Self::Broken { identity, .. } => identity,
        }
    }
}

/// What is in force under a name. It never changes: another one takes its place.
pub struct ChainSlot {
    /// The name.
    pub name: Name,
    /// Its place among the others: lower ones are asked first, equal ones by name.
    pub priority: u32,
    /// What judges; `None`: nothing, there is only a policy on trial.
    pub enforced: Option<EnforcedPolicy>,
    /// The policy on trial.
    pub shadow: Option<Arc<ConfiguredPolicy>>,
}

/// The policies in force.
#[derive(Clone)]
pub struct PolicyChain {
    graveyard: Arc<Policy>,
    operator_slots: Vec<Arc<ChainSlot>>,
}

impl PolicyChain {
    /// The Graveyard, and the operator policies in the order they are asked.
    #[must_use]
    pub const fn new(graveyard: Arc<Policy>, operator: Vec<Arc<ChainSlot>>) -> Self {
        Self {
            graveyard,
            operator_slots: operator,
        }
    }

    /// The identities of what judges, in order.
    pub fn list_identities(&self) -> impl Iterator<Item = &Arc<PolicyIdentity>> {
        let operator = self
            .operator_slots
            .iter()
            .filter_map(|slot| slot.enforced.as_ref());
        std::iter::once(self.graveyard.identity()).chain(operator.map(EnforcedPolicy::identity))
    }

    /// The Graveyard's identity.
    #[must_use]
    pub fn graveyard_identity(&self) -> &Arc<PolicyIdentity> {
        self.graveyard.identity()
    }

    /// The operator policies.
    #[must_use]
    pub fn operator_slots(&self) -> &[Arc<ChainSlot>] {
        &self.operator_slots
    }

    /// Lets the meters know what is in force.
    pub(super) fn report_in_force(&self, meters: &HrmMeters) {
        let identities: Vec<_> = self.list_identities().cloned().collect();
        meters.rules.set_in_force(&identities);
        let seats = self.operator_slots.iter().flat_map(|slot| {
            let enforced = match &slot.enforced {
                Some(EnforcedPolicy::Loaded(policy)) => Some(policy),
                _ => None,
            };
            enforced.into_iter().chain(&slot.shadow)
        });
        meters
            .policy_slots
            .set_in_force(seats.map(|seat| Arc::clone(&seat.meter)).collect());
    }

    /// A judge with no history: for a thread that decides, or for one replay.
    #[must_use]
    pub fn new_judge(&self) -> PolicyJudge {
        PolicyJudge {
            chain: self.clone(),
            warm_instance: None,
            evaluations: 0,
        }
    }
}

/// Evaluates the chain. It keeps one instance of the Graveyard warm (whose source holds no state between evaluations); operator policies
/// get a fresh instance each time.
pub struct PolicyJudge {
    chain: PolicyChain,
    warm_instance: Option<PolicyInstance>,
    evaluations: u32,
}

impl PolicyJudge {
    /// The policies it asks.
    #[must_use]
    pub const fn chain(&self) -> &PolicyChain {
        &self.chain
    }

    /// Asks other operator policies from now on; those it asked until now.
    pub fn replace_operator_slots(&mut self, operator: Vec<Arc<ChainSlot>>) -> Vec<Arc<ChainSlot>> {
        std::mem::replace(&mut self.chain.operator_slots, operator)
    }

    /// Asks every policy whose verdict counts.
    pub fn collect_verdicts(&mut self, action: &Action, facts: &Facts) -> Vec<PolicyVerdict> {
        let graveyard = self.evaluate_graveyard(action, facts).map_err(|error| {
            let policy = self.chain.graveyard.identity();
            tracing::error!(policy = policy.metadata.name, %error, "policy could not judge: denied");
            error.to_string()
        });
        let mut verdicts = Vec::with_capacity(1 + self.chain.operator_slots.len());
        verdicts.push(PolicyVerdict {
            policy: Arc::clone(self.chain.graveyard.identity()),
            settings: None,
            verdict: graveyard,
        });
        for slot in &self.chain.operator_slots {
            let part = match &slot.enforced {
                None => continue,
                Some(EnforcedPolicy::Loaded(policy)) => policy.evaluate_action(action, facts),
                Some(EnforcedPolicy::Broken {
                    identity,
                    settings,
                    reason,
                }) => PolicyVerdict {
                    policy: Arc::clone(identity),
                    settings: *settings,
                    verdict: Err(reason.clone()),
                },
            };
            if let Err(error) = &part.verdict {
                tracing::error!(
                    policy = slot.name.as_str(),
                    error,
                    "policy could not judge: denied"
                );
            }
            verdicts.push(part);
        }
        verdicts
    }

    /// Asks the policies on trial what they would have said. `refused`: the host itself denies, whatever they say.
    #[must_use]
    pub fn collect_shadow_verdicts(
        &self,
        action: &Action,
        facts: &Facts,
        verdicts: &[PolicyVerdict],
        refused: bool,
    ) -> Vec<ShadowVerdict> {
        let on_trial = self
            .chain
            .operator_slots
            .iter()
            .filter_map(|slot| slot.shadow.as_ref());
        on_trial
            .filter(|shadow| !shadow.is_given_up())
            .map(|shadow| {
                let part = shadow.evaluate_action(action, facts);
                if shadow.is_given_up() {
                    let name = shadow.meter.name.as_str();
                    tracing::warn!(
                        policy = name,
                        "policy on trial only fails: it is not asked any more"
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
            None => self.chain.graveyard.new_instance()?,
        };
        let verdict = instance.evaluate(None, action, facts)?;
        self.warm_instance = Some(instance);
        Ok(verdict)
    }
}
