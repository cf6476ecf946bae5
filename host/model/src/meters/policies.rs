//! What each operator policy does while it is in force. A version in a mode has a meter; a name has a tally over all its versions for as long as
//! one of them is in force.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::decision::{Decision, Outcome, PolicyVerdict};
use crate::ids::{DecisionId, Digest, Name};
use crate::policy::PolicyMode;

use super::handles::{Counter, Peak};

/// The number of decisions that [`PolicySlotMeter::recent_differing`] returns at most.
const RECENT: usize = 10;

/// How the verdict of a version in shadow mode compares with the decision, in the order of [`PolicyTally::compared`].
pub const COMPARISONS: [&str; 3] = ["same", "different", "failed"];

/// What all versions of one name did.
#[derive(Debug, Default)]
pub struct PolicyTally {
    /// Evaluations, including dry runs: enforced, shadow.
    pub evaluations: [Counter; 2],
    /// The time that the evaluations took, in nanoseconds: enforced, shadow.
    pub busy_nanos: [Counter; 2],
    /// Decisions about which a version in shadow mode was asked, in the order of [`COMPARISONS`].
    pub compared: [Counter; 3],
}

/// A decision that would have had another outcome if a version in shadow mode had been enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DifferingDecision {
    /// The id of the decision.
    pub decision_id: DecisionId,
    /// The outcome of the decision.
    pub outcome: Outcome,
    /// The outcome it would have had.
    pub would_be: Outcome,
}

/// What one version does in one mode.
#[derive(Debug)]
pub struct PolicySlotMeter {
    /// The name of the policy.
    pub name: Name,
    /// The SHA-256 of the component.
    pub sha256: Digest,
    /// The SHA-256 of the settings; absent: there are none.
    pub settings: Option<Digest>,
    /// Whether the verdicts affect the outcome.
    pub mode: PolicyMode,
    /// Evaluations, including dry runs.
    pub evaluations: Counter,
    /// The time that the evaluations took, in nanoseconds.
    pub busy_nanos: Counter,
    /// The longest evaluation, in nanoseconds.
    pub slowest_nanos: Peak,
    /// Decisions for which the version was asked.
    pub decisions: Counter,
    /// The decisions among these for which it could not judge.
    pub failures: Counter,
    /// In shadow mode: decisions that would have had another outcome.
    pub differing: Counter,
    recent: Mutex<VecDeque<DifferingDecision>>,
    tally: Arc<PolicyTally>,
}

impl PolicySlotMeter {
    /// Records an evaluation.
    pub fn record_evaluation(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mode = usize::from(self.mode == PolicyMode::Shadow);
        self.evaluations.increment();
        self.busy_nanos.add(nanos);
        self.slowest_nanos.record(nanos);
        self.tally.evaluations[mode].increment();
        self.tally.busy_nanos[mode].add(nanos);
    }

    /// Returns the latest decisions that would have had another outcome, newest first.
    #[must_use]
    pub fn recent_differing(&self) -> Vec<DifferingDecision> {
        let recent = self.recent.lock();
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
            let mut recent = self.recent.lock();
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

/// The meters of the versions in force.
#[derive(Debug, Default)]
pub struct PolicySlotMeters(RwLock<Vec<Arc<PolicySlotMeter>>>);

impl PolicySlotMeters {
    /// Returns the meter of a version in a mode: the one that is in force, else a new one, which shares the tally of its name.
    #[must_use]
    pub fn for_slot(
        &self,
        name: &Name,
        sha256: Digest,
        settings: Option<Digest>,
        mode: PolicyMode,
    ) -> Arc<PolicySlotMeter> {
        let slots = self.0.read();
        let under = || slots.iter().filter(|slot| slot.name == *name);
        let same = |slot: &&Arc<PolicySlotMeter>| {
            (slot.sha256, slot.settings, slot.mode) == (sha256, settings, mode)
        };
        if let Some(known) = under().find(same) {
            return Arc::clone(known);
        }
        let tally = under().next().map(|slot| Arc::clone(&slot.tally));
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

    /// Sets the versions that are in force from now on.
    pub fn set_in_force(&self, slots: Vec<Arc<PolicySlotMeter>>) {
        *self.0.write() = slots;
    }

    /// Returns the tallies, by name.
    #[must_use]
    pub fn tallies(&self) -> BTreeMap<Name, Arc<PolicyTally>> {
        let slots = self.0.read();
        slots
            .iter()
            .map(|slot| (slot.name.clone(), Arc::clone(&slot.tally)))
            .collect()
    }

    /// Records a decision that is durable. The first verdict is the Graveyard's, which is not an operator policy.
    pub fn record_decision(&self, decision: &Decision) {
        if decision.verdicts.len() < 2 && decision.shadows.is_empty() {
            return;
        }
        let slots = self.0.read();
        for part in decision.verdicts.iter().skip(1) {
            if let Some(slot) = slots
                .iter()
                .find(|slot| slot.is_for(part, PolicyMode::Enforce))
            {
                slot.record_verdict(part);
            }
        }
        for shadow in &decision.shadows {
            let part = &shadow.policy_verdict;
            if let Some(slot) = slots
                .iter()
                .find(|slot| slot.is_for(part, PolicyMode::Shadow))
            {
                slot.record_verdict(part);
                slot.record_comparison(decision, part, shadow.outcome);
            }
        }
    }
}
