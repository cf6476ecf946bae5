//! From what is kept to what judges: versions are read back, verified and built into slots.

use std::sync::Arc;

use crate::changes::{Signers, StoredVersionError, check_stored_component};
use crate::hrm::policies_in_force::{ConfiguredPolicy, EnforcedPolicy, SlotInForce};
use ark_model::decision::PolicyIdentity;
use ark_model::ids::Name;
use ark_model::meters::HrmMeters;
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;
use ark_runtime::Engine;
use ark_store::{PolicySlot, PolicyVersion, Reader, Store};

use super::error::{PolicyChangeError, StoredPolicyError};
use super::verification::{PolicyVerifier, VerifiedPolicy};

/// Reads versions of policies from the store and builds the slots that judge.
#[derive(Clone)]
pub struct PolicyLoader {
    /// Keeps versions and slots.
    pub store: Store,
    pub(super) verifier: PolicyVerifier,
    meters: Arc<HrmMeters>,
    /// How many policies may be in force (`capacity.policies`).
    pub max_policies: usize,
}

impl PolicyLoader {
    /// `graveyard`: the policy whose name no other may have. `fuel`: the fuel of one evaluation (`capacity.policy_fuel`). `signers`: who may have signed
    /// what comes in.
    #[must_use]
    pub fn new(
        engine: &Engine,
        store: &Store,
        meters: &Arc<HrmMeters>,
        graveyard: &PolicyIdentity,
        fuel: u64,
        max_policies: usize,
        signers: &Signers,
    ) -> Self {
        Self {
            store: store.clone(),
            verifier: PolicyVerifier::new(engine, graveyard, fuel, signers),
            meters: Arc::clone(meters),
            max_policies,
        }
    }

    /// Binds a verified policy to its settings, its mode and its meter.
    pub(super) fn configure(
        &self,
        policy: &Name,
        verified: &VerifiedPolicy,
        mode: PolicyMode,
    ) -> Arc<ConfiguredPolicy> {
        let (loaded, settings) = (Arc::clone(&verified.policy), verified.settings.clone());
        let configured = ConfiguredPolicy::new(policy, loaded, settings, mode, &self.meters);
        Arc::new(configured)
    }

    /// Builds the slot that a row describes; `None`: nothing is in force. A version that was in force in `before` in the same mode is taken
    /// over as it is, and the version in `verified` is not loaded again.
    pub(super) fn build_slot(
        &self,
        row: &PolicySlot,
        before: Option<(&PolicySlot, &SlotInForce)>,
        verified: Option<&(u64, VerifiedPolicy)>,
    ) -> Result<Option<SlotInForce>, PolicyChangeError> {
        let policy = &row.policy;
        let is_new = |number: u64| verified.is_some_and(|(new, _)| *new == number);
        let configure = |number: u64, mode: PolicyMode| match verified {
            Some((new, verified)) if *new == number => Ok(self.configure(policy, verified, mode)),
            _ => load_version(&self.store, &self.verifier, policy, number)
                .map(|verified| self.configure(policy, &verified, mode)),
        };
        let enforced = match (row.enforced, before) {
            (None, _) => None,
            (Some(number), Some((was, slot)))
                if was.enforced == Some(number) && !is_new(number) =>
            {
                slot.enforced.clone()
            }
            (Some(number), _) => {
                let configured = configure(number, PolicyMode::Enforce)?;
                Some(EnforcedPolicy::Loaded(configured))
            }
        };
        let shadow = match (row.shadow, before) {
            (None, _) => None,
            (Some(number), Some((was, slot))) if was.shadow == Some(number) && !is_new(number) => {
                slot.shadow.clone()
            }
            (Some(number), _) => Some(configure(number, PolicyMode::Shadow)?),
        };
        Ok((!row.is_empty()).then(|| SlotInForce {
            name: policy.clone(),
            place: row.place,
            enforced,
            shadow,
        }))
    }
}

/// Returns a version without its component.
pub(super) fn find_version(
    store: &Reader,
    policy: &Name,
    number: u64,
) -> Result<PolicyVersion, PolicyChangeError> {
    let versions = store.policy_versions(policy)?;
    if versions.is_empty() {
        return Err(PolicyChangeError::UnknownPolicy(policy.clone()));
    }
    let kept = versions.iter().map(|version| version.number).collect();
    versions
        .into_iter()
        .find(|version| version.number == number)
        .ok_or_else(|| PolicyChangeError::UnknownVersion {
            policy: policy.clone(),
            number,
            kept,
        })
}

/// Returns a version's component as it was stored.
pub(super) fn read_component(
    store: &Reader,
    policy: &Name,
    version: &PolicyVersion,
) -> Result<Vec<u8>, PolicyChangeError> {
    let component = store.policy_component(version.sha256)?;
    check_stored_component(component, version.sha256)
        .map_err(|error| corrupt_version(policy, version.number, error))
}

/// Returns a version's settings as they were stored.
pub(super) fn read_settings(
    store: &Reader,
    policy: &Name,
    version: &PolicyVersion,
) -> Result<Option<Settings>, PolicyChangeError> {
    let Some(digest) = version.settings else {
        return Ok(None);
    };
    let corrupt = |error| corrupt_version(policy, version.number, error);
    let json = store
        .policy_settings(digest)?
        .ok_or_else(|| corrupt(StoredVersionError::MissingSettings))?;
    match Settings::parse(&json) {
        Ok(settings) if settings.digest() == digest => Ok(Some(settings)),
        _ => Err(corrupt(StoredVersionError::ChangedSettings)),
    }
}

/// Returns a kept version, verified again: the engine or its configuration may have changed since it was stored.
pub(super) fn load_version(
    store: &Reader,
    verifier: &PolicyVerifier,
    policy: &Name,
    number: u64,
) -> Result<VerifiedPolicy, PolicyChangeError> {
    let version = find_version(store, policy, number)?;
    let component = read_component(store, policy, &version)?;
    let settings = read_settings(store, policy, &version)?;
    verifier
        .verify(&component, Some(policy), settings)
        .map_err(|invalid| corrupt_version(policy, number, invalid))
}

fn corrupt_version(
    policy: &Name,
    number: u64,
    source: impl Into<StoredPolicyError>,
) -> PolicyChangeError {
    PolicyChangeError::CorruptVersion {
        policy: policy.clone(),
        number,
        source: source.into(),
    }
}
