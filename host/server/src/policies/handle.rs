//! The handle to the operator policies: reading what is in force and kept, and asking for changes.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::changes::{ChangeLog, ChangeRequest, ChangeTarget, ChangesSeen, UploadRefusal};
use crate::hrm::Hrm;
use crate::hrm::policies_in_force::{EnforcedPolicy, SlotInForce};
use ark_model::ids::{Digest, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::settings::Settings;
use ark_store::{PolicySlot, PolicyVersion};

use super::change::{
    ChangeConditions, PolicyChangeReceipt, PolicyRevision, PolicyStatus, PolicyUpload,
};
use super::declarations::{Declaration, read_declarations};
use super::error::PolicyChangeError;
use super::loader::{PolicyLoader, find_version, read_component, read_settings};
use super::slots::SlotChange;

/// The handle to the operator policies. Cheap to clone.
///
/// Changes run one at a time, and block: on the compiler and on the disk.
#[derive(Clone)]
pub struct Policies {
    pub(super) inner: Arc<PoliciesState>,
}

/// What is kept under a name, and what judges under it; `None`: nothing is in force.
pub type ListedPolicy = (PolicySlot, Option<Arc<SlotInForce>>);

pub(super) struct PoliciesState {
    pub(super) loader: PolicyLoader,
    pub(super) hrm: Hrm,
    /// The slots in force, in the order in which they are asked.
    pub(super) in_force: ArcSwap<Vec<Arc<SlotInForce>>>,
    changes: ChangeLog,
}

/// What [`Policies::apply_declarations`] did.
#[derive(Debug, Default)]
pub struct DeclarationChanges {
    /// The names of which something has changed.
    pub changed: Vec<Name>,
    /// For each declaration that was refused its file and the reason.
    pub refused: Vec<String>,
}

impl Policies {
    /// Takes over the slots that a start has loaded and the HRM judges by.
    #[must_use]
    pub fn new(loader: PolicyLoader, hrm: Hrm, slots: Vec<Arc<SlotInForce>>) -> Self {
        Self {
            inner: Arc::new(PoliciesState {
                changes: ChangeLog::new(loader.store.clone()),
                loader,
                hrm,
                in_force: ArcSwap::from_pointee(slots),
            }),
        }
    }

    /// Returns the slots in force, in the order in which they are asked.
    #[must_use]
    pub fn in_force(&self) -> Arc<Vec<Arc<SlotInForce>>> {
        self.inner.in_force.load_full()
    }

    /// Returns how many policies may be in force (`capacity.policies`).
    #[must_use]
    pub fn max_policies(&self) -> usize {
        self.inner.loader.max_policies
    }

    /// Lists why the host should not count as ready: policies that could not be loaded and deny every proposal.
    #[must_use]
    pub fn list_problems(&self) -> Vec<String> {
        let slots = self.in_force();
        let broken = slots.iter().filter_map(|slot| match &slot.enforced {
            Some(EnforcedPolicy::Broken { reason, .. }) => Some(format!(
                "the operator policy {} denies everything: {reason}",
                slot.name
            )),
            _ => None,
        });
        broken.collect()
    }

    /// Counts the policies that are enforced, on trial, and broken, each with its label in the metrics.
    #[must_use]
    pub fn count_by_state(&self) -> [(&'static str, usize); 3] {
        let slots = self.in_force();
        let (mut enforced, mut shadow, mut broken) = (0, 0, 0);
        for slot in slots.iter() {
            match slot.enforced {
                Some(EnforcedPolicy::Loaded(_)) => enforced += 1,
                Some(EnforcedPolicy::Broken { .. }) => broken += 1,
                None => {}
            }
            shadow += usize::from(slot.shadow.is_some());
        }
        [
            ("enforce", enforced),
            ("shadow", shadow),
            ("broken", broken),
        ]
    }

    /// Lists every name that ever had a policy: those in force in the order in which they are asked, then the others.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list_policies(&self) -> Result<Vec<ListedPolicy>, PolicyChangeError> {
        let slots = self.in_force();
        let rows = self.inner.loader.store.policy_slots()?;
        let mut listed: Vec<ListedPolicy> = rows
            .into_iter()
            .map(|row| {
                let slot = find_slot(&slots, &row.policy).cloned();
                (row, slot)
            })
            .collect();
        listed.sort_by(|(one, one_slot), (other, other_slot)| {
            let one = (one_slot.is_none(), one.place, &one.policy);
            one.cmp(&(other_slot.is_none(), other.place, &other.policy))
        });
        Ok(listed)
    }

    /// Returns what is kept of a policy; `None` when the name never had one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_status(&self, policy: &Name) -> Result<Option<PolicyStatus>, PolicyChangeError> {
        let store = &self.inner.loader.store;
        let Some(row) = store.policy_slot(policy)? else {
            return Ok(None);
        };
        Ok(Some(PolicyStatus {
            versions: store.policy_versions(policy)?,
            slot: self.current_slot(policy),
            refused: self.last_refusal(policy),
            row,
        }))
    }

    /// Returns the last refused change of a name since the start.
    #[must_use]
    pub fn last_refusal(&self, policy: &Name) -> Option<UploadRefusal> {
        self.inner.changes.last_refusal(policy)
    }

    /// Returns a version and its settings.
    ///
    /// # Errors
    /// The policy or version is unknown or corrupt, or the store cannot be read.
    pub fn read_version(
        &self,
        policy: &Name,
        number: u64,
    ) -> Result<(PolicyVersion, Option<Settings>), PolicyChangeError> {
        let version = find_version(&self.inner.loader.store, policy, number)?;
        let settings = read_settings(&self.inner.loader.store, policy, &version)?;
        Ok((version, settings))
    }

    /// Returns the component of a version, byte for byte as it was uploaded or declared.
    ///
    /// # Errors
    /// The policy or version is unknown or corrupt, or the store cannot be read.
    pub fn read_component(&self, policy: &Name, number: u64) -> Result<Vec<u8>, PolicyChangeError> {
        let version = find_version(&self.inner.loader.store, policy, number)?;
        read_component(&self.inner.loader.store, policy, &version)
    }

    /// Checks what can be known of an upload without compiling it. It takes little time.
    ///
    /// # Errors
    /// See [`PolicyChangeError`]. A policy that is refused is recorded with the reason.
    pub fn check_upload(
        &self,
        policy: &Name,
        upload: &PolicyUpload,
        conditions: &ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<(), PolicyChangeError> {
        let result = self.check_before_compilation(policy, upload, conditions);
        self.record_if_invalid(policy, Some(upload.sha256), &result, request);
        result
    }

    /// Returns how many changes other than uploads were made of a policy until now: for [`Self::upload_version`].
    #[must_use]
    pub fn changes_seen(&self, policy: &Name) -> ChangesSeen {
        self.inner.changes.changes_seen(policy)
    }

    /// Compiles a version, stores it and puts it in force, unless another change than those in `seen` was made of the policy. Who asked for it must be
    /// permitted to do so before and after the compilation. The same component with the same settings keeps the number it had. Other changes
    /// are made while it is compiled.
    ///
    /// # Errors
    /// See [`PolicyChangeError`]. A policy that is refused is recorded with the reason.
    pub fn upload_version(
        &self,
        policy: &Name,
        upload: PolicyUpload,
        conditions: ChangeConditions,
        seen: ChangesSeen,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        request.permit.check()?;
        let stated = upload.sha256;
        let result = self
            .verify_upload(policy, &upload, &conditions)
            .and_then(|verified| {
                let _change = self.inner.changes.begin_change();
                request.permit.check()?;
                if seen != self.changes_seen(policy) {
                    return Err(PolicyChangeError::ChangedMeanwhile(policy.clone()));
                }
                self.apply_upload(policy, upload, verified, conditions, request)
            });
        self.record_if_invalid(policy, Some(stated), &result, request);
        result
    }

    /// Gives a policy other settings, another mode or another place. Its component stays.
    ///
    /// # Errors
    /// See [`PolicyChangeError`]. A policy that is refused is recorded with the reason.
    pub fn revise_policy(
        &self,
        policy: &Name,
        revision: PolicyRevision,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let _change = self.inner.changes.begin_change();
        let result = self.apply_revision(policy, revision, conditions, request);
        if result.is_ok() {
            self.inner.changes.count_change(policy);
        }
        self.record_if_invalid(policy, None, &result, request);
        result
    }

    /// Puts a kept version in force.
    ///
    /// # Errors
    /// See [`PolicyChangeError`].
    pub fn roll_out(
        &self,
        policy: &Name,
        number: u64,
        mode: PolicyMode,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let _change = self.inner.changes.begin_change();
        if let Some(receipt) = self.find_earlier_receipt(&conditions)? {
            return Ok(receipt);
        }
        let before = self
            .read_editable_row(policy, &conditions)?
            .ok_or_else(|| PolicyChangeError::UnknownPolicy(policy.clone()))?;
        self.apply_rollout(&before, number, mode, "policy.rollout", conditions, request)
            .inspect(|_| self.inner.changes.count_change(policy))
    }

    /// Enforces the version that was enforced before the current one.
    ///
    /// # Errors
    /// See [`PolicyChangeError`].
    pub fn roll_back(
        &self,
        policy: &Name,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let _change = self.inner.changes.begin_change();
        if let Some(receipt) = self.find_earlier_receipt(&conditions)? {
            return Ok(receipt);
        }
        let before = self
            .read_editable_row(policy, &conditions)?
            .ok_or_else(|| PolicyChangeError::UnknownPolicy(policy.clone()))?;
        let number = before
            .previous
            .ok_or_else(|| PolicyChangeError::NoPreviousVersion(policy.clone()))?;
        let mode = PolicyMode::Enforce;
        self.apply_rollout(
            &before,
            number,
            mode,
            "policy.rollback",
            conditions,
            request,
        )
        .inspect(|_| self.inner.changes.count_change(policy))
    }

    /// Takes a policy out of force, or with `only_shadow` only the version on trial. The versions are kept.
    ///
    /// # Errors
    /// See [`PolicyChangeError`].
    pub fn delete_policy(
        &self,
        policy: &Name,
        only_shadow: bool,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let _change = self.inner.changes.begin_change();
        self.apply_deletion(policy, only_shadow, conditions, request)
            .inspect(|_| self.inner.changes.count_change(policy))
    }

    /// Puts in force what files declare. A declaration that is refused is recorded and leaves in force what was in force under its name; the
    /// others are applied.
    ///
    /// # Errors
    /// The store cannot be read, or the change not be committed: nothing has changed.
    pub fn apply_declarations(
        &self,
        configured: &[Declaration],
        dir: Option<&Path>,
        request: &ChangeRequest,
    ) -> Result<DeclarationChanges, PolicyChangeError> {
        let _change = self.inner.changes.begin_change();
        let loader = &self.inner.loader;
        let declarations = read_declarations(configured, dir, &loader.verifier);
        let mut result = DeclarationChanges::default();
        for rejected in &declarations.rejected {
            let (file, problem) = (rejected.origin.display(), &rejected.problem);
            tracing::error!(%file, problem, "operator policy refused: what was in force stays");
            result.refused.push(format!("{file}: {problem}"));
            if let Some(name) = &rejected.name {
                let target = ChangeTarget::Policy(name);
                let reason = problem.clone();
                let changes = &self.inner.changes;
                changes.record_refusal(target, rejected.sha256, reason, request);
            }
        }
        let slots = self.in_force();
        let is_in_force = |name: &Name| find_slot(&slots, name).is_some();
        let changes: Vec<SlotChange> = loader
            .plan_declarations(declarations, request, is_in_force)?
            .into_iter()
            .filter(|change| change.is_new)
            .collect();
        result.changed = changes
            .iter()
            .map(|change| change.row.policy.clone())
            .collect();
        if !changes.is_empty() {
            self.commit_slots(changes, None, request)?;
        }
        Ok(result)
    }

    /// Records that an upload was refused before its component could be read.
    pub fn refuse_upload(&self, policy: &Name, reason: String, request: &ChangeRequest) {
        let target = ChangeTarget::Policy(policy);
        self.inner
            .changes
            .record_refusal(target, None, reason, request);
    }

    pub(super) fn current_slot(&self, policy: &Name) -> Option<Arc<SlotInForce>> {
        find_slot(&self.in_force(), policy).cloned()
    }

    /// Returns the slot kept under a name; `None` when there is none. Refuses a name that a file declares, and a revision that is not the
    /// expected one.
    pub(super) fn read_editable_row(
        &self,
        policy: &Name,
        conditions: &ChangeConditions,
    ) -> Result<Option<PolicySlot>, PolicyChangeError> {
        let row = self.inner.loader.store.policy_slot(policy)?;
        if let Some(row) = &row
            && row.source != PolicySource::Api
            && !row.is_empty()
        {
            return Err(PolicyChangeError::DeclaredInFile {
                policy: policy.clone(),
                owner: row.source,
            });
        }
        let current = row.as_ref().map_or(0, |row| row.revision);
        match conditions.expected_revision {
            Some(expected) if expected != current => Err(PolicyChangeError::RevisionMismatch {
                policy: policy.clone(),
                expected,
                current,
            }),
            _ => Ok(row),
        }
    }

    /// Returns the receipt that the same request got under the same idempotency key before.
    fn find_earlier_receipt(
        &self,
        conditions: &ChangeConditions,
    ) -> Result<Option<PolicyChangeReceipt>, PolicyChangeError> {
        let Some(key) = &conditions.idempotency else {
            return Ok(None);
        };
        let store = &self.inner.loader.store;
        match store.idempotency_record(&key.scope, &key.key)? {
            None => Ok(None),
            Some(first)
                if first.request == key.request
                    || Some(first.request) == conditions.legacy_request =>
            {
                serde_json::from_str(&first.answer)
                    .map(Some)
                    .map_err(|_| PolicyChangeError::KeyReused)
            }
            Some(_) => Err(PolicyChangeError::KeyReused),
        }
    }

    /// Records a refusal for which the policy is at fault; other failures are the host's.
    fn record_if_invalid<T>(
        &self,
        policy: &Name,
        stated: Option<Digest>,
        result: &Result<T, PolicyChangeError>,
        request: &ChangeRequest,
    ) {
        if let Err(PolicyChangeError::Invalid(invalid)) = result {
            let target = ChangeTarget::Policy(policy);
            self.inner
                .changes
                .record_refusal(target, stated, invalid.to_string(), request);
        }
    }
}

fn find_slot<'a>(slots: &'a [Arc<SlotInForce>], policy: &Name) -> Option<&'a Arc<SlotInForce>> {
    slots.iter().find(|slot| slot.name == *policy)
}
