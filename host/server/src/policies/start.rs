//! The operator policies that a start finds: those that files declare, and those that were uploaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::changes::{ChangeRequest, Signers};
use crate::hrm::policies_in_force::{EnforcedPolicy, SlotInForce};
use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Digest, Millis, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::verdict::Metadata;
use ark_runtime::Engine;
use ark_store::{PolicySlot, ReadError, Reader, Unit};

use super::declarations::{Declaration, read_declarations};
use super::error::{LoadPoliciesError, PolicyChangeError};
use super::loader::{PolicyLoader, load_version};
use super::slots::sort_slots;
use super::verification::PolicyVerifier;

/// Loads every operator policy that is to judge, in the order in which they are asked, and commits what is new. An uploaded policy that cannot
/// be loaded becomes a slot that denies every proposal.
///
/// # Errors
/// See [`LoadPoliciesError`].
pub fn load_all(
    loader: &PolicyLoader,
    configured: &[Declaration],
    dir: Option<&Path>,
) -> Result<Vec<Arc<SlotInForce>>, LoadPoliciesError> {
    let mut declarations = read_declarations(configured, dir, &loader.verifier);
    if !declarations.rejected.is_empty() {
        return Err(declarations.rejected.swap_remove(0).into());
    }
    let request = ChangeRequest::for_host("as declared, found at the start");
    let changes = loader.plan_declarations(declarations, &request, |_| false)?;
    let declared: Vec<_> = changes
        .iter()
        .map(|change| change.row.policy.clone())
        .collect();
    let mut slots = Vec::new();
    let mut unit = Unit {
        may_use_reserve: true,
        at: Millis::now(),
        ..Unit::default()
    };
    let rows = loader.store.policy_slots()?;
    for change in changes {
        change.add_to(&mut unit, &request, &mut slots);
    }
    for row in list_uploaded(&rows, &declared) {
        slots.push(Arc::new(load_uploaded(loader, row)?));
    }
    if slots.len() > loader.max_policies {
        return Err(LoadPoliciesError::TooMany {
            found: slots.len(),
            max_policies: loader.max_policies,
        });
    }
    loader.store.commit(unit)?;
    let slots = sort_slots(slots);
    for slot in &slots {
        let digest = slot.enforced.as_ref().map(|it| it.identity().digest);
        let shadow = slot.shadow.as_ref().map(|it| it.identity().digest);
        tracing::info!(policy = %slot.name, place = slot.place, enforced = ?digest, ?shadow, "operator policy loaded");
    }
    Ok(slots)
}

/// The rows that a start puts in force besides what files declare: those of uploaded policies with a version that is enforced or on trial.
fn list_uploaded<'a>(
    rows: &'a [PolicySlot],
    declared: &'a [Name],
) -> impl Iterator<Item = &'a PolicySlot> {
    let is_uploaded =
        |row: &&PolicySlot| row.source == PolicySource::Api && !declared.contains(&row.policy);
    rows.iter()
        .filter(is_uploaded)
        .filter(|row| !row.is_empty())
}

/// What a start would find of the operator policies.
#[derive(Debug)]
pub struct PolicyFindings {
    /// How many are to be in force, which `capacity.policies` limits.
    pub in_force: usize,
    /// The declarations that end a start: the file, and why it is refused.
    pub refused: Vec<(PathBuf, String)>,
    /// The uploaded versions that cannot be loaded.
    pub broken: Vec<BrokenVersion>,
}

/// An uploaded version that cannot be loaded. One that is enforced denies every proposal; one on trial is not asked.
#[derive(Debug)]
pub struct BrokenVersion {
    /// The policy.
    pub policy: Name,
    /// The version.
    pub number: u64,
    /// Whether it is enforced or on trial.
    pub mode: PolicyMode,
    /// Why it cannot be loaded.
    pub error: PolicyChangeError,
}

/// Verifies every operator policy that a start would load, as the start does, without putting it in force. `store`: where uploaded policies are
/// kept; `None`: there is no database yet.
///
/// `graveyard`: the policy whose name no other may have. `fuel`: the fuel of one evaluation (`capacity.policy_fuel`). `signers`: who
/// may have signed what files declare.
///
/// # Errors
/// The store cannot be read.
pub fn check_policies(
    engine: &Engine,
    graveyard: &PolicyIdentity,
    fuel: u64,
    configured: &[Declaration],
    dir: Option<&Path>,
    store: Option<&Reader>,
    signers: &Signers,
) -> Result<PolicyFindings, ReadError> {
    let verifier = PolicyVerifier::new(engine, graveyard, fuel, signers);
    let declarations = read_declarations(configured, dir, &verifier);
    let declared: Vec<Name> = declarations
        .policies
        .into_iter()
        .map(|policy| policy.name)
        .collect();
    let rejected = declarations.rejected.into_iter();
    let mut findings = PolicyFindings {
        in_force: declared.len(),
        refused: rejected.map(|one| (one.origin, one.problem)).collect(),
        broken: Vec::new(),
    };
    let Some(store) = store else {
        return Ok(findings);
    };
    let rows = store.policy_slots()?;
    for row in list_uploaded(&rows, &declared) {
        findings.in_force += 1;
        let versions = [
            (PolicyMode::Enforce, row.enforced),
            (PolicyMode::Shadow, row.shadow),
        ];
        for (mode, number) in versions {
            let Some(number) = number else { continue };
            match load_version(store, &verifier, &row.policy, number) {
                Ok(_) => {}
                Err(PolicyChangeError::Read(error)) => return Err(error),
                Err(error) => findings.broken.push(BrokenVersion {
                    policy: row.policy.clone(),
                    number,
                    mode,
                    error,
                }),
            }
        }
    }
    Ok(findings)
}

/// Builds the slot of an uploaded policy. A version that should be enforced and cannot be loaded denies every proposal; one on trial is left
/// out.
fn load_uploaded(loader: &PolicyLoader, row: &PolicySlot) -> Result<SlotInForce, ReadError> {
    let enforced = match row.enforced {
        None => None,
        Some(number) => match load_alone(loader, row, number, PolicyMode::Enforce)? {
            Ok(slot) => slot.and_then(|slot| slot.enforced),
            Err(error) => Some(build_broken(loader, row, number, &error)?),
        },
    };
    let shadow = match row.shadow {
        None => None,
        Some(number) => match load_alone(loader, row, number, PolicyMode::Shadow)? {
            Ok(slot) => slot.and_then(|slot| slot.shadow),
            Err(error) => {
                tracing::error!(policy = %row.policy, number, %error, "a policy on trial cannot be loaded: it is not asked");
                None
            }
        },
    };
    Ok(SlotInForce {
        name: row.policy.clone(),
        place: row.place,
        enforced,
        shadow,
    })
}

/// Builds a slot with one version of a row only, so that one that cannot be loaded does not keep the other out. A failure of the store ends the
/// start.
fn load_alone(
    loader: &PolicyLoader,
    row: &PolicySlot,
    number: u64,
    mode: PolicyMode,
) -> Result<Result<Option<SlotInForce>, PolicyChangeError>, ReadError> {
    let row = PolicySlot {
        enforced: (mode == PolicyMode::Enforce).then_some(number),
        shadow: (mode == PolicyMode::Shadow).then_some(number),
        ..row.clone()
    };
    match loader.build_slot(&row, None, None) {
        Err(PolicyChangeError::Read(error)) => Err(error),
        result => Ok(result),
    }
}

/// Builds what denies every proposal in the place of a policy that cannot be loaded. The reason says what to do.
fn build_broken(
    loader: &PolicyLoader,
    row: &PolicySlot,
    number: u64,
    error: &PolicyChangeError,
) -> Result<EnforcedPolicy, ReadError> {
    let name = &row.policy;
    tracing::error!(policy = %name, number, %error, "an operator policy cannot be loaded: everything is denied");
    let reason = format!(
        "{error}; upload it again (PUT /v1/policies/{name}), roll another version out, or delete it"
    );
    let versions = loader.store.policy_versions(name)?;
    let version = versions.into_iter().find(|it| it.number == number);
    let digest = version.as_ref().map(|version| version.sha256);
    // The metadata that the version had when it was stored, so that its decisions still read alike; else what is known.
    let records = loader.store.policy_records()?;
    let record = records.into_iter().find(|it| Some(it.digest) == digest);
    let metadata = record.and_then(|it| serde_json::from_str(&it.metadata_json).ok());
    let identity = PolicyIdentity::new(
        digest.unwrap_or_else(|| Digest::hash_bytes(&[])),
        metadata.unwrap_or_else(|| Metadata {
            name: name.to_string(),
            version: "0.0.0".to_owned(),
            rules: Vec::new(),
        }),
    );
    Ok(EnforcedPolicy::Broken {
        identity: Arc::new(identity),
        settings: version.and_then(|version| version.settings),
        reason,
    })
}
