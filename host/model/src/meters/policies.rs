//! What each operator policy does while it is in force: a version has a meter from the moment it is set up, a name a tally for as long as
//! something is in force under it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::decision::{Decision, Outcome, PolicyVerdict};
use crate::ids::{DecisionId, Digest, Name};
use crate::policy::PolicyMode;

use super::{Counter, Peak};

/// How many of the latest decisions that a policy on trial would have changed are remembered.
const RECENT: usize = 10;

/// How a policy on trial compares, in the order of [`PolicyTally::compared`].
pub const COMPARISONS: [&str; 3] = ["same", "different", "failed"];

/// What all versions under one name did.
#[derive(Debug, Default)]
pub struct PolicyTally {
    /// Evaluations, dry runs too: enforced, on trial.
    pub evaluations: [Counter; 2],
    /// Nanoseconds they took.
    pub busy_nanos: [Counter; 2],
    /// Decisions of which a version on trial said something, as in [`COMPARISONS`].
    pub compared: [Counter; 3],
}

/// A decision that a policy on trial would have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct DifferingDecision {
    /// Which.
    pub decision_id: DecisionId,
    /// As it was decided.
    pub outcome: Outcome,
    /// As it would have been.
    pub would_be: Outcome,
}

/// What one version does in one mode.
#[derive(Debug)]
pub struct PolicySlotMeter {
    /// Under which name.
    pub name: Name,
    /// Its component.
    pub sha256: Digest,
    /// Its settings.
    pub settings: Option<Digest>,
    /// Whether its verdicts count.
    pub mode: PolicyMode,
    /// Evaluations, dry runs too.
    pub evaluations: Counter,
    /// Nanoseconds they took.
    pub busy_nanos: Counter,
    /// The longest, in nanoseconds.
    pub slowest_nanos: Peak,
    /// Decisions it judged.
    pub decisions: Counter,
    /// Of these those for which it could not answer.
    pub failures: Counter,
    /// On trial: decisions that it would have changed.
    pub differing: Counter,
    recent: Mutex<VecDeque<DifferingDecision>>,
    tally: Arc<PolicyTally>,
}

impl PolicySlotMeter {
    /// Notes an evaluation.
    pub fn record_evaluation(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mode = usize::from(self.mode == PolicyMode::Shadow);
        self.evaluations.increment();
        self.busy_nanos.add(nanos);
        self.slowest_nanos.record(nanos);
        self.tally.evaluations[mode].increment();
        self.tally.busy_nanos[mode].add(nanos);
    }

    /// The latest decisions that it would have changed, newest first.
    #[must_use]
    pub fn recent_differing(&self) -> Vec<DifferingDecision> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().copied().collect()
    }

    fn record_verdict(&self, part: &PolicyVerdict) {
        self.decisions.increment();
        if part.verdict.is_err() {
            self.failures.increment();
        }
    }

    fn record_comparison(&self, decision: &Decision, part: &PolicyVerdict, would_be: Outcome) {
        let [same, different, failed] = &self.tally.compared;
        if part.verdict.is_err() {
            failed.increment();
        } else if would_be == decision.outcome {
            same.increment();
        } else {
            different.increment();
            self.differing.increment();
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.truncate(RECENT - 1);
            recent.push_front(DifferingDecision {
                decision_id: decision.id,
                outcome: decision.outcome,
                would_be,
            });
        }
    }

    fn is_for(&self, part: &PolicyVerdict, mode: PolicyMode) -> bool {
        self.mode == mode
            && self.sha256 == part.policy.digest
            && self.settings == part.settings
            && self.name.as_str() == part.policy.metadata.name
    }
}

/// The meters of what is in force.
#[derive(Debug, Default)]
pub struct PolicySlotMeters(RwLock<Vec<Arc<PolicySlotMeter>>>);

impl PolicySlotMeters {
    /// The meter of a version in a mode: the one in force, else a new one, which counts under the same name.
    #[must_use]
    pub fn for_slot(
        &self,
        name: &Name,
        sha256: Digest,
        settings: Option<Digest>,
        mode: PolicyMode,
    ) -> Arc<PolicySlotMeter> {
        let seats = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let under = || seats.iter().filter(|seat| seat.name == *name);
        let same = |seat: &&Arc<PolicySlotMeter>| {
            (seat.sha256, seat.settings, seat.mode) == (sha256, settings, mode)
        };
        if let Some(known) = under().find(same) {
            return Arc::clone(known);
        }
        let tally = under().next().map(|seat| Arc::clone(&seat.tally));
        Arc::new(PolicySlotMeter {
            name: name.clone(),
            sha256,
            settings,
            mode,
            evaluations: Counter::default(),
            busy_nanos: Counter::default(),
            slowest_nanos: Peak::default(),
            decisions: Counter::default(),
            failures: Counter::default(),
            differing: Counter::default(),
            recent: Mutex::default(),
            tally: tally.unwrap_or_default(),
        })
    }

    /// These are in force from now on, and no others.
    pub fn set_in_force(&self, seats: Vec<Arc<PolicySlotMeter>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = seats;
    }

    /// The tallies, by name.
    #[must_use]
    pub fn tallies(&self) -> std::collections::BTreeMap<Name, Arc<PolicyTally>> {
        let seats = self.0.read().unwrap_or_else(PoisonError::into_inner);
        seats
            .iter()
            .map(|seat| (seat.name.clone(), Arc::clone(&seat.tally)))
            .collect()
    }

    /// Counts a decision that is durable. The first verdict is the Graveyard's, which is no operator policy.
    pub fn record_decision(&self, decision: &Decision) {
        if decision.verdicts.len() < 2 && decision.shadows.is_empty() {
            return;
        }
        let seats = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for part in decision.verdicts.iter().skip(1) {
            if let Some(seat) = seats
                .iter()
                .find(|seat| seat.is_for(part, PolicyMode::Enforce))
            {
                seat.record_verdict(part);
            }
        }
        for shadow in &decision.shadows {
            let part = &shadow.policy_verdict;
            if let Some(seat) = seats
                .iter()
                .find(|seat| seat.is_for(part, PolicyMode::Shadow))
            {
                seat.record_verdict(part);
                seat.record_comparison(decision, part, shadow.outcome);
            }
        }
    }
}
