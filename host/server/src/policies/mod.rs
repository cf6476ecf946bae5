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
mod declared;
mod exchange;
mod fitting;
mod slots;
mod start;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use crate::changes::{Order, Refusal, Refusals};
use crate::hrm::Hrm;
use crate::hrm::chain::{Enforced, Slot};
use ark_model::ids::{Digest, Millis, Name};
use ark_model::policy::{Mode, PolicySource};
use ark_model::settings::Settings;
use ark_store::{AuditEntry, AuditKind, PolicySlot, PolicyVersion, Unit};

pub use change::{ChangeError, Changed, NewSettings, Revision, Standing, Terms, Unfit, Upload};
pub use declared::{Declaration, LAST, PolicyManifest};
pub use slots::Ground;
pub use start::{StartingPolicies, find};

use slots::Next;

/// The handle to the operator policies. Cheap to clone. Its changes block: on the compiler, on the disk.
#[derive(Clone)]
pub struct Policies {
    inner: Arc<Inner>,
}

/// What is kept under a name, and what judges; `None`: nothing.
pub type Listed = (PolicySlot, Option<Arc<Slot>>);

struct Inner {
    ground: Ground,
    hrm: Hrm,
    /// What is in force, in the order it is asked.
    in_force: ArcSwap<Vec<Arc<Slot>>>,
    /// Held by whoever makes a change.
    change: Mutex<()>,
    refusals: Refusals,
}

impl Policies {
    /// Takes over what a start has found and the HRM judges by.
    #[must_use]
    pub fn new(ground: Ground, hrm: Hrm, slots: Vec<Arc<Slot>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                ground,
                hrm,
                in_force: ArcSwap::from_pointee(slots),
                change: Mutex::default(),
                refusals: Refusals::default(),
            }),
        }
    }

    /// What is in force, in the order it is asked.
    #[must_use]
    pub fn in_force(&self) -> Arc<Vec<Arc<Slot>>> {
        self.inner.in_force.load_full()
    }

    /// How many policies may be in force.
    #[must_use]
    pub fn most(&self) -> usize {
        self.inner.ground.most
    }

    /// Why the host should not be taken as ready: policies that cannot be loaded and deny everything.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let slots = self.in_force();
        let broken = slots.iter().filter_map(|slot| match &slot.enforced {
            Some(Enforced::Broken { reason, .. }) => Some(format!(
                "the operator policy {} denies everything: {reason}",
                slot.name
            )),
            _ => None,
        });
        broken.collect()
    }

    /// How many are enforced, on trial, and broken.
    #[must_use]
    pub fn numbers(&self) -> [(&'static str, usize); 3] {
        let slots = self.in_force();
        let broken = |slot: &&Arc<Slot>| matches!(slot.enforced, Some(Enforced::Broken { .. }));
        let judging = |slot: &&Arc<Slot>| matches!(slot.enforced, Some(Enforced::Policy(_)));
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
    pub fn list(&self) -> Result<Vec<Listed>, ChangeError> {
        let slots = self.in_force();
        let mut rows: Vec<_> = self
            .inner
            .ground
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
    pub fn standing(&self, policy: &Name) -> Result<Option<Standing>, ChangeError> {
        let store = &self.inner.ground.store;
        let Some(row) = store.policy_slot(policy)? else {
            return Ok(None);
        };
        Ok(Some(Standing {
            versions: store.policy_versions(policy)?,
            slot: self.slot(policy),
            refused: self.last_refused(policy),
            row,
        }))
    }

    /// The last refused change of a name since the start.
    #[must_use]
    pub fn last_refused(&self, policy: &Name) -> Option<Refusal> {
        self.inner.refusals.last(policy)
    }

    /// A version with its settings.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn version(
        &self,
        policy: &Name,
        number: u64,
    ) -> Result<(PolicyVersion, Option<Settings>), ChangeError> {
        let version = self.inner.ground.version(policy, number)?;
        let settings = self.inner.ground.settings(policy, &version)?;
        Ok((version, settings))
    }

    /// The component of a version.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn component(&self, policy: &Name, number: u64) -> Result<Vec<u8>, ChangeError> {
        let version = self.inner.ground.version(policy, number)?;
        self.inner.ground.component(policy, &version)
    }

    /// Keeps a version and puts it in force. The same component with the same settings keeps its number.
    ///
    /// # Errors
    /// See [`ChangeError`]. What is refused is recorded with its reason, and whatever was in force stays.
    pub fn upload(
        &self,
        policy: &Name,
        upload: Upload,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let stated = upload.sha256;
        let _turn = self.turn();
        let result = self.bring(policy, upload, terms, order);
        self.note_refusal(policy, Some(stated), &result, order);
        result
    }

    /// Gives a policy other settings, another mode, another place; its component stays.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn revise(
        &self,
        policy: &Name,
        revision: Revision,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.turn();
        let result = self.rework(policy, revision, terms, order);
        self.note_refusal(policy, None, &result, order);
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
        mode: Mode,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.turn();
        if let Some(seen) = self.seen(&terms)? {
            return Ok(seen);
        }
        let before = self.mine(policy, &terms)?;
        let row = before.ok_or_else(|| ChangeError::NoPolicy(policy.clone()))?;
        self.serve(&row, number, mode, "policy.rollout", terms, order)
    }

    /// Enforces the version that was enforced before the one that is.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn roll_back(
        &self,
        policy: &Name,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.turn();
        if let Some(seen) = self.seen(&terms)? {
            return Ok(seen);
        }
        let before = self.mine(policy, &terms)?;
        let row = before.ok_or_else(|| ChangeError::NoPolicy(policy.clone()))?;
        let number = row
            .previous
            .ok_or_else(|| ChangeError::NoPrevious(policy.clone()))?;
        self.serve(&row, number, Mode::Enforce, "policy.rollback", terms, order)
    }

    /// Takes a policy out of force, or only what is on trial of it. Its versions stay.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn delete(
        &self,
        policy: &Name,
        only_shadow: bool,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.turn();
        let before = self.mine(policy, &terms)?;
        let before = before
            .filter(|row| row.enforced.is_some() || row.shadow.is_some())
            .ok_or_else(|| ChangeError::NoPolicy(policy.clone()))?;
        if only_shadow && before.shadow.is_none() {
            return Err(ChangeError::NoShadow(policy.clone()));
        }
        let enforced = before.enforced.filter(|_| only_shadow);
        let mut row = Self::following(&before, order);
        row.shadow = None;
        row.enforce(enforced);
        let what = if only_shadow {
            "policy.end-trial"
        } else {
            "policy.delete"
        };
        self.make(row, Some(&before), None, what, terms, order)
    }

    /// Brings about what is declared in files. What is wrong with one policy is recorded and leaves what was in force under its name; the
    /// others are exchanged. What has changed and what was refused, in words.
    ///
    /// # Errors
    /// The store cannot be read, or the change not be recorded: nothing has changed.
    pub fn declare(
        &self,
        configured: &[Declaration],
        dir: Option<&Path>,
        order: &Order,
    ) -> Result<(Vec<String>, Vec<String>), ChangeError> {
        let _turn = self.turn();
        let ground = &self.inner.ground;
        let declared = declared::read(configured, dir, &ground.measure);
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
        let next: Vec<Next> = ground
            .declared(declared, order, |name| find_slot(&slots, name).is_some())?
            .into_iter()
            .filter(|next| next.changed)
            .collect();
        let changed = next
            .iter()
            .map(|next| next.row.policy.to_string())
            .collect();
        if !next.is_empty() {
            self.commit(next, None, order)?;
        }
        Ok((changed, refused))
    }

    /// Records that a change was refused before it could be looked at.
    pub fn refuse(&self, policy: &Name, reason: String, order: &Order) {
        self.record_refusal(policy, None, reason, order);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.inner.change.lock();
        turn.unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, policy: &Name) -> Option<Arc<Slot>> {
        find_slot(&self.in_force(), policy).cloned()
    }

    /// What is kept under a name that operators have the say over, if it is at the revision that was meant.
    fn mine(&self, policy: &Name, terms: &Terms) -> Result<Option<PolicySlot>, ChangeError> {
        let row = self.inner.ground.store.policy_slot(policy)?;
        if let Some(row) = &row
            && row.source != PolicySource::Api
            && (row.enforced.is_some() || row.shadow.is_some())
        {
            return Err(ChangeError::Declared {
                policy: policy.clone(),
                owner: row.source,
            });
        }
        let current = row.as_ref().map_or(0, |row| row.revision);
        match terms.expected {
            Some(expected) if expected != current => Err(ChangeError::Stale {
                policy: policy.clone(),
                expected,
                current,
            }),
            _ => Ok(row),
        }
    }

    /// The answer that was given under the same key before.
    fn seen(&self, terms: &Terms) -> Result<Option<Changed>, ChangeError> {
        let Some(key) = &terms.idempotency else {
            return Ok(None);
        };
        match self.inner.ground.store.idempotent(&key.scope, &key.key)? {
            None => Ok(None),
            Some(seen) if seen.request == key.request => serde_json::from_str(&seen.answer)
                .map(Some)
                .map_err(|_| ChangeError::KeyReused),
            Some(_) => Err(ChangeError::KeyReused),
        }
    }

    /// What was wrong with what somebody sent is remembered; what the host could not do is not.
    fn note_refusal(
        &self,
        policy: &Name,
        stated: Option<Digest>,
        result: &Result<Changed, ChangeError>,
        order: &Order,
    ) {
        if let Err(ChangeError::Unfit(unfit)) = result {
            self.record_refusal(policy, stated, unfit.to_string(), order);
        }
    }

    fn record_refusal(&self, policy: &Name, sha256: Option<Digest>, reason: String, order: &Order) {
        tracing::warn!(%policy, by = order.by, reason, "an operator policy was refused");
        let body = json!({"order": "policy.refused", "policy": policy, "sha256": sha256, "refusal": reason});
        let now = Millis::now();
        let unit = Unit {
            audit: vec![entry(body, order, now)],
            at: now,
            ..Unit::default()
        };
        if let Err(error) = self.inner.ground.store.commit(unit) {
            tracing::error!(%policy, %error, "a refused policy could not be recorded");
        }
        let refusal = Refusal {
            at_ms: now,
            by: order.by.clone(),
            sha256,
            reason,
        };
        self.inner.refusals.remember(policy, refusal);
    }
}

fn find_slot<'a>(slots: &'a [Arc<Slot>], policy: &Name) -> Option<&'a Arc<Slot>> {
    slots.iter().find(|slot| slot.name == *policy)
}

fn entry(mut body: Value, order: &Order, now: Millis) -> AuditEntry {
    let what = body["order"].as_str().map(str::to_owned);
    body["by"] = json!(order.by);
    body["reason"] = json!(order.reason);
    AuditEntry {
        kind: AuditKind::Operator,
        id: ark_model::ids::DecisionId::fresh().to_string(),
        trace_id: Some(order.trace_id),
        agent: None,
        action_type: what,
        outcome: None,
        at: now,
        body: body.to_string(),
    }
}
