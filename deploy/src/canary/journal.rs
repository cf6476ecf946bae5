//! The journal of a canary, and what it says about where the canary stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{Baseline, CanaryPlan};
use super::tripwires::Tripwire;

/// A step of the take-over. In its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A snapshot is made.
    Snapshot,
    /// The new version judges the recorded decisions again.
    Replay,
    /// The old host is stopped.
    Stop,
    /// The new host is started.
    Start,
}

/// An entry: what is about to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// A canary begins.
    Started(Box<Begin>),
    /// The front is given a share.
    Share(u32),
    /// A step of the take-over.
    TakingOver(Phase),
    /// Everything is undone.
    GoingBack {
        tripwire: Option<Tripwire>,
        reason: String,
    },
}

/// What is known when a canary begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) id: String,
    pub(super) plan: CanaryPlan,
    pub(super) baseline: Baseline,
    /// The weights of all servers of the backend.
    pub(super) weights: BTreeMap<String, u32>,
    /// When the front's process began, by its own metric.
    pub(super) front_started: f64,
}

/// Where a canary stands that has not ended.
#[derive(Debug, Clone, Serialize)]
pub struct CanaryState {
    /// Its id.
    pub id: String,
    /// The new version.
    pub version: String,
    /// The share that it was given last; 0: none yet.
    pub share_pct: u32,
    /// The step of the take-over, if that has begun.
    pub take_over: Option<Phase>,
    /// Why it goes back, if it does.
    pub going_back: Option<String>,
}

/// What the entries say; `None`: no canary is under way.
pub(super) fn read_entries(entries: &[Entry]) -> Option<(Begin, CanaryState, Option<Tripwire>)> {
    let mut found: Option<(Begin, CanaryState, Option<Tripwire>)> = None;
    for entry in entries {
        match (entry, &mut found) {
            (Entry::Started(begin), found) => {
                let state = CanaryState {
                    id: begin.id.clone(),
                    version: begin.plan.version.clone(),
                    share_pct: 0,
                    take_over: None,
                    going_back: None,
                };
                *found = Some((Begin::clone(begin), state, None));
            }
            (Entry::Share(share), Some((_, state, _))) => state.share_pct = *share,
            (Entry::TakingOver(phase), Some((_, state, _))) => state.take_over = Some(*phase),
            (Entry::GoingBack { tripwire, reason }, Some((_, state, cause))) => {
                state.going_back = Some(reason.clone());
                *cause = *tripwire;
            }
            (_, None) => {}
        }
    }
    found
}
