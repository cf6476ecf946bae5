//! What the API shows of an operator policy.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::hrm::chain::{Enforced, SetUp, Slot};
use crate::model::decision::PolicyIdentity;
use crate::model::policy::Mode;
use crate::model::verdict::Rule;
use crate::store::{PolicySlot, PolicyVersion};

pub(super) fn enforced_of(slot: Option<&Slot>) -> Option<&SetUp> {
    match slot.and_then(|slot| slot.enforced.as_ref()) {
        Some(Enforced::Policy(set_up)) => Some(set_up),
        _ => None,
    }
}

pub(super) fn rules_of(slot: Option<&Slot>) -> Option<&Vec<Rule>> {
    let slot = slot?;
    let enforced = slot.enforced.as_ref().map(Enforced::identity);
    let identity = enforced.or_else(|| slot.shadow.as_ref().map(|shadow| shadow.identity()))?;
    Some(&identity.metadata.rules)
}

pub(super) fn summary(row: &PolicySlot, slot: Option<&Slot>) -> Value {
    let broken = match slot.and_then(|slot| slot.enforced.as_ref()) {
        Some(Enforced::Broken { reason, .. }) => Some(reason),
        _ => None,
    };
    let identity = |number: Option<u64>, identity: Option<&Arc<PolicyIdentity>>| {
        number.map(|number| {
            json!({
                "number": number,
                "version": identity.map(|identity| &identity.metadata.version),
                "sha256": identity.map(|identity| identity.digest),
            })
        })
    };
    let enforced = slot.and_then(|slot| slot.enforced.as_ref());
    let shadow = slot.and_then(|slot| slot.shadow.as_ref());
    json!({
        "name": row.policy,
        "order": row.order,
        "source": row.source,
        "revision": row.revision,
        "enforced": identity(row.enforced, enforced.map(Enforced::identity)),
        "shadow": identity(row.shadow, shadow.map(|shadow| shadow.identity())),
        "previous": row.previous,
        "broken": broken,
        "changed_by": row.by,
        "changed_at_ms": row.at,
    })
}

pub(super) fn line(version: &PolicyVersion, row: &PolicySlot) -> Value {
    let mode = if row.enforced == Some(version.number) {
        Some(Mode::Enforce)
    } else if row.shadow == Some(version.number) {
        Some(Mode::Shadow)
    } else {
        None
    };
    json!({
        "number": version.number,
        "version": version.version,
        "sha256": version.sha256,
        "settings_sha256": version.settings,
        "vectors": version.vectors,
        "mode": mode,
        "source": version.source,
        "brought_as": version.mode,
        "brought_by": version.by,
        "brought_at_ms": version.at,
    })
}

/// What a version does since it is in force.
pub(super) fn doing(view: &mut Value, set_up: &SetUp) {
    let meter = set_up.meter();
    let (evaluations, busy) = (meter.evaluations.get(), meter.busy_nanos.get());
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    view["evaluations"] = json!(evaluations);
    view["decisions"] = json!(meter.decisions.get());
    view["failures"] = json!(meter.failures.get());
    view["mean_us"] = json!((evaluations > 0).then(|| micros(busy) / evaluations as f64));
    view["slowest_us"] = json!(micros(meter.slowest_nanos.get()));
    if meter.mode == Mode::Shadow {
        let compared = meter.decisions.get().saturating_sub(meter.failures.get());
        view["compared"] = json!(compared);
        view["would_differ"] = json!(meter.differing.get());
        view["latest_differing"] = json!(meter.recent());
        view["gave_up"] = json!(set_up.gave_up());
    }
}
