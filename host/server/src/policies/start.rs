//! The operator policies that a start finds: those that files declare, and those that were uploaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::changes::Requester;
use crate::hrm::chain::{ChainSlot, EnforcedPolicy};
use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Millis, TraceId};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::verdict::Metadata;
use ark_store::{CommitError, PolicySlot, ReadError, Unit};

use super::change::PolicyChangeError;
use super::declarations::{self, Declaration};
use super::slots::{PolicyLoader, sort_slots};

/// Why the operator policies cannot be put in force. A host that went on without one of them would approve what its operator forbids.
#[derive(Debug, thiserror::Error)]
pub enum LoadPoliciesError {
    /// One that is declared is refused.
    #[error("operator policy {file}: {problem}", file = file.display())]
    Declared {
        /// The file.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// There are more than may be.
    #[error(
        "{found} operator policies are to be in force; capacity.policies allows {most}: raise it, or take some out"
    )]
    TooMany {
        /// How many.
        found: usize,
        /// How many may be.
        most: usize,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They cannot be recorded.
    #[error("the operator policies cannot be recorded: {0}")]
    Commit(#[from] CommitError),
}

/// Loads every operator policy that is to judge, in the order they are asked, and records what is new. An uploaded one that cannot be loaded
/// becomes a slot that denies everything.
///
/// # Errors
/// See [`StartingPolicies`].
pub fn load_all(
    ground: &PolicyLoader,
    configured: &[Declaration],
    dir: Option<&Path>,
) -> Result<Vec<Arc<ChainSlot>>, LoadPoliciesError> {
    let declared = declarations::read_declarations(configured, dir, &ground.verifier);
    if let Some(rejected) = declared.rejected.into_iter().next() {
        return Err(LoadPoliciesError::Declared {
            file: rejected.origin,
            problem: rejected.problem,
        });
    }
    let declared = declarations::Declarations {
        policies: declared.policies,
        rejected: Vec::new(),
    };
    let order = Requester {
        by: "ark".to_owned(),
        reason: "as declared, found at the start".to_owned(),
        trace_id: TraceId::fresh(),
        idempotency_key: None,
    };
    let rows = ground.store.policy_slots()?;
    let mut slots = Vec::new();
    let mut unit = Unit {
        at: Millis::now(),
        ..Unit::default()
    };
    let next = ground.plan_declarations(declared, &order, |_| false)?;
    let taken: Vec<_> = next.iter().map(|next| next.row.policy.clone()).collect();
    for next in next {
        next.add_to(&mut unit, &order, &mut slots);
    }
    for row in &rows {
        if row.source == PolicySource::Api && !row.is_empty() && !taken.contains(&row.policy) {
            slots.push(Arc::new(load_uploaded(ground, row)?));
        }
    }
    if slots.len() > ground.max_policies {
        return Err(LoadPoliciesError::TooMany {
            found: slots.len(),
            most: ground.max_policies,
        });
    }
    ground.store.commit(unit)?;
    let slots = sort_slots(slots);
    for slot in &slots {
        let digest = slot.enforced.as_ref().map(|it| it.identity().digest);
        let shadow = slot.shadow.as_ref().map(|it| it.identity().digest);
        tracing::info!(policy = %slot.name, order = slot.priority, enforced = ?digest, shadow = ?shadow, "operator policy loaded");
    }
    Ok(slots)
}

/// What was uploaded under a name, as it judges.
fn load_uploaded(ground: &PolicyLoader, row: &PolicySlot) -> Result<ChainSlot, ReadError> {
    let alone = |number, mode| PolicySlot {
        enforced: (mode == PolicyMode::Enforce).then_some(number),
        shadow: (mode == PolicyMode::Shadow).then_some(number),
        ..row.clone()
    };
    let load = |number, mode| match ground.build_slot(&alone(number, mode), None, None) {
        Ok(slot) => Ok(Ok(slot)),
        Err(PolicyChangeError::Read(error)) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    };
    let enforced = match row.enforced {
        None => None,
        Some(number) => match load(number, PolicyMode::Enforce)? {
            Ok(slot) => slot.and_then(|slot| slot.enforced),
            Err(problem) => Some(build_broken(ground, row, number, &problem)?),
        },
    };
    let shadow = match row.shadow {
        None => None,
        Some(number) => match load(number, PolicyMode::Shadow)? {
            Ok(slot) => slot.and_then(|slot| slot.shadow),
            Err(problem) => {
                tracing::error!(policy = %row.policy, number, problem, "a policy on trial cannot be loaded: it is not asked");
                None
            }
        },
    };
    Ok(ChainSlot {
        name: row.policy.clone(),
        priority: row.order,
        enforced,
        shadow,
    })
}

/// The place of a policy that cannot be loaded.
fn build_broken(
    ground: &PolicyLoader,
    row: &PolicySlot,
    number: u64,
    problem: &str,
) -> Result<EnforcedPolicy, ReadError> {
    let name = &row.policy;
    let reason = format!(
        "{problem}; upload it again (PUT /v1/policies/{name}), roll another version out, or delete it"
    );
    tracing::error!(policy = %name, number, problem, "an operator policy cannot be loaded: everything is denied");
    let versions = ground.store.policy_versions(name)?;
    let version = versions.into_iter().find(|it| it.number == number);
    let digest = version.as_ref().map(|version| version.sha256);
    // What it said of itself when it was brought, so that decisions read alike; else what is known.
    let records = ground.store.policy_records()?;
    let record = records.into_iter().find(|it| Some(it.digest) == digest);
    let metadata = record.and_then(|it| serde_json::from_str(&it.metadata_json).ok());
    let identity = PolicyIdentity {
        digest: digest.unwrap_or_else(|| ark_model::ids::Digest::hash_bytes(&[])),
        metadata: metadata.unwrap_or_else(|| Metadata {
            name: name.to_string(),
            version: "0.0.0".to_owned(),
            rules: Vec::new(),
        }),
    };
    Ok(EnforcedPolicy::Broken {
        identity: Arc::new(identity),
        settings: version.and_then(|version| version.settings),
        reason,
    })
}
