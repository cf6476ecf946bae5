//! Operator policies: which are in force, and exchanging them while the host runs.
//!
//! A change goes: verify (digest, size) -> compile -> imports, name -> settings, by the policy itself -> its test vectors -> a trial in a
//! scratch instance -> through the HRM's thread, which asks the new ones from there on and commits the change with its audit row. Each
//! decision is judged by one set of policies, and nothing waits to be drained. Whatever fails before the commit, or the commit itself,
//! leaves what was in force in force; from the commit on a restart finds the new.
//!
//! A name has a slot: a place among the others, a version whose verdict counts, and a version on trial (`shadow`) whose verdict is recorded
//! and compared. A version is a component with settings. Versions are kept for good, since decisions in the log name them.
//!
//! Names that are declared in files ([`declared`]) are the files' alone. An uploaded policy that a start cannot load denies everything in its
//! place, until an operator exchanges or deletes it.
//!
//! Reading order: this file (what can be asked and wanted), [`exchange`] (making it so), [`slots`], [`fitting`], [`declared`], [`start`].
//!
//! Must not know: HTTP, SQL.

mod change;
mod declarations;
mod exchange;
mod slots;
mod start;
mod verification;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use crate::changes::{LastRefusals, Refusal, Requester};
use crate::hrm::Hrm;
use crate::hrm::chain::{ChainSlot, EnforcedPolicy};
use ark_model::ids::{Digest, Millis, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::settings::Settings;
use ark_store::{AuditEntry, AuditKind, PolicySlot, PolicyVersion, Unit};

pub use change::{
    ChangeConditions, InvalidPolicy, PolicyChangeError, PolicyChangeReceipt, PolicyRevision,
    PolicyStatus, PolicyUpload, SettingsReplacement,
};
pub use declarations::{Declaration, LAST_PLACE, PolicyManifest};
pub use slots::PolicyLoader;
pub use start::{LoadPoliciesError, load_all};

use slots::SlotChange;

/// The handle to the operator policies. Cheap to clone. Its changes block: on the compiler, on the disk.
#[derive(Clone)]
pub struct Policies {
    inner: Arc<Inner>,
}

/// What is kept under a name, and what judges; `None`: nothing.
pub type ListedPolicy = (PolicySlot, Option<Arc<ChainSlot>>);

struct Inner {
    loader: PolicyLoader,
    hrm: Hrm,
    /// What is in force, in the order it is asked.
    in_force: ArcSwap<Vec<Arc<ChainSlot>>>,
    /// Held by whoever makes a change.
    change_lock: Mutex<()>,
    refusals: LastRefusals,
}

impl Policies {
    /// Takes over what a start has found and the HRM judges by.
    #[must_use]
    pub fn new(ground: PolicyLoader, hrm: Hrm, slots: Vec<Arc<ChainSlot>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                loader: ground,
                hrm,
                in_force: ArcSwap::from_pointee(slots),
                change_lock: Mutex::default(),
                refusals: LastRefusals::default(),
            }),
        }
    }

    /// What is in force, in the order it is asked.
    #[must_use]
    pub fn in_force(&self) -> Arc<Vec<Arc<ChainSlot>>> {
        self.inner.in_force.load_full()
    }

    /// How many policies may be in force.
    #[must_use]
    pub fn max_policies(&self) -> usize {
        self.inner.loader.max_policies
    }

    /// Why the host should not be taken as ready: policies that cannot be loaded and deny everything.
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

    /// How many are enforced, on trial, and broken.
    #[must_use]
    pub fn count_by_state(&self) -> [(&'static str, usize); 3] {
        let slots = self.in_force();
        let broken =
            |slot: &&Arc<ChainSlot>| matches!(slot.enforced, Some(EnforcedPolicy::Broken { .. }));
        let judging =
            |slot: &&Arc<ChainSlot>| matches!(slot.enforced, Some(EnforcedPolicy::Loaded(_)));
        [
            ("enforce", slots.iter().filter(judging).count()),
            (
                "shadow",
                slots.iter().filter(|slot| slot.shadow.is_some()).count(),
            ),
            ("broken", slots.iter().filter(broken).count()),
        ]
    }

    /// What is kept under every name about which something was ever said, in the order they are asked; those not in force last.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list_policies(&self) -> Result<Vec<ListedPolicy>, PolicyChangeError> {
        let slots = self.in_force();
        let mut rows: Vec<_> = self
            .inner
            .loader
            .store
            .policy_slots()?
            .into_iter()
            .map(|row| {
                let slot = slots.iter().find(|slot| slot.name == row.policy).cloned();
                (row, slot)
            })
            .collect();
        rows.sort_by(|(one, one_slot), (other, other_slot)| {
            (one_slot.is_none(), one.order, &one.policy).cmp(&(
                other_slot.is_none(),
                other.order,
                &other.policy,
            ))
        });
        Ok(rows)
    }

    /// What is kept of a policy; `None`: nothing was ever said about the name.
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

    /// The last refused change of a name since the start.
    #[must_use]
    pub fn last_refusal(&self, policy: &Name) -> Option<Refusal> {
        self.inner.refusals.get(policy)
    }

    /// A version with its settings.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn read_version(
        &self,
        policy: &Name,
        number: u64,
    ) -> Result<(PolicyVersion, Option<Settings>), PolicyChangeError> {
        let version = self.inner.loader.find_version(policy, number)?;
        let settings = self.inner.loader.read_settings(policy, &version)?;
        Ok((version, settings))
    }

    /// The component of a version.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn read_component(&self, policy: &Name, number: u64) -> Result<Vec<u8>, PolicyChangeError> {
        let version = self.inner.loader.find_version(policy, number)?;
        self.inner.loader.read_component(policy, &version)
    }

    /// Keeps a version and puts it in force. The same component with the same settings keeps its number.
    ///
    /// # Errors
    /// See [`ChangeError`]. What is refused is recorded with its reason, and whatever was in force stays.
    pub fn upload_version(
        &self,
        policy: &Name,
        upload: PolicyUpload,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let stated = upload.sha256;
        let _turn = self.lock_changes();
        let result = self.apply_upload(policy, upload, terms, order);
        self.record_if_invalid(policy, Some(stated), &result, order);
        result
    }

    /// Gives a policy other settings, another mode, another place; its component stays.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn revise_policy(
        &self,
        policy: &Name,
        revision: PolicyRevision,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let _turn = self.lock_changes();
        let result = self.apply_revision(policy, revision, terms, order);
        self.record_if_invalid(policy, None, &result, order);
        result
    }

    /// Puts a kept version in force.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn roll_out(
        &self,
        policy: &Name,
        number: u64,
        mode: PolicyMode,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let _turn = self.lock_changes();
        if let Some(seen) = self.find_earlier_receipt(&terms)? {
            return Ok(seen);
        }
        let before = self.read_editable_row(policy, &terms)?;
        let row = before.ok_or_else(|| PolicyChangeError::UnknownPolicy(policy.clone()))?;
        self.put_in_force(&row, number, mode, "policy.rollout", terms, order)
    }

    /// Enforces the version that was enforced before the one that is.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn roll_back(
        &self,
        policy: &Name,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let _turn = self.lock_changes();
        if let Some(seen) = self.find_earlier_receipt(&terms)? {
            return Ok(seen);
        }
        let before = self.read_editable_row(policy, &terms)?;
        let row = before.ok_or_else(|| PolicyChangeError::UnknownPolicy(policy.clone()))?;
        let number = row
            .previous
            .ok_or_else(|| PolicyChangeError::NoPreviousVersion(policy.clone()))?;
        self.put_in_force(
            &row,
            number,
            PolicyMode::Enforce,
            "policy.rollback",
            terms,
            order,
        )
    }

    /// Takes a policy out of force, or only what is on trial of it. Its versions stay.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn delete_policy(
        &self,
        policy: &Name,
        only_shadow: bool,
        terms: ChangeConditions,
        order: &Requester,
    ) -> Result<PolicyChangeReceipt, PolicyChangeError> {
        let _turn = self.lock_changes();
        let before = self.read_editable_row(policy, &terms)?;
        let before = before
            .filter(|row| row.enforced.is_some() || row.shadow.is_some())
            .ok_or_else(|| PolicyChangeError::UnknownPolicy(policy.clone()))?;
        if only_shadow && before.shadow.is_none() {
            return Err(PolicyChangeError::NoShadow(policy.clone()));
        }
        let enforced = before.enforced.filter(|_| only_shadow);
        let mut row = Self::next_revision(&before, order);
        row.shadow = None;
        row.set_enforced(enforced);
        let what = if only_shadow {
            "policy.end-trial"
        } else {
            "policy.delete"
        };
        self.apply_row(row, Some(&before), None, what, terms, order)
    }

    /// Brings about what is declared in files. What is wrong with one policy is recorded and leaves what was in force under its name; the
    /// others are exchanged. What has changed and what was refused, in words.
    ///
    /// # Errors
    /// The store cannot be read, or the change not be recorded: nothing has changed.
    pub fn apply_declarations(
        &self,
        configured: &[Declaration],
        dir: Option<&Path>,
        order: &Requester,
    ) -> Result<(Vec<String>, Vec<String>), PolicyChangeError> {
        let _turn = self.lock_changes();
        let ground = &self.inner.loader;
        let declared = declarations::read_declarations(configured, dir, &ground.verifier);
        let mut refused = Vec::new();
        for rejected in &declared.rejected {
            let words = format!("{}: {}", rejected.origin.display(), rejected.problem);
            tracing::error!(file = %rejected.origin.display(), problem = rejected.problem, "operator policy refused: what was in force stays");
            if let Some(name) = &rejected.name {
                self.record_refusal(name, rejected.sha256, rejected.problem.clone(), order);
            }
            refused.push(words);
        }
        let slots = self.in_force();
        let next: Vec<SlotChange> = ground
            .plan_declarations(declared, order, |name| find_slot(&slots, name).is_some())?
            .into_iter()
            .filter(|next| next.changed)
            .collect();
        let changed = next
            .iter()
            .map(|next| next.row.policy.to_string())
            .collect();
        if !next.is_empty() {
            self.commit_slots(next, None, order)?;
        }
        Ok((changed, refused))
    }

    /// Records that a change was refused before it could be looked at.
    pub fn refuse_upload(&self, policy: &Name, reason: String, order: &Requester) {
        self.record_refusal(policy, None, reason, order);
    }

    fn lock_changes(&self) -> MutexGuard<'_, ()> {
        let turn = self.inner.change_lock.lock();
        turn.unwrap_or_else(PoisonError::into_inner)
    }

    fn current_slot(&self, policy: &Name) -> Option<Arc<ChainSlot>> {
        find_slot(&self.in_force(), policy).cloned()
    }

    /// What is kept under a name that operators have the say over, if it is at the revision that was meant.
    fn read_editable_row(
        &self,
        policy: &Name,
        terms: &ChangeConditions,
    ) -> Result<Option<PolicySlot>, PolicyChangeError> {
        let row = self.inner.loader.store.policy_slot(policy)?;
        if let Some(row) = &row
            && row.source != PolicySource::Api
            && (row.enforced.is_some() || row.shadow.is_some())
        {
            return Err(PolicyChangeError::DeclaredInFile {
                policy: policy.clone(),
                owner: row.source,
            });
        }
        let current = row.as_ref().map_or(0, |row| row.revision);
        match terms.expected_revision {
            Some(expected) if expected != current => Err(PolicyChangeError::RevisionMismatch {
                policy: policy.clone(),
                expected,
                current,
            }),
            _ => Ok(row),
        }
    }

    /// The answer that was given under the same key before.
    fn find_earlier_receipt(
        &self,
        terms: &ChangeConditions,
    ) -> Result<Option<PolicyChangeReceipt>, PolicyChangeError> {
        let Some(key) = &terms.idempotency else {
            return Ok(None);
        };
        match self
            .inner
            .loader
            .store
            .idempotency_record(&key.scope, &key.key)?
        {
            None => Ok(None),
            Some(seen) if seen.request == key.request => serde_json::from_str(&seen.answer)
                .map(Some)
                .map_err(|_| PolicyChangeError::KeyReused),
            Some(_) => Err(PolicyChangeError::KeyReused),
        }
    }

    /// What was wrong with what somebody sent is remembered; what the host could not do is not.
    fn record_if_invalid(
        &self,
        policy: &Name,
        stated: Option<Digest>,
        result: &Result<PolicyChangeReceipt, PolicyChangeError>,
        order: &Requester,
    ) {
        if let Err(PolicyChangeError::Invalid(unfit)) = result {
            self.record_refusal(policy, stated, unfit.to_string(), order);
        }
    }

    fn record_refusal(
        &self,
        policy: &Name,
        sha256: Option<Digest>,
        reason: String,
        order: &Requester,
    ) {
        tracing::warn!(%policy, by = order.by, reason, "an operator policy was refused");
        let body = json!({"order": "policy.refused", "policy": policy, "sha256": sha256, "refusal": reason});
        let now = Millis::now();
        let unit = Unit {
            audit: vec![audit_entry(body, order, now)],
            at: now,
            ..Unit::default()
        };
        if let Err(error) = self.inner.loader.store.commit(unit) {
            tracing::error!(%policy, %error, "a refused policy could not be recorded");
        }
        let refusal = Refusal {
            at_ms: now,
            by: order.by.clone(),
            sha256,
            reason,
        };
        self.inner.refusals.record(policy, refusal);
    }
}

fn find_slot<'a>(slots: &'a [Arc<ChainSlot>], policy: &Name) -> Option<&'a Arc<ChainSlot>> {
    slots.iter().find(|slot| slot.name == *policy)
}

fn audit_entry(mut body: Value, order: &Requester, now: Millis) -> AuditEntry {
    let what = body["order"].as_str().map(str::to_owned);
    body["by"] = json!(order.by);
    body["reason"] = json!(order.reason);
    AuditEntry {
        kind: AuditKind::Operator,
        id: ark_model::ids::AuditId::fresh(),
        trace_id: Some(order.trace_id),
        agent: None,
        action_type: what,
        outcome: None,
        at: now,
        body: body.to_string(),
    }
}
