//! Making a change: from what is wanted to a slot that judges, committed with what must be kept of it.

use std::sync::Arc;

use serde_json::json;

use crate::changes::Requester;
use crate::hrm::chain::ChainSlot;
use crate::hrm::{HrmError, PolicySwap};
use ark_model::ids::{Millis, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_store::{IdempotencyRecord, PolicySlot, Unit};

use super::change::{
    ChangeConditions, PolicyChangeError, PolicyChangeReceipt, PolicyRevision, PolicyUpload,
    SettingsReplacement,
};
use super::slots::{self, SlotChange, VersionNumbers, sort_slots};
use super::verification::{VerifiedPolicy, check_digest};
use super::{LAST_PLACE, Policies};

impl Policies {
    pub(super) fn apply_upload(
        &self,
        policy: &Name,
        upload: PolicyUpload,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let before = self.read_editable_row(policy, &terms)?;
        check_digest(&upload.component, upload.sha256)?;
        let measure = &self.inner.loader.verifier;
        let fit = measure.verify(&upload.component, Some(policy), upload.settings)?;
        let mut row = match &before {
            Some(before) => Self::next_revision(before, order),
            None => PolicySlot::new_empty(policy, LAST_PLACE, order.by.clone()),
        };
        row.order = match (upload.order, &before) {
            (Some(place), _) => place,
            (None, Some(before)) => before.order,
            (None, None) => LAST_PLACE,
        };
        let fresh = NewComponent {
            fit,
            component: upload.component,
            mode: upload.mode,
        };
        self.apply_row(
            row,
            before.as_ref(),
            Some(fresh),
            "policy.upload",
            terms,
            order,
        )
    }

    pub(super) fn apply_revision(
        &self,
        policy: &Name,
        revision: PolicyRevision,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let before = self.read_editable_row(policy, &terms)?;
        let before = before
            .filter(|row| row.enforced.is_some() || row.shadow.is_some())
            .ok_or_else(|| PolicyChangeError::UnknownPolicy(policy.clone()))?;
        let mut row = Self::next_revision(&before, order);
        if let Some(place) = revision.order {
            row.order = place;
        }
        // What is on trial is meant where that is said; else what counts, if there is such a version.
        let (number, mode) = match (revision.mode, before.enforced, before.shadow) {
            (Some(PolicyMode::Shadow), enforced, shadow) => {
                (shadow.or(enforced), PolicyMode::Shadow)
            }
            (Some(PolicyMode::Enforce), enforced, shadow) => {
                (enforced.or(shadow), PolicyMode::Enforce)
            }
            (None, Some(enforced), _) => (Some(enforced), PolicyMode::Enforce),
            (None, None, shadow) => (shadow, PolicyMode::Shadow),
        };
        if let Some(SettingsReplacement(settings)) = revision.settings {
            let ground = &self.inner.loader;
            let version = ground.find_version(policy, number.unwrap_or(0))?;
            let component = ground.read_component(policy, &version)?;
            let fit = ground.verifier.verify(&component, Some(policy), settings)?;
            let fresh = NewComponent {
                fit,
                component,
                mode,
            };
            return self.apply_row(
                row,
                Some(&before),
                Some(fresh),
                "policy.settings",
                terms,
                order,
            );
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
        self.apply_row(row, Some(&before), None, "policy.revise", terms, order)
    }

    /// Puts a kept version in force in a mode.
    pub(super) fn put_in_force(
        &self,
        before: &PolicySlot,
        number: u64,
        mode: PolicyMode,
        what: &str,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let mut row = Self::next_revision(before, order);
        self.inner.loader.find_version(&before.policy, number)?;
        row.set_mode(number, mode);
        self.apply_row(row, Some(before), None, what, terms, order)
    }

    pub(super) fn next_revision(before: &PolicySlot, order: &Requester) -> PolicySlot {
        PolicySlot {
            source: PolicySource::Api,
            revision: before.revision + 1,
            by: order.by.clone(),
            at: Millis::now(),
            ..before.clone()
        }
    }

    /// Makes a slot what its row says, with a version that was just looked at, if there is one.
    pub(super) fn apply_row(
        &self,
        mut row: PolicySlot,
        before: Option<&PolicySlot>,
        fresh: Option<NewComponent>,
        what: &str,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let ground = &self.inner.loader;
        let policy = row.policy.clone();
        let mut versions = Vec::new();
        let mut looked_at: Option<(u64, VerifiedPolicy)> = None;
        if let Some(fresh) = fresh {
            let mut numbers = VersionNumbers::from_versions(
                ground.store.policy_versions(&policy)?,
                row.last_number,
            );
            let source = PolicySource::Api;
            let (number, new) = numbers.assign_number(
                &policy,
                &fresh.fit,
                fresh.component,
                source,
                fresh.mode,
                order,
            );
            row.last_number = numbers.last_number();
            if fresh.mode == PolicyMode::Shadow && row.enforced == Some(number) {
                return Err(PolicyChangeError::AlreadyEnforced { policy, number });
            }
            row.set_mode(number, fresh.mode);
            versions.push(new);
            looked_at = Some((number, fresh.fit));
        }
        let slot = self.current_slot(&policy);
        let built = ground.build_slot(&row, before.zip(slot.as_deref()), looked_at.as_ref())?;
        let (number, mode) = affected_version(before, &row, looked_at.as_ref());
        let version = match (number, versions.first()) {
            (None, _) => None,
            (Some(number), Some(new)) if new.version.number == number => Some(new.version.clone()),
            (Some(number), _) => Some(ground.find_version(&policy, number)?),
        };
        let mut remarks = Vec::new();
        if version.as_ref().is_some_and(|version| version.vectors == 0) {
            let words =
                "it carries no test vectors: that it does what it is meant to do was not tried";
            remarks.push(words.to_owned());
        }
        if before.is_some_and(|before| before.enforced.is_some()) && row.enforced.is_none() {
            remarks.push(format!("nothing of {policy} is enforced any more"));
        }
        let changed = PolicyChangeReceipt {
            number,
            sha256: version.as_ref().map(|version| version.sha256),
            settings_sha256: version.as_ref().and_then(|version| version.settings),
            vectors: version.as_ref().map(|version| version.vectors),
            order: row.order,
            enforced: row.enforced,
            shadow: row.shadow,
            previous: row.previous,
            revision: row.revision,
            remarks,
            policy,
        };
        let mut body = json!(changed);
        body["order"] = json!(what);
        body["place"] = json!(changed.order);
        body["mode"] = json!(mode);
        body["version"] = json!(version.as_ref().map(|version| &version.version));
        if let Some(map) = body.as_object_mut() {
            map.remove("remarks");
        }
        let idempotency = terms.idempotency.map(|key| IdempotencyRecord {
            answer: serde_json::to_string(&changed).unwrap_or_default(),
            ..key
        });
        let next = SlotChange {
            changed: true,
            records: built
                .as_ref()
                .map(slots::policy_records)
                .unwrap_or_default(),
            slot: built,
            row,
            versions,
            body,
        };
        self.commit_slots(vec![next], idempotency, order)?;
        tracing::info!(policy = %changed.policy, number, what, by = order.by, enforced = changed.enforced, shadow = changed.shadow, "operator policy changed");
        Ok(changed)
    }

    /// Commits a change in the HRM's thread, where it is in force from that moment on.
    pub(super) fn commit_slots(
        &self,
        next: Vec<SlotChange>,
        idempotency: Option<IdempotencyRecord>,
        order: &Requester,
    ) -> Result<(), PolicyChangeError> {
        let mut slots: Vec<Arc<ChainSlot>> = self.in_force().to_vec();
        let mut unit = Unit {
            idempotency,
            at: Millis::now(),
            ..Unit::default()
        };
        for next in next {
            slots.retain(|slot| slot.name != next.row.policy);
            next.add_to(&mut unit, order, &mut slots);
        }
        // More than may be can be there already, if fewer may be than before: then it can only become fewer.
        let most = self.inner.loader.max_policies.max(self.in_force().len());
        if slots.len() > most {
            return Err(PolicyChangeError::TooManyPolicies(
                self.inner.loader.max_policies,
            ));
        }
        let slots = sort_slots(slots);
        let swap = PolicySwap {
            slots: slots.clone(),
            unit,
        };
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.inner.hrm.swap_policies(
            swap,
            Box::new(move |result| {
                let _ = reply.send(result);
            }),
        );
        answer
            .recv()
            .unwrap_or(Err(HrmError::Closed))
            .map_err(PolicyChangeError::NotRecorded)?;
        self.inner.in_force.store(Arc::new(slots));
        Ok(())
    }
}

/// A version that was just looked at.
pub(super) struct NewComponent {
    fit: VerifiedPolicy,
    component: Vec<u8>,
    mode: PolicyMode,
}

/// Which version a change is about, and in which mode it is now.
fn affected_version(
    before: Option<&PolicySlot>,
    row: &PolicySlot,
    fresh: Option<&(u64, VerifiedPolicy)>,
) -> (Option<u64>, Option<PolicyMode>) {
    let number = fresh.map(|(number, _)| *number).or_else(|| {
        let stood = before.map_or((None, None), |before| (before.enforced, before.shadow));
        let enforced = row.enforced.filter(|_| row.enforced != stood.0);
        enforced.or_else(|| row.shadow.filter(|_| row.shadow != stood.1))
    });
    let number = number.or(row.enforced).or(row.shadow);
    let mode = number.map(|number| {
        if row.enforced == Some(number) {
            PolicyMode::Enforce
        } else {
            PolicyMode::Shadow
        }
    });
    (number, mode)
}
