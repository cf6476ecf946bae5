//! What the API shows of an operator policy.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::http::answer::{answer_from, convert_rows};
use crate::hrm::policies_in_force::{ConfiguredPolicy, EnforcedPolicy, SlotInForce};
use crate::policies::PolicyChangeReceipt;
use ark_model::decision::{Outcome, PolicyIdentity};
use ark_model::ids::{DecisionId, Digest, Millis, Name};
use ark_model::meters::DifferingDecision;
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::settings::Settings;
use ark_model::verdict::Rule;
use ark_store::{PolicySlot, PolicyVersion};

use crate::api::v1::uploads::RefusalView;

/// A page of operator policies, in the order they are asked; those not in force last.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyPage {
    pub(crate) policies: Vec<PolicyLine>,
    /// How many may be in force.
    pub(crate) most: usize,
    /// The cursor of the next page, if there may be one.
    pub(crate) next_cursor: Option<String>,
}

/// A version that is in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct InForce {
    pub(crate) number: u64,
    /// What the component says of itself.
    pub(crate) version: Option<String>,
    pub(crate) sha256: Option<Digest>,
}

/// An operator policy.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyLine {
    pub(crate) name: Name,
    /// Lower ones are asked first, equal ones by name.
    #[serde(rename = "order")]
    pub(crate) place: u32,
    /// Where it is managed: in the configuration, in the policies' directory, or over the API.
    pub(crate) source: PolicySource,
    pub(crate) revision: u64,
    /// The version whose verdict counts.
    pub(crate) enforced: Option<InForce>,
    /// The version on trial.
    pub(crate) shadow: Option<InForce>,
    /// The number of the version whose verdict counted before.
    pub(crate) previous: Option<u64>,
    /// Why it denies everything, if it cannot be loaded.
    pub(crate) broken: Option<String>,
    pub(crate) changed_by: String,
    pub(crate) changed_at_ms: Millis,
}

/// An operator policy: what is in force, how it does, and its versions. Fields that are known only of a stored policy are left out of others.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct PolicyShown {
    pub(crate) name: String,
    /// Lower ones are asked first, equal ones by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "order")]
    pub(crate) place: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<PolicySource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<u64>,
    /// The version whose verdict counts.
    pub(crate) enforced: Option<PolicyVersionShown>,
    /// The version on trial.
    pub(crate) shadow: Option<PolicyVersionShown>,
    /// The number of the version whose verdict counted before.
    pub(crate) previous: Option<u64>,
    /// Why it denies everything, if it cannot be loaded.
    pub(crate) broken: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed_at_ms: Option<Millis>,
    /// The rules of the version that judges, or else of the one on trial.
    pub(crate) rules: Option<Vec<Rule>>,
    /// Its versions, the newest first.
    pub(crate) versions: Vec<PolicyVersionLine>,
    /// The last change that was refused since the start.
    pub(crate) last_refused: Option<RefusalView>,
}

/// A version of an operator policy.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyVersionLine {
    pub(crate) number: u64,
    /// What the component says of itself.
    pub(crate) version: String,
    pub(crate) sha256: Digest,
    pub(crate) settings_sha256: Option<Digest>,
    /// How many test vectors it carries, all of which it passed.
    pub(crate) vectors: u32,
    /// The mode in which it is in force, if it is.
    pub(crate) mode: Option<PolicyMode>,
    pub(crate) source: PolicySource,
    /// The mode in which it was uploaded or declared.
    pub(crate) brought_as: PolicyMode,
    pub(crate) brought_by: String,
    pub(crate) brought_at_ms: Millis,
}

/// A version with its settings, and its counters since it is in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyVersionShown {
    #[serde(flatten)]
    pub(crate) line: PolicyVersionLine,
    #[schema(value_type = Option<Object>)]
    pub(crate) settings: Option<Settings>,
    #[serde(flatten)]
    pub(crate) doing: Option<Doing>,
}

/// The counters of a version since it is in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct Doing {
    /// How often it was asked, previews included.
    pub(crate) evaluations: u64,
    /// Decisions it took part in.
    pub(crate) decisions: u64,
    pub(crate) failures: u64,
    /// Microseconds an evaluation takes, on average.
    pub(crate) mean_us: Option<f64>,
    pub(crate) slowest_us: f64,
    #[serde(flatten)]
    pub(crate) trial: Option<TrialSoFar>,
}

/// What a version on trial would have changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct TrialSoFar {
    /// Decisions whose outcome was compared.
    pub(crate) compared: u64,
    /// Those that would have had another outcome.
    pub(crate) would_differ: u64,
    pub(crate) latest_differing: Vec<DifferingView>,
    /// Whether it failed too often and is not asked any more.
    pub(crate) gave_up: bool,
}

answer_from! { DifferingDecision =>
    /// A decision that would have had another outcome if a version in shadow mode had been enforced.
    #[schema(as = Differing)]
    pub(crate) struct DifferingView {
        /// The id of the decision.
        decision_id: DecisionId,
        /// The outcome of the decision.
        outcome: Outcome,
        /// The outcome it would have had.
        would_be: Outcome,
    }
}

answer_from! { PolicyChangeReceipt =>
    /// A change that was made.
    #[schema(as = PolicyChanged)]
    pub(crate) struct PolicyChanged {
        /// The policy.
        policy: Name,
        /// The version that the change is about; absent when it is about the policy as a whole.
        number: Option<u64>,
        /// SHA-256 of that version's component.
        sha256: Option<Digest>,
        /// SHA-256 of that version's settings.
        settings_sha256: Option<Digest>,
        /// How many test vectors that version carries. It passed all of them.
        vectors: Option<u32>,
        /// The policy's place among the others.
        #[serde(rename = "order")]
        place: u32,
        /// The version whose verdict counts now.
        enforced: Option<u64>,
        /// The version on trial now.
        shadow: Option<u64>,
        /// The version whose verdict counted before.
        previous: Option<u64>,
        /// The policy's revision now.
        revision: u64,
        /// What the operator should know about the change.
        remarks: Vec<String>,
    }
}

pub(crate) fn enforced_of(slot: Option<&SlotInForce>) -> Option<&ConfiguredPolicy> {
    match slot.and_then(|slot| slot.enforced.as_ref()) {
        Some(EnforcedPolicy::Loaded(set_up)) => Some(set_up),
        _ => None,
    }
}

pub(crate) fn rules_of(slot: Option<&SlotInForce>) -> Option<&Vec<Rule>> {
    let slot = slot?;
    let enforced = slot.enforced.as_ref().map(EnforcedPolicy::identity);
    let identity = enforced.or_else(|| slot.shadow.as_ref().map(|shadow| shadow.identity()))?;
    Some(&identity.metadata.rules)
}

pub(crate) fn summarize_policy(row: &PolicySlot, slot: Option<&SlotInForce>) -> PolicyLine {
    let broken = match slot.and_then(|slot| slot.enforced.as_ref()) {
        Some(EnforcedPolicy::Broken { reason, .. }) => Some(reason.clone()),
        _ => None,
    };
    let identity = |number: Option<u64>, identity: Option<&Arc<PolicyIdentity>>| {
        number.map(|number| InForce {
            number,
            version: identity.map(|identity| identity.metadata.version.clone()),
            sha256: identity.map(|identity| identity.digest),
        })
    };
    let enforced = slot.and_then(|slot| slot.enforced.as_ref());
    let shadow = slot.and_then(|slot| slot.shadow.as_ref());
    PolicyLine {
        name: row.policy.clone(),
        place: row.place,
        source: row.source,
        revision: row.revision,
        enforced: identity(row.enforced, enforced.map(EnforcedPolicy::identity)),
        shadow: identity(row.shadow, shadow.map(|shadow| shadow.identity())),
        previous: row.previous,
        broken,
        changed_by: row.by.clone(),
        changed_at_ms: row.at,
    }
}

pub(crate) fn describe_version(version: &PolicyVersion, row: &PolicySlot) -> PolicyVersionLine {
    let mode = if row.enforced == Some(version.number) {
        Some(PolicyMode::Enforce)
    } else if row.shadow == Some(version.number) {
        Some(PolicyMode::Shadow)
    } else {
        None
    };
    PolicyVersionLine {
        number: version.number,
        version: version.version.clone(),
        sha256: version.sha256,
        settings_sha256: version.settings,
        vectors: version.vectors,
        mode,
        source: version.source,
        brought_as: version.mode,
        brought_by: version.by.clone(),
        brought_at_ms: version.at,
    }
}

pub(crate) fn read_activity(set_up: &ConfiguredPolicy) -> Doing {
    let meter = set_up.meter();
    let (evaluations, busy) = (meter.evaluations.get(), meter.busy_nanos.get());
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    Doing {
        evaluations,
        decisions: meter.decisions.get(),
        failures: meter.failures.get(),
        mean_us: (evaluations > 0).then(|| micros(busy) / evaluations as f64),
        slowest_us: micros(meter.slowest_nanos.get()),
        trial: (meter.mode == PolicyMode::Shadow).then(|| TrialSoFar {
            compared: meter.decisions.get().saturating_sub(meter.failures.get()),
            would_differ: meter.differing.get(),
            latest_differing: convert_rows(meter.recent_differing()),
            gave_up: set_up.is_given_up(),
        }),
    }
}
