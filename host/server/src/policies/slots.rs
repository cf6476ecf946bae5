//! Slots as they are kept and as they judge, and the numbers of versions.

use std::sync::Arc;

use serde_json::Value;

use crate::changes::ChangeRequest;
use crate::hrm::policies_in_force::{EnforcedPolicy, SlotInForce};
use ark_model::ids::{Millis, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::settings::Settings;
use ark_store::{NewPolicyVersion, PolicyChange, PolicyRecord, PolicySlot, PolicyVersion, Unit};

use super::verification::VerifiedPolicy;

/// A slot as it is to be kept and to judge.
pub(super) struct SlotChange {
    /// Whether anything of the slot is new.
    pub(super) is_new: bool,
    /// The slot as it is to be kept.
    pub(super) row: PolicySlot,
    /// The slot as it is to judge; `None`: nothing is in force under the name.
    pub(super) slot: Option<SlotInForce>,
    /// The versions to store.
    pub(super) versions: Vec<NewPolicyVersion>,
    /// What is needed to read the decisions of what judges.
    pub(super) records: Vec<PolicyRecord>,
    /// The body of the audit row; `None`: the slot is kept like this already.
    pub(super) audit_body: Option<Value>,
}

impl SlotChange {
    /// Adds what must be committed to `unit`, and the slot to those that judge.
    pub(super) fn add_to(
        self,
        unit: &mut Unit,
        request: &ChangeRequest,
        slots: &mut Vec<Arc<SlotInForce>>,
    ) {
        unit.policies.extend(self.records);
        let versions = self.versions.into_iter().map(PolicyChange::Version);
        unit.policy_changes.extend(versions);
        if let Some(body) = self.audit_body {
            unit.policy_changes.push(PolicyChange::Slot(self.row));
            unit.audit
                .push(request.audit_entry(None, body, Millis::now()));
        }
        slots.extend(self.slot.map(Arc::new));
    }
}

/// Returns what is needed to read the decisions of what judges in a slot.
pub(super) fn policy_records(slot: &SlotInForce) -> Vec<PolicyRecord> {
    let enforced = slot.enforced.as_ref().map(EnforcedPolicy::identity);
    let shadow = slot.shadow.as_ref().map(|shadow| shadow.identity());
    enforced
        .into_iter()
        .chain(shadow)
        .map(|identity| PolicyRecord {
            digest: identity.digest,
            // Metadata is text and whole numbers: serialising it cannot fail.
            metadata_json: serde_json::to_string(&identity.metadata).unwrap_or_default(),
        })
        .collect()
}

/// Sorts slots into the order in which they are asked: by place, then by name.
pub(super) fn sort_slots(mut slots: Vec<Arc<SlotInForce>>) -> Vec<Arc<SlotInForce>> {
    slots.sort_by(|one, other| (one.place, &one.name).cmp(&(other.place, &other.name)));
    slots
}

/// Numbers the versions of a policy: the same component with the same settings keeps its number.
pub(super) struct VersionNumbers<'a> {
    policy: &'a Name,
    /// The source of the versions that are numbered.
    source: PolicySource,
    versions: Vec<PolicyVersion>,
    last: u64,
}

impl<'a> VersionNumbers<'a> {
    /// `versions`: those that are kept, newest first. `last_number`: the highest number that was ever given.
    pub(super) fn new(
        policy: &'a Name,
        source: PolicySource,
        versions: Vec<PolicyVersion>,
        last_number: u64,
    ) -> Self {
        let newest = versions.first().map_or(0, |newest| newest.number);
        Self {
            policy,
            source,
            last: last_number.max(newest),
            versions,
        }
    }

    pub(super) const fn last_number(&self) -> u64 {
        self.last
    }

    /// Returns the number of a version, and the version to store. One that is kept is stored again too: its bytes may have been changed on
    /// disk since.
    pub(super) fn assign_number(
        &mut self,
        verified: &VerifiedPolicy,
        component: Vec<u8>,
        mode: PolicyMode,
        request: &ChangeRequest,
    ) -> (u64, NewPolicyVersion) {
        let identity = verified.policy.identity();
        let settings = verified.settings.as_ref().map(Settings::digest);
        let is_same = |version: &&PolicyVersion| {
            version.sha256 == identity.digest && version.settings == settings
        };
        let known = self.versions.iter().find(is_same).cloned();
        let version = known.unwrap_or_else(|| {
            self.last += 1;
            let version = PolicyVersion {
                number: self.last,
                sha256: identity.digest,
                settings,
                version: identity.metadata.version.clone(),
                vectors: verified.vectors,
                source: self.source,
                mode,
                by: request.by.clone(),
                at: Millis::now(),
            };
            self.versions.push(version.clone());
            version
        });
        let new = NewPolicyVersion {
            policy: self.policy.clone(),
            component,
            settings_json: verified
                .settings
                .as_ref()
                .map(|settings| settings.as_str().to_owned()),
            version,
        };
        (new.version.number, new)
    }
}
