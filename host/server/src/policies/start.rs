//! The operator policies that a start finds: those that files declare, and those that were uploaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::changes::Order;
use crate::hrm::chain::{Enforced, Slot};
use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Millis, TraceId};
use ark_model::policy::{Mode, PolicySource};
use ark_model::verdict::Metadata;
use ark_store::{CommitError, PolicySlot, ReadError, Unit};

use super::change::ChangeError;
use super::declared::{self, Declaration};
use super::slots::{Ground, in_order};

/// Why the operator policies cannot be put in force. A host that went on without one of them would approve what its operator forbids.
#[derive(Debug, thiserror::Error)]
pub enum StartingPolicies {
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
pub fn find(
    ground: &Ground,
    configured: &[Declaration],
    dir: Option<&Path>,
) -> Result<Vec<Arc<Slot>>, StartingPolicies> {
    let declared = declared::read(configured, dir, &ground.measure);
    if let Some(rejected) = declared.rejected.into_iter().next() {
        return Err(StartingPolicies::Declared {
            file: rejected.origin,
            problem: rejected.problem,
        });
    }
    let declared = declared::Declared {
        groups: declared.groups,
        rejected: Vec::new(),
    };
    let order = Order {
        by: "ark".to_owned(),
        reason: "as declared, found at the start".to_owned(),
        trace_id: TraceId::fresh(),
        key: None,
    };
    let rows = ground.store.policy_slots()?;
    let mut slots = Vec::new();
    let mut unit = Unit {
        at: Millis::now(),
        ..Unit::default()
    };
    let next = ground.declared(declared, &order, |_| false)?;
    let taken: Vec<_> = next.iter().map(|next| next.row.policy.clone()).collect();
    for next in next {
        next.add_to(&mut unit, &order, &mut slots);
    }
    for row in &rows {
        if row.source == PolicySource::Api && !row.is_empty() && !taken.contains(&row.policy) {
            slots.push(Arc::new(uploaded(ground, row)?));
        }
    }
    if slots.len() > ground.most {
        return Err(StartingPolicies::TooMany {
            found: slots.len(),
            most: ground.most,
        });
    }
    ground.store.commit(unit)?;
    let slots = in_order(slots);
    for slot in &slots {
        let digest = slot.enforced.as_ref().map(|it| it.identity().digest);
        let shadow = slot.shadow.as_ref().map(|it| it.identity().digest);
        tracing::info!(policy = %slot.name, order = slot.order, enforced = ?digest, shadow = ?shadow, "operator policy loaded");
    }
    Ok(slots)
}

/// What was uploaded under a name, as it judges.
fn uploaded(ground: &Ground, row: &PolicySlot) -> Result<Slot, ReadError> {
    let alone = |number, mode| PolicySlot {
        enforced: (mode == Mode::Enforce).then_some(number),
        shadow: (mode == Mode::Shadow).then_some(number),
        ..row.clone()
    };
    let load = |number, mode| match ground.build(&alone(number, mode), None, None) {
        Ok(slot) => Ok(Ok(slot)),
        Err(ChangeError::Read(error)) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    };
    let enforced = match row.enforced {
        None => None,
        Some(number) => match load(number, Mode::Enforce)? {
            Ok(slot) => slot.and_then(|slot| slot.enforced),
            Err(problem) => Some(denying(ground, row, number, &problem)?),
        },
    };
    let shadow = match row.shadow {
        None => None,
        Some(number) => match load(number, Mode::Shadow)? {
            Ok(slot) => slot.and_then(|slot| slot.shadow),
            Err(problem) => {
                tracing::error!(policy = %row.policy, number, problem, "a policy on trial cannot be loaded: it is not asked");
                None
            }
        },
    };
    Ok(Slot {
        name: row.policy.clone(),
        order: row.order,
        enforced,
        shadow,
    })
}

/// The place of a policy that cannot be loaded.
fn denying(
    ground: &Ground,
    row: &PolicySlot,
    number: u64,
    problem: &str,
) -> Result<Enforced, ReadError> {
    let name = &row.policy;
    let reason = format!(
        "{problem}; upload it again (PUT /v1/policies/{name}), roll another version out, or delete it"
    );
    tracing::error!(policy = %name, number, problem, "an operator policy cannot be loaded: everything is denied");
    let versions = ground.store.policy_versions(name)?;
    let version = versions.into_iter().find(|it| it.number == number);
    let digest = version.as_ref().map(|version| version.sha256);
    // What it said of itself when it was brought, so that decisions read alike; else what is known.
    let records = ground.store.policies()?;
    let record = records.into_iter().find(|it| Some(it.digest) == digest);
    let metadata = record.and_then(|it| serde_json::from_str(&it.metadata_json).ok());
    let identity = PolicyIdentity {
        digest: digest.unwrap_or_else(|| ark_model::ids::Digest::of(&[])),
        metadata: metadata.unwrap_or_else(|| Metadata {
            name: name.to_string(),
            version: "0.0.0".to_owned(),
            rules: Vec::new(),
        }),
    };
    Ok(Enforced::Broken {
        identity: Arc::new(identity),
        settings: version.and_then(|version| version.settings),
        reason,
    })
}
