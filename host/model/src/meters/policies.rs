//! What each operator policy does while it is in force: a version has a meter from the moment it is set up, a name a tally for as long as
//! something is in force under it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::decision::{Decision, Outcome, PolicyVerdict};
use crate::ids::{DecisionId, Digest, Name};
use crate::policy::Mode;

use super::{Count, Peak};

/// How many of the latest decisions that a policy on trial would have changed are remembered.
const RECENT: usize = 10;

/// How a policy on trial compares, in the order of [`PolicyTally::compared`].
pub const COMPARISONS: [&str; 3] = ["same", "different", "failed"];

/// What all versions under one name did.
#[derive(Debug, Default)]
pub struct PolicyTally {
    /// Evaluations, dry runs too: enforced, on trial.
    pub evaluations: [Count; 2],
    /// Nanoseconds they took.
    pub busy_nanos: [Count; 2],
    /// Decisions of which a version on trial said something, as in [`COMPARISONS`].
    pub compared: [Count; 3],
}

/// A decision that a policy on trial would have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Differing {
    /// Which.
    pub decision_id: DecisionId,
    /// As it was decided.
    pub outcome: Outcome,
    /// As it would have been.
    pub would_be: Outcome,
}

/// What one version does in one mode.
#[derive(Debug)]
pub struct SeatMeter {
    /// Under which name.
    pub name: Name,
    /// Its component.
    pub sha256: Digest,
    /// Its settings.
    pub settings: Option<Digest>,
    /// Whether its verdicts count.
    pub mode: Mode,
    /// Evaluations, dry runs too.
    pub evaluations: Count,
    /// Nanoseconds they took.
    pub busy_nanos: Count,
    /// The longest, in nanoseconds.
    pub slowest_nanos: Peak,
    /// Decisions it judged.
    pub decisions: Count,
    /// Of these those for which it could not answer.
    pub failures: Count,
    /// On trial: decisions that it would have changed.
    pub differing: Count,
    recent: Mutex<VecDeque<Differing>>,
    tally: Arc<PolicyTally>,
}

impl SeatMeter {
    /// Notes an evaluation.
    pub fn evaluated(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mode = usize::from(self.mode == Mode::Shadow);
        self.evaluations.one();
        self.busy_nanos.add(nanos);
        self.slowest_nanos.note(nanos);
        self.tally.evaluations[mode].one();
        self.tally.busy_nanos[mode].add(nanos);
    }

    /// The latest decisions that it would have changed, newest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Differing> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().copied().collect()
    }

    fn judged(&self, part: &PolicyVerdict) {
        self.decisions.one();
        if part.verdict.is_err() {
            self.failures.one();
        }
    }

    fn compared(&self, decision: &Decision, part: &PolicyVerdict, would_be: Outcome) {
        let [same, different, failed] = &self.tally.compared;
        if part.verdict.is_err() {
            failed.one();
        } else if would_be == decision.outcome {
            same.one();
        } else {
            different.one();
            self.differing.one();
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.truncate(RECENT - 1);
            recent.push_front(Differing {
                decision_id: decision.id,
                outcome: decision.outcome,
                would_be,
            });
        }
    }

    fn is_of(&self, part: &PolicyVerdict, mode: Mode) -> bool {
        self.mode == mode
            && self.sha256 == part.policy.digest
            && self.settings == part.settings
            && self.name.as_str() == part.policy.metadata.name
    }
}

/// The meters of what is in force.
#[derive(Debug, Default)]
pub struct SeatMeters(RwLock<Vec<Arc<SeatMeter>>>);

impl SeatMeters {
    /// The meter of a version in a mode: the one in force, else a new one, which counts under the same name.
    #[must_use]
    pub fn of(
        &self,
        name: &Name,
        sha256: Digest,
        settings: Option<Digest>,
        mode: Mode,
    ) -> Arc<SeatMeter> {
        let seats = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let under = || seats.iter().filter(|seat| seat.name == *name);
        let same = |seat: &&Arc<SeatMeter>| {
            (seat.sha256, seat.settings, seat.mode) == (sha256, settings, mode)
        };
        if let Some(known) = under().find(same) {
            return Arc::clone(known);
        }
        let tally = under().next().map(|seat| Arc::clone(&seat.tally));
        Arc::new(SeatMeter {
            name: name.clone(),
            sha256,
            settings,
            mode,
            evaluations: Count::default(),
            busy_nanos: Count::default(),
            slowest_nanos: Peak::default(),
            decisions: Count::default(),
            failures: Count::default(),
            differing: Count::default(),
            recent: Mutex::default(),
            tally: tally.unwrap_or_default(),
        })
    }

    /// These are in force from now on, and no others.
    pub fn in_force(&self, seats: Vec<Arc<SeatMeter>>) {
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
    pub fn decided(&self, decision: &Decision) {
        if decision.verdicts.len() < 2 && decision.shadows.is_empty() {
            return;
        }
        let seats = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for part in decision.verdicts.iter().skip(1) {
            if let Some(seat) = seats.iter().find(|seat| seat.is_of(part, Mode::Enforce)) {
                seat.judged(part);
            }
        }
        for shadow in &decision.shadows {
            let part = &shadow.part;
            if let Some(seat) = seats.iter().find(|seat| seat.is_of(part, Mode::Shadow)) {
                seat.judged(part);
                seat.compared(decision, part, shadow.outcome);
            }
        }
    }
}
