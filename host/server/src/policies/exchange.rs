//! Making a change: from what is wanted to a slot that judges, committed with what must be kept of it.

use std::sync::Arc;

use serde_json::json;

use crate::changes::Order;
use crate::hrm::chain::Slot;
use crate::hrm::{HrmError, PolicySwap};
use ark_model::ids::{Millis, Name};
use ark_model::policy::{Mode, PolicySource};
use ark_store::{IdempotencyRecord, PolicySlot, Unit};

use super::change::{ChangeError, Changed, NewSettings, Revision, Terms, Upload};
use super::fitting::{Fit, pinned};
use super::slots::{self, Next, Numbers, in_order};
use super::{LAST, Policies};

impl Policies {
    pub(super) fn bring(
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
            Some(before) => Self::following(before, order),
            None => PolicySlot::first(policy, LAST, order.by.clone()),
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

    pub(super) fn rework(
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
        let mut row = Self::following(&before, order);
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
        if let Some(NewSettings(settings)) = revision.settings {
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
    pub(super) fn serve(
        &self,
        before: &PolicySlot,
        number: u64,
        mode: Mode,
        what: &str,
        terms: Terms,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let mut row = Self::following(before, order);
        self.inner.ground.version(&before.policy, number)?;
        row.put(number, mode);
        self.make(row, Some(before), None, what, terms, order)
    }

    pub(super) fn following(before: &PolicySlot, order: &Order) -> PolicySlot {
        PolicySlot {
            source: PolicySource::Api,
            revision: before.revision + 1,
            by: order.by.clone(),
            at: Millis::now(),
            ..before.clone()
        }
    }

    /// Makes a slot what its row says, with a version that was just looked at, if there is one.
    pub(super) fn make(
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
    pub(super) fn commit(
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
}

/// A version that was just looked at.
pub(super) struct Fresh {
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
