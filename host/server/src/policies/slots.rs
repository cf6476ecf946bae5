//! From what is kept to what judges: versions are numbered, read back and set up; rows become slots.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::changes::Requester;
use crate::hrm::chain::{ChainSlot, ConfiguredPolicy, EnforcedPolicy};
use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Digest, Millis, Name};
use ark_model::meters::HrmMeters;
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::settings::Settings;
use ark_runtime::Engine;
use ark_store::{
    NewPolicyVersion, PolicyChange, PolicyRecord, PolicySlot, PolicyVersion, ReadError, Store, Unit,
};

use super::change::PolicyChangeError;
use super::declarations::{Declarations, DeclaredPolicy, PreparedPolicy};
use super::verification::{PolicyVerifier, VerifiedPolicy};

/// What policies stand on.
#[derive(Clone)]
pub struct PolicyLoader {
    /// Where versions are kept.
    pub store: Store,
    pub(super) verifier: PolicyVerifier,
    meters: Arc<HrmMeters>,
    /// How many policies may be in force.
    pub max_policies: usize,
}

impl PolicyLoader {
    /// `graveyard`: the policy whose name no other may have. `fuel`: of one evaluation.
    #[must_use]
    pub fn new(
        engine: &Engine,
        store: &Store,
        meters: &Arc<HrmMeters>,
        graveyard: &PolicyIdentity,
        fuel: u64,
        most: usize,
    ) -> Self {
        Self {
            store: store.clone(),
            verifier: PolicyVerifier {
                engine: engine.clone(),
                fuel,
                reserved_name: graveyard.metadata.name.clone(),
            },
            meters: Arc::clone(meters),
            max_policies: most,
        }
    }

    /// A version as it is kept.
    pub(super) fn find_version(
        &self,
        policy: &Name,
        number: u64,
    ) -> Result<PolicyVersion, PolicyChangeError> {
        let versions = self.store.policy_versions(policy)?;
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

    /// Its component, as it was brought.
    pub(super) fn read_component(
        &self,
        policy: &Name,
        version: &PolicyVersion,
    ) -> Result<Vec<u8>, PolicyChangeError> {
        let broken = |problem: &str| corrupt_version(policy, version.number, problem);
        let bytes = self
            .store
            .policy_component(version.sha256)?
            .ok_or_else(|| broken("its component is not kept"))?;
        if Digest::hash_bytes(&bytes) == version.sha256 {
            return Ok(bytes);
        }
        Err(broken(
            "its component was changed on disk: its SHA-256 is another",
        ))
    }

    /// Its settings.
    pub(super) fn read_settings(
        &self,
        policy: &Name,
        version: &PolicyVersion,
    ) -> Result<Option<Settings>, PolicyChangeError> {
        let Some(digest) = version.settings else {
            return Ok(None);
        };
        let broken = |problem: &str| corrupt_version(policy, version.number, problem);
        let json = self
            .store
            .policy_settings(digest)?
            .ok_or_else(|| broken("its settings are not kept"))?;
        match Settings::parse(&json) {
            Ok(settings) if settings.digest() == digest => Ok(Some(settings)),
            _ => Err(broken("its settings were changed on disk")),
        }
    }

    /// A kept version, looked at anew: the engine may be another one than that it was brought to.
    pub(super) fn load_version(
        &self,
        policy: &Name,
        number: u64,
    ) -> Result<VerifiedPolicy, PolicyChangeError> {
        let version = self.find_version(policy, number)?;
        let component = self.read_component(policy, &version)?;
        let settings = self.read_settings(policy, &version)?;
        self.verifier
            .verify(&component, Some(policy), settings)
            .map_err(|unfit| corrupt_version(policy, number, &unfit.to_string()))
    }

    fn set_up(
        &self,
        policy: &Name,
        fit: &VerifiedPolicy,
        mode: PolicyMode,
    ) -> Arc<ConfiguredPolicy> {
        let (loaded, settings) = (Arc::clone(&fit.policy), fit.settings.clone());
        Arc::new(ConfiguredPolicy::new(
            policy,
            loaded,
            settings,
            mode,
            &self.meters,
        ))
    }

    /// What a row says, set up; `None`: nothing is in force. What was in force `before` and stays is not loaded again; neither is the
    /// version that was just looked at.
    pub(super) fn build_slot(
        &self,
        row: &PolicySlot,
        before: Option<(&PolicySlot, &ChainSlot)>,
        fresh: Option<&(u64, VerifiedPolicy)>,
    ) -> Result<Option<ChainSlot>, PolicyChangeError> {
        let policy = &row.policy;
        let set_up = |number: u64, mode: PolicyMode| match fresh {
            Some((looked_at, fit)) if *looked_at == number => Ok(self.set_up(policy, fit, mode)),
            _ => self
                .load_version(policy, number)
                .map(|fit| self.set_up(policy, &fit, mode)),
        };
        let is_fresh = |number: u64| fresh.is_some_and(|(looked_at, _)| *looked_at == number);
        let enforced = match row.enforced {
            None => None,
            Some(number) => match before {
                Some((stood, slot)) if stood.enforced == Some(number) && !is_fresh(number) => {
                    slot.enforced.clone()
                }
                _ => Some(EnforcedPolicy::Loaded(set_up(number, PolicyMode::Enforce)?)),
            },
        };
        let shadow = match row.shadow {
            None => None,
            Some(number) => match before {
                Some((stood, slot)) if stood.shadow == Some(number) && !is_fresh(number) => {
                    slot.shadow.clone()
                }
                _ => Some(set_up(number, PolicyMode::Shadow)?),
            },
        };
        Ok((!row.is_empty()).then(|| ChainSlot {
            name: policy.clone(),
            priority: row.order,
            enforced,
            shadow,
        }))
    }

    /// What files declare, as it is to be kept and to judge. `in_force` says whether something judges under a name already.
    pub(super) fn plan_declarations(
        &self,
        declared: Declarations,
        order: &Requester,
        in_force: impl Fn(&Name) -> bool,
    ) -> Result<Vec<SlotChange>, ReadError> {
        let rows = self.store.policy_slots()?;
        let untold = declared.rejected_names();
        let withdrawn: Vec<SlotChange> = rows
            .iter()
            .filter(|row| row.source != PolicySource::Api && !row.is_empty())
            .filter(|row| !declared.has_nameless_rejection(row.source) && !untold.contains(&row.policy))
            .filter(|row| !declared.policies.iter().any(|group| group.name == row.policy))
            .map(|before| {
                let mut row = before.clone();
                row.shadow = None;
                row.set_enforced(None);
                row.revision += 1;
                row.by.clone_from(&order.by);
                row.at = Millis::now();
                SlotChange {
                    changed: true,
                    body: json!({"order": "policy.withdraw", "policy": row.policy, "previous": row.previous, "revision": row.revision}),
                    row,
                    slot: None,
                    versions: Vec::new(),
                    records: Vec::new(),
                }
            })
            .collect();
        let mut next = withdrawn;
        for group in declared.policies {
            let before = rows.iter().find(|row| row.policy == group.name);
            let judges = in_force(&group.name);
            next.push(self.plan_declared(group, before, judges, order)?);
        }
        Ok(next)
    }

    fn plan_declared(
        &self,
        group: DeclaredPolicy,
        before: Option<&PolicySlot>,
        judges: bool,
        order: &Requester,
    ) -> Result<SlotChange, ReadError> {
        let DeclaredPolicy {
            name,
            source,
            order: place,
            enforced,
            shadow,
        } = group;
        let mut row = before
            .cloned()
            .unwrap_or_else(|| PolicySlot::new_empty(&name, super::LAST_PLACE, order.by.clone()));
        let stood = (row.source, row.order, row.enforced, row.shadow);
        let mut numbers =
            VersionNumbers::from_versions(self.store.policy_versions(&name)?, row.last_number);
        let mut versions = Vec::new();
        let mut take = |ready: Option<PreparedPolicy>, mode: PolicyMode| {
            ready.map(|ready| {
                let set_up = self.set_up(&name, &ready.fit, mode);
                let (number, new) =
                    numbers.assign_number(&name, &ready.fit, ready.component, source, mode, order);
                versions.push(new);
                (number, set_up)
            })
        };
        let enforced = take(enforced, PolicyMode::Enforce);
        let shadow = take(shadow, PolicyMode::Shadow);
        row.source = source;
        row.order = place;
        row.last_number = numbers.last_number();
        row.set_enforced(enforced.as_ref().map(|(number, _)| *number));
        row.shadow = shadow.as_ref().map(|(number, _)| *number);
        let changed = before.is_none()
            || !judges
            || stood != (row.source, row.order, row.enforced, row.shadow);
        // At a start nothing judges yet, and what is kept may be what it was.
        let kept = before.is_some() && stood == (row.source, row.order, row.enforced, row.shadow);
        if !kept {
            row.revision += u64::from(before.is_some());
            row.by.clone_from(&order.by);
            row.at = Millis::now();
        }
        let digest = |set_up: &Option<(u64, Arc<ConfiguredPolicy>)>| {
            set_up.as_ref().map(|(_, set_up)| set_up.identity().digest)
        };
        let body = json!({
            "order": "policy.declare", "policy": name, "source": source, "place": place,
            "enforced": row.enforced, "sha256": digest(&enforced), "shadow": row.shadow,
            "shadow_sha256": digest(&shadow), "revision": row.revision,
        });
        let slot = ChainSlot {
            name,
            priority: place,
            enforced: enforced.map(|(_, set_up)| EnforcedPolicy::Loaded(set_up)),
            shadow: shadow.map(|(_, set_up)| set_up),
        };
        Ok(SlotChange {
            changed,
            records: policy_records(&slot),
            slot: Some(slot),
            row,
            versions,
            body: if kept { Value::Null } else { body },
        })
    }
}

fn corrupt_version(policy: &Name, number: u64, problem: &str) -> PolicyChangeError {
    PolicyChangeError::CorruptVersion {
        policy: policy.clone(),
        number,
        problem: problem.to_owned(),
    }
}

/// A slot as it is to be.
pub(super) struct SlotChange {
    /// Whether that is anything new.
    pub(super) changed: bool,
    pub(super) row: PolicySlot,
    /// `None`: nothing is in force under the name any more.
    pub(super) slot: Option<ChainSlot>,
    pub(super) versions: Vec<NewPolicyVersion>,
    /// What is needed to read decisions of what judges.
    pub(super) records: Vec<PolicyRecord>,
    /// What the audit log tells of it; null: it is kept like that already.
    pub(super) body: Value,
}

impl SlotChange {
    /// Adds what must be committed to a unit, and the slot to those that judge.
    pub(super) fn add_to(
        self,
        unit: &mut Unit,
        order: &Requester,
        slots: &mut Vec<Arc<ChainSlot>>,
    ) {
        unit.policies.extend(self.records);
        let versions = self.versions.into_iter().map(PolicyChange::Version);
        unit.policy_changes.extend(versions);
        if !self.body.is_null() {
            unit.policy_changes.push(PolicyChange::Slot(self.row));
            unit.audit
                .push(super::audit_entry(self.body, order, Millis::now()));
        }
        slots.extend(self.slot.map(Arc::new));
    }
}

/// What is needed to read decisions of what judges in a slot.
pub(super) fn policy_records(slot: &ChainSlot) -> Vec<PolicyRecord> {
    let enforced = slot.enforced.as_ref().map(EnforcedPolicy::identity);
    let shadow = slot.shadow.as_ref().map(|shadow| shadow.identity());
    enforced
        .into_iter()
        .chain(shadow)
        .map(|identity| PolicyRecord {
            digest: identity.digest,
            // Text and whole numbers: it cannot fail.
            metadata_json: serde_json::to_string(&identity.metadata).unwrap_or_default(),
        })
        .collect()
}

/// Slots in the order they are asked.
pub(super) fn sort_slots(mut slots: Vec<Arc<ChainSlot>>) -> Vec<Arc<ChainSlot>> {
    slots.sort_by(|one, other| (one.priority, &one.name).cmp(&(other.priority, &other.name)));
    slots
}

/// The numbers of a policy's versions: the same component with the same settings keeps its own.
pub(super) struct VersionNumbers {
    versions: Vec<PolicyVersion>,
    last: u64,
}

impl VersionNumbers {
    pub(super) fn from_versions(versions: Vec<PolicyVersion>, last: u64) -> Self {
        let newest = versions.first().map_or(0, |newest| newest.number);
        Self {
            last: last.max(newest),
            versions,
        }
    }

    pub(super) const fn last_number(&self) -> u64 {
        self.last
    }

    /// The number of a version, and what must be kept of it. What is kept already is handed over too: it may have been broken on disk since.
    pub(super) fn assign_number(
        &mut self,
        policy: &Name,
        fit: &VerifiedPolicy,
        component: Vec<u8>,
        source: PolicySource,
        mode: PolicyMode,
        order: &Requester,
    ) -> (u64, NewPolicyVersion) {
        let identity = fit.policy.identity();
        let settings = fit.settings.as_ref().map(Settings::digest);
        let same = |version: &&PolicyVersion| {
            version.sha256 == identity.digest && version.settings == settings
        };
        let known = self.versions.iter().find(same).cloned();
        let version = known.unwrap_or_else(|| {
            self.last += 1;
            let version = PolicyVersion {
                number: self.last,
                sha256: identity.digest,
                settings,
                version: identity.metadata.version.clone(),
                vectors: fit.vectors,
                source,
                mode,
                by: order.by.clone(),
                at: Millis::now(),
            };
            self.versions.push(version.clone());
            version
        });
        let kept = NewPolicyVersion {
            policy: policy.clone(),
            component,
            settings_json: fit.settings.as_ref().map(|one| one.as_str().to_owned()),
            version,
        };
        (kept.version.number, kept)
    }
}
