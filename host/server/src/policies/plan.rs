//! From what files declare to the slots that are to be kept and to judge.

use std::sync::Arc;

use serde_json::json;

use crate::changes::ChangeRequest;
use crate::hrm::policies_in_force::{ConfiguredPolicy, EnforcedPolicy, SlotInForce};
use ark_model::ids::{Millis, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_store::{PolicySlot, ReadError};

use super::declarations::{Declarations, DeclaredPolicy, LAST_PLACE, PreparedPolicy};
use super::loader::PolicyLoader;
use super::slots::{SlotChange, VersionNumbers, policy_records};

impl PolicyLoader {
    /// Returns the slot of every declared policy, and of those that are no longer declared. `is_in_force` says whether something judges under
    /// a name.
    pub(super) fn plan_declarations(
        &self,
        declarations: Declarations,
        request: &ChangeRequest,
        is_in_force: impl Fn(&Name) -> bool,
    ) -> Result<Vec<SlotChange>, ReadError> {
        let rows = self.store.policy_slots()?;
        let rejected = declarations.rejected_names();
        let mut changes: Vec<SlotChange> = rows
            .iter()
            .filter(|row| row.source != PolicySource::Api && !row.is_empty())
            .filter(|row| !declarations.has_nameless_rejection(row.source))
            .filter(|row| !rejected.contains(&row.policy))
            .filter(|row| !declarations.policies.iter().any(|it| it.name == row.policy))
            .map(|row| plan_withdrawal(row, request))
            .collect();
        for declared in declarations.policies {
            let before = rows.iter().find(|row| row.policy == declared.name);
            let judges = is_in_force(&declared.name);
            changes.push(self.plan_declared(declared, before, judges, request)?);
        }
        Ok(changes)
    }

    fn plan_declared(
        &self,
        declared: DeclaredPolicy,
        before: Option<&PolicySlot>,
        judges: bool,
        request: &ChangeRequest,
    ) -> Result<SlotChange, ReadError> {
        let DeclaredPolicy {
            name,
            source,
            place,
            enforced,
            shadow,
        } = declared;
        let mut row = before
            .cloned()
            .unwrap_or_else(|| PolicySlot::new_empty(&name, LAST_PLACE, request.by.clone()));
        let kept = self.store.policy_versions(&name)?;
        let mut numbers = VersionNumbers::new(&name, source, kept, row.last_number);
        let mut versions = Vec::new();
        let mut configure = |prepared: Option<PreparedPolicy>, mode: PolicyMode| {
            prepared.map(|prepared| {
                let configured = self.configure(&name, &prepared.verified, mode);
                let (number, new) =
                    numbers.assign_number(&prepared.verified, prepared.component, mode, request);
                versions.push(new);
                (number, configured)
            })
        };
        let enforced = configure(enforced, PolicyMode::Enforce);
        let shadow = configure(shadow, PolicyMode::Shadow);
        row.source = source;
        row.place = place;
        row.last_number = numbers.last_number();
        row.set_enforced(enforced.as_ref().map(|(number, _)| *number));
        row.shadow = shadow.as_ref().map(|(number, _)| *number);
        let state = |row: &PolicySlot| (row.source, row.place, row.enforced, row.shadow);
        let is_kept = before.is_some_and(|before| state(before) == state(&row));
        if !is_kept {
            row.revision += u64::from(before.is_some());
            row.by.clone_from(&request.by);
            row.at = Millis::now();
        }
        let digest = |configured: &Option<(u64, Arc<ConfiguredPolicy>)>| {
            configured
                .as_ref()
                .map(|(_, configured)| configured.identity().digest)
        };
        let audit_body = (!is_kept).then(|| {
            json!({
                "order": "policy.declare", "policy": name, "source": source, "place": place,
                "enforced": row.enforced, "sha256": digest(&enforced), "shadow": row.shadow,
                "shadow_sha256": digest(&shadow), "revision": row.revision,
            })
        });
        let slot = SlotInForce {
            name,
            place,
            enforced: enforced.map(|(_, configured)| EnforcedPolicy::Loaded(configured)),
            shadow: shadow.map(|(_, configured)| configured),
        };
        Ok(SlotChange {
            // At a start no policy is in force yet, so a slot is new to the chain even when its stored version stays.
            is_new: !judges || !is_kept,
            records: policy_records(&slot),
            slot: Some(slot),
            row,
            versions,
            audit_body,
        })
    }
}

/// Takes a policy that is no longer declared out of force.
fn plan_withdrawal(before: &PolicySlot, request: &ChangeRequest) -> SlotChange {
    let mut row = before.clone();
    row.shadow = None;
    row.set_enforced(None);
    row.revision += 1;
    row.by.clone_from(&request.by);
    row.at = Millis::now();
    let body = json!({
        "order": "policy.withdraw", "policy": row.policy, "previous": row.previous,
        "revision": row.revision,
    });
    SlotChange {
        is_new: true,
        row,
        slot: None,
        versions: Vec::new(),
        records: Vec::new(),
        audit_body: Some(body),
    }
}
