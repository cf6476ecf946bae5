//! Making a change: from what is asked for to a slot that judges, committed with what must be kept of it.

use std::sync::Arc;

use serde_json::json;

use crate::changes::ChangeRequest;
use crate::hrm::PolicySwap;
use crate::hrm::policies_in_force::{EnforcedPolicy, SlotInForce};
use crate::reply::ask_blocking;
use ark_model::ids::{Millis, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_runtime::Policy;
use ark_store::{IdempotencyRecord, PolicySlot, PolicyVersion, Unit};

use super::change::{
    ChangeConditions, PolicyChangeReceipt, PolicyRevision, PolicyUpload, SettingsReplacement,
};
use super::declarations::LAST_PLACE;
use super::error::{InvalidPolicy, PolicyChangeError};
use super::handle::Policies;
use super::loader::{find_version, read_component};
use super::slots::{SlotChange, VersionNumbers, policy_records, sort_slots};
use super::verification::{VerifiedPolicy, check_digest};

/// A change of a policy's slot.
struct RowChange<'a> {
    /// The slot as it was; `None`: the name never had a policy.
    before: Option<&'a PolicySlot>,
    /// The slot as it is to be, without the version in `new`.
    row: PolicySlot,
    /// A version to put in force that is not kept yet.
    new: Option<NewComponent>,
    /// The name of the kind of change in the audit row.
    kind: &'static str,
}

/// A version that was verified and is not kept yet.
struct NewComponent {
    verified: VerifiedPolicy,
    component: Vec<u8>,
    mode: PolicyMode,
}

impl Policies {
    /// Checks that the policy may be changed, and what can be known of the component without compiling it.
    pub(super) fn check_before_compilation(
        &self,
        policy: &Name,
        upload: &PolicyUpload,
        conditions: &ChangeConditions,
    ) -> Result<(), PolicyChangeError> {
        self.read_editable_row(policy, conditions)?;
        check_digest(&upload.component, upload.sha256)?;
        let signers = &self.inner.loader.verifier.signers;
        signers
            .check(&upload.component, upload.signature.as_deref())
            .map_err(InvalidPolicy::from)?;
        Policy::check_before_compilation(&upload.component).map_err(InvalidPolicy::from)?;
        Ok(())
    }

    /// Compiles an upload and puts it to its tests.
    pub(super) fn verify_upload(
        &self,
        policy: &Name,
        upload: &PolicyUpload,
        conditions: &ChangeConditions,
    ) -> Result<VerifiedPolicy, PolicyChangeError> {
        self.check_before_compilation(policy, upload, conditions)?;
        let verifier = &self.inner.loader.verifier;
        Ok(verifier.verify(&upload.component, Some(policy), upload.settings.clone())?)
    }

    pub(super) fn apply_upload(
        &self,
        policy: &Name,
        upload: PolicyUpload,
        verified: VerifiedPolicy,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let before = self.read_editable_row(policy, &conditions)?;
        let mut row = match &before {
            Some(before) => next_revision(before, request),
            None => PolicySlot::new_empty(policy, LAST_PLACE, request.by.clone()),
        };
        let place = before.as_ref().map_or(LAST_PLACE, |before| before.place);
        row.place = upload.place.unwrap_or(place);
        let change = RowChange {
            before: before.as_ref(),
            row,
            new: Some(NewComponent {
                verified,
                component: upload.component,
                mode: upload.mode,
            }),
            kind: "policy.upload",
        };
        self.apply_change(change, conditions, request)
    }

    pub(super) fn apply_revision(
        &self,
        policy: &Name,
        revision: PolicyRevision,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let before = self.read_row_in_force(policy, &conditions)?;
        let mut row = next_revision(&before, request);
        row.place = revision.place.unwrap_or(row.place);
        if let Some(SettingsReplacement(settings)) = revision.settings {
            let (number, mode) = revised_version(&before, revision.mode);
            let loader = &self.inner.loader;
            let version = find_version(&loader.store, policy, number)?;
            let component = read_component(&loader.store, policy, &version)?;
            let verified = loader.verifier.verify(&component, Some(policy), settings)?;
            let change = RowChange {
                before: Some(&before),
                row,
                new: Some(NewComponent {
                    verified,
                    component,
                    mode,
                }),
                kind: "policy.settings",
            };
            return self.apply_change(change, conditions, request);
        }
        if let Some(remark) = self.find_no_change(&before, &row, revision.mode) {
            return self.report_unchanged(&before, remark);
        }
        match (revision.mode, before.enforced, before.shadow) {
            // The version on trial is enforced from now on.
            (Some(PolicyMode::Enforce), _, Some(shadow)) => {
                row.shadow = None;
                row.set_enforced(Some(shadow));
            }
            (Some(PolicyMode::Shadow), Some(enforced), _) => {
                row.set_enforced(None);
                row.shadow = Some(enforced);
            }
            _ => {}
        }
        let change = RowChange {
            before: Some(&before),
            row,
            new: None,
            kind: "policy.revise",
        };
        self.apply_change(change, conditions, request)
    }

    /// Returns what is so already, if a revision without settings asks for nothing else: then nothing is committed. A policy that could not be
    /// loaded is set up again, whatever is asked for.
    fn find_no_change(
        &self,
        before: &PolicySlot,
        row: &PolicySlot,
        mode: Option<PolicyMode>,
    ) -> Option<String> {
        let slot = self.current_slot(&before.policy)?;
        let is_broken = matches!(slot.enforced, Some(EnforcedPolicy::Broken { .. }));
        if is_broken || row.place != before.place || row.source != before.source {
            return None;
        }
        let state = match (mode, before.enforced, before.shadow) {
            (Some(PolicyMode::Enforce), Some(number), None) => {
                format!("version {number} was enforced already, and none is on trial")
            }
            (None, ..) => format!("its place was {} already", before.place),
            (Some(_), ..) => return None,
        };
        Some(format!("{state}; nothing has changed"))
    }

    /// Returns the receipt of a change that changes nothing, with the remark that says so.
    fn report_unchanged(
        &self,
        row: &PolicySlot,
        remark: String,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let (number, _) = affected_version(Some(row), row, None);
        let store = &self.inner.loader.store;
        let version = number
            .map(|number| find_version(store, &row.policy, number))
            .transpose()?;
        Ok(make_receipt(row, number, version.as_ref(), vec![remark]))
    }

    /// Puts a kept version in force in a mode.
    pub(super) fn apply_rollout(
        &self,
        before: &PolicySlot,
        number: u64,
        mode: PolicyMode,
        kind: &'static str,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        find_version(&self.inner.loader.store, &before.policy, number)?;
        let mut row = next_revision(before, request);
        row.set_mode(number, mode);
        let change = RowChange {
            before: Some(before),
            row,
            new: None,
            kind,
        };
        self.apply_change(change, conditions, request)
    }

    pub(super) fn apply_deletion(
        &self,
        policy: &Name,
        only_shadow: bool,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let before = self.read_row_in_force(policy, &conditions)?;
        if only_shadow && before.shadow.is_none() {
            return Err(PolicyChangeError::NoShadow(policy.clone()));
        }
        let mut row = next_revision(&before, request);
        row.shadow = None;
        row.set_enforced(before.enforced.filter(|_| only_shadow));
        let change = RowChange {
            before: Some(&before),
            row,
            new: None,
            kind: if only_shadow {
                "policy.end-trial"
            } else {
                "policy.delete"
            },
        };
        self.apply_change(change, conditions, request)
    }

    /// Returns the slot of a policy that is in force and may be changed.
    fn read_row_in_force(
        &self,
        policy: &Name,
        conditions: &ChangeConditions,
    ) -> Result<PolicySlot, PolicyChangeError> {
        self.read_editable_row(policy, conditions)?
            .filter(|row| !row.is_empty())
            .ok_or_else(|| PolicyChangeError::UnknownPolicy(policy.clone()))
    }

    /// Builds the slot that a change describes and commits it.
    fn apply_change(
        &self,
        change: RowChange<'_>,
        conditions: ChangeConditions,
        request: &ChangeRequest,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let RowChange {
            before,
            mut row,
            new,
            kind,
        } = change;
        let loader = &self.inner.loader;
        let policy = row.policy.clone();
        let mut versions = Vec::new();
        let mut verified: Option<(u64, VerifiedPolicy)> = None;
        if let Some(new) = new {
            let kept = loader.store.policy_versions(&policy)?;
            let mut numbers =
                VersionNumbers::new(&policy, PolicySource::Api, kept, row.last_number);
            let (number, version) =
                numbers.assign_number(&new.verified, new.component, new.mode, request);
            row.last_number = numbers.last_number();
            if new.mode == PolicyMode::Shadow && row.enforced == Some(number) {
                return Err(PolicyChangeError::AlreadyEnforced { policy, number });
            }
            row.set_mode(number, new.mode);
            versions.push(version);
            verified = Some((number, new.verified));
        }
        let current = self.current_slot(&policy);
        let slot = loader.build_slot(&row, before.zip(current.as_deref()), verified.as_ref())?;
        let new_number = verified.as_ref().map(|(number, _)| *number);
        let (number, mode) = affected_version(before, &row, new_number);
        let version = match (number, versions.first()) {
            (None, _) => None,
            (Some(number), Some(new)) if new.version.number == number => Some(new.version.clone()),
            (Some(number), _) => Some(find_version(&loader.store, &policy, number)?),
        };
        let remarks = list_remarks(before, &row, version.as_ref());
        let receipt = make_receipt(&row, number, version.as_ref(), remarks);
        let mut body = json!(receipt);
        body["order"] = json!(kind);
        body["place"] = json!(receipt.place);
        body["mode"] = json!(mode);
        body["version"] = json!(version.as_ref().map(|version| &version.version));
        if let Some(map) = body.as_object_mut() {
            map.remove("remarks");
        }
        let idempotency = conditions.idempotency.map(|key| IdempotencyRecord {
            answer: json!(receipt).to_string(),
            ..key
        });
        let change = SlotChange {
            is_new: true,
            records: slot.as_ref().map(policy_records).unwrap_or_default(),
            slot,
            row,
            versions,
            audit_body: Some(body),
        };
        self.commit_slots(vec![change], idempotency, request)?;
        tracing::info!(policy = %receipt.policy, number, change = kind, by = request.by, enforced = receipt.enforced, shadow = receipt.shadow, "operator policy changed");
        Ok(receipt)
    }

    /// Commits changes of slots in the HRM's thread. They are in force for everything that is judged after it.
    pub(super) fn commit_slots(
        &self,
        changes: Vec<SlotChange>,
        idempotency: Option<IdempotencyRecord>,
        request: &ChangeRequest,
    ) -> Result<(), PolicyChangeError> {
        let in_force = self.in_force();
        let mut slots: Vec<Arc<SlotInForce>> = in_force.to_vec();
        let mut unit = Unit {
            idempotency,
            at: Millis::now(),
            ..Unit::default()
        };
        for change in changes {
            slots.retain(|slot| slot.name != change.row.policy);
            change.add_to(&mut unit, request, &mut slots);
        }
        // After capacity.policies was lowered more may be in force than it allows: then their number can only fall.
        let max_policies = self.max_policies();
        if slots.len() > max_policies.max(in_force.len()) {
            return Err(PolicyChangeError::TooManyPolicies(max_policies));
        }
        let slots = sort_slots(slots);
        let swap = PolicySwap {
            slots: slots.clone(),
            unit,
        };
        ask_blocking(|reply| self.inner.hrm.swap_policies(swap, reply))
            .map_err(PolicyChangeError::NotRecorded)?;
        self.inner.in_force.store(Arc::new(slots));
        Ok(())
    }
}

/// Returns the slot as it stands before a change by `request`: the same with the next revision.
fn next_revision(before: &PolicySlot, request: &ChangeRequest) -> PolicySlot {
    PolicySlot {
        source: PolicySource::Api,
        revision: before.revision + 1,
        by: request.by.clone(),
        at: Millis::now(),
        ..before.clone()
    }
}

/// Returns which version a revision of the settings is about, and the mode of the version that gets them: the one in the mode that the request
/// names; without a mode the enforced one, if there is one.
fn revised_version(before: &PolicySlot, mode: Option<PolicyMode>) -> (u64, PolicyMode) {
    let (number, mode) = match (mode, before.enforced, before.shadow) {
        (Some(PolicyMode::Shadow), enforced, shadow) => (shadow.or(enforced), PolicyMode::Shadow),
        (Some(PolicyMode::Enforce), enforced, shadow) => (enforced.or(shadow), PolicyMode::Enforce),
        (None, Some(enforced), _) => (Some(enforced), PolicyMode::Enforce),
        (None, None, shadow) => (shadow, PolicyMode::Shadow),
    };
    // A slot in force has one of the two.
    (number.unwrap_or(0), mode)
}

/// Returns which version a change is about and the mode it is in now: the new version, else the one whose mode has changed, else the one that
/// is in force.
fn affected_version(
    before: Option<&PolicySlot>,
    row: &PolicySlot,
    new: Option<u64>,
) -> (Option<u64>, Option<PolicyMode>) {
    let (enforced_before, shadow_before) =
        before.map_or((None, None), |before| (before.enforced, before.shadow));
    let number = new
        .or(row.enforced.filter(|_| row.enforced != enforced_before))
        .or(row.shadow.filter(|_| row.shadow != shadow_before))
        .or(row.enforced)
        .or(row.shadow);
    let mode = number.map(|number| {
        if row.enforced == Some(number) {
            PolicyMode::Enforce
        } else {
            PolicyMode::Shadow
        }
    });
    (number, mode)
}

/// Makes the receipt of a change after which the slot is `row`. `number` and `version` are those that it is about.
fn make_receipt(
    row: &PolicySlot,
    number: Option<u64>,
    version: Option<&PolicyVersion>,
    remarks: Vec<String>,
) -> PolicyChangeReceipt {
    PolicyChangeReceipt {
        policy: row.policy.clone(),
        number,
        sha256: version.map(|version| version.sha256),
        settings_sha256: version.and_then(|version| version.settings),
        vectors: version.map(|version| version.vectors),
        place: row.place,
        enforced: row.enforced,
        shadow: row.shadow,
        previous: row.previous,
        revision: row.revision,
        remarks,
    }
}

/// Lists what the operator should know about a change.
fn list_remarks(
    before: Option<&PolicySlot>,
    row: &PolicySlot,
    version: Option<&PolicyVersion>,
) -> Vec<String> {
    let mut remarks = Vec::new();
    if version.is_some_and(|version| version.vectors == 0) {
        remarks.push(
            "it carries no test vectors: whether it does what it should was not tested".to_owned(),
        );
    }
    if before.is_some_and(|before| before.enforced.is_some()) && row.enforced.is_none() {
        remarks.push(format!("nothing of {} is enforced any more", row.policy));
    }
    remarks
}
