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
//! Must not know: HTTP, SQL.

mod change;
mod declared;
mod fitting;
mod slots;
mod start;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use crate::changes::{Order, Refusal, Refusals};
use crate::hrm::chain::{Enforced, Slot};
use crate::hrm::{Hrm, HrmError, PolicySwap};
use crate::model::ids::{Digest, Millis, Name};
use crate::model::policy::{Mode, PolicySource};
use crate::model::settings::Settings;
use crate::store::{AuditEntry, AuditKind, IdempotencyRecord, PolicySlot, PolicyVersion, Unit};

pub use change::{ChangeError, Changed, Revision, Standing, Terms, Unfit, Upload};
pub use declared::{Declaration, LAST, PolicyManifest};
pub use slots::Ground;
pub use start::{StartingPolicies, find};

use fitting::{Fit, pinned};
use slots::{Next, Numbers, in_order};

/// The handle to the operator policies. Cheap to clone. Its changes block: on the compiler, on the disk.
#[derive(Clone)]
pub struct Policies {
    inner: Arc<Inner>,
}

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
    pub fn list(&self) -> Result<Vec<(PolicySlot, Option<Arc<Slot>>)>, ChangeError> {
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
        self.serve(row, number, mode, "policy.rollout", terms, order)
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
        self.serve(row, number, Mode::Enforce, "policy.rollback", terms, order)
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
        let mut row = self.following(&before, order);
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

    fn bring(
        &self,
        policy: &Name,
        upload: Upload,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let before = self.mine(policy, &terms)?;
        pinned(&upload.component, upload.sha256)?;
        let measure = &self.inner.ground.measure;
        let fit = measure.fit(&upload.component, Some(policy), upload.settings)?;
        let mut row = match &before {
            Some(before) => self.following(before, order),
            None => PolicySlot::first(policy, order),
        };
        row.order = match (upload.order, &before) {
            (Some(place), _) => place,
            (None, Some(before)) => before.order,
            (None, None) => LAST,
        };
        let fresh = Fresh {
            fit,
            component: upload.component,
            mode: upload.mode,
        };
        self.make(
            row,
            before.as_ref(),
            Some(fresh),
            "policy.upload",
            terms,
            order,
        )
    }

    fn rework(
        &self,
        policy: &Name,
        revision: Revision,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let before = self.mine(policy, &terms)?;
        let before = before
            .filter(|row| row.enforced.is_some() || row.shadow.is_some())
            .ok_or_else(|| ChangeError::NoPolicy(policy.clone()))?;
        let mut row = self.following(&before, order);
        if let Some(place) = revision.order {
            row.order = place;
        }
        // What is on trial is meant where that is said; else what counts, if there is such a version.
        let (number, mode) = match (revision.mode, before.enforced, before.shadow) {
            (Some(Mode::Shadow), enforced, shadow) => (shadow.or(enforced), Mode::Shadow),
            (Some(Mode::Enforce), enforced, shadow) => (enforced.or(shadow), Mode::Enforce),
            (None, Some(enforced), _) => (Some(enforced), Mode::Enforce),
            (None, None, shadow) => (shadow, Mode::Shadow),
        };
        if let Some(settings) = revision.settings {
            let ground = &self.inner.ground;
            let version = ground.version(policy, number.unwrap_or(0))?;
            let component = ground.component(policy, &version)?;
            let fit = ground.measure.fit(&component, Some(policy), settings)?;
            let fresh = Fresh {
                fit,
                component,
                mode,
            };
            return self.make(
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
            (Some(Mode::Enforce), _, Some(shadow)) => {
                row.shadow = None;
                row.enforce(Some(shadow));
            }
            (Some(Mode::Shadow), Some(enforced), _) => {
                row.enforce(None);
                row.shadow = Some(enforced);
            }
            _ => {}
        }
        self.make(row, Some(&before), None, "policy.revise", terms, order)
    }

    /// Puts a kept version in force in a mode.
    fn serve(
        &self,
        before: PolicySlot,
        number: u64,
        mode: Mode,
        what: &str,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let mut row = self.following(&before, order);
        self.inner.ground.version(&before.policy, number)?;
        row.put(number, mode);
        self.make(row, Some(&before), None, what, terms, order)
    }

    fn following(&self, before: &PolicySlot, order: &Order) -> PolicySlot {
        PolicySlot {
            source: PolicySource::Api,
            revision: before.revision + 1,
            by: order.by.clone(),
            at: Millis::now(),
            ..before.clone()
        }
    }

    /// Makes a slot what its row says, with a version that was just looked at, if there is one.
    fn make(
        &self,
        mut row: PolicySlot,
        before: Option<&PolicySlot>,
        fresh: Option<Fresh>,
        what: &str,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let ground = &self.inner.ground;
        let policy = row.policy.clone();
        let mut versions = Vec::new();
        let mut looked_at: Option<(u64, Fit)> = None;
        if let Some(fresh) = fresh {
            let mut numbers = Numbers::of(ground.store.policy_versions(&policy)?, row.last_number);
            let source = PolicySource::Api;
            let (number, new) = numbers.number(
                &policy,
                &fresh.fit,
                fresh.component,
                source,
                fresh.mode,
                order,
            );
            row.last_number = numbers.last();
            if fresh.mode == Mode::Shadow && row.enforced == Some(number) {
                return Err(ChangeError::IsEnforced { policy, number });
            }
            row.put(number, fresh.mode);
            versions.push(new);
            looked_at = Some((number, fresh.fit));
        }
        let slot = self.slot(&policy);
        let built = ground.build(&row, before.zip(slot.as_deref()), looked_at.as_ref())?;
        let (number, mode) = subject(before, &row, looked_at.as_ref());
        let version = match (number, versions.first()) {
            (None, _) => None,
            (Some(number), Some(new)) if new.version.number == number => Some(new.version.clone()),
            (Some(number), _) => Some(ground.version(&policy, number)?),
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
        let changed = Changed {
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
        let next = Next {
            changed: true,
            records: built.as_ref().map(slots::records).unwrap_or_default(),
            slot: built,
            row,
            versions,
            body,
        };
        self.commit(vec![next], idempotency, order)?;
        tracing::info!(policy = %changed.policy, number, what, by = order.by, enforced = changed.enforced, shadow = changed.shadow, "operator policy changed");
        Ok(changed)
    }

    /// Commits a change in the HRM's thread, where it is in force from that moment on.
    fn commit(
        &self,
        next: Vec<Next>,
        idempotency: Option<IdempotencyRecord>,
        order: &Order,
    ) -> Result<(), ChangeError> {
        let mut slots: Vec<Arc<Slot>> = self.in_force().to_vec();
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
        let most = self.inner.ground.most.max(self.in_force().len());
        if slots.len() > most {
            return Err(ChangeError::TooMany(self.inner.ground.most));
        }
        let slots = in_order(slots);
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
            .map_err(ChangeError::NotRecorded)?;
        self.inner.in_force.store(Arc::new(slots));
        Ok(())
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

/// A version that was just looked at.
struct Fresh {
    fit: Fit,
    component: Vec<u8>,
    mode: Mode,
}

/// Which version a change is about, and in which mode it is now.
fn subject(
    before: Option<&PolicySlot>,
    row: &PolicySlot,
    fresh: Option<&(u64, Fit)>,
) -> (Option<u64>, Option<Mode>) {
    let number = fresh.map(|(number, _)| *number).or_else(|| {
        let stood = before.map_or((None, None), |before| (before.enforced, before.shadow));
        let enforced = row.enforced.filter(|_| row.enforced != stood.0);
        enforced.or_else(|| row.shadow.filter(|_| row.shadow != stood.1))
    });
    let number = number.or(row.enforced).or(row.shadow);
    let mode = number.map(|number| {
        if row.enforced == Some(number) {
            Mode::Enforce
        } else {
            Mode::Shadow
        }
    });
    (number, mode)
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
        id: crate::model::ids::DecisionId::fresh().to_string(),
        trace_id: Some(order.trace_id),
        agent: None,
        action_type: what,
        outcome: None,
        at: now,
        body: body.to_string(),
    }
}
