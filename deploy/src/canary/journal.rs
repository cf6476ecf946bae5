//! The journal of a canary, and what it says about where the canary stands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ark_model::ids::{Digest, Millis};
use serde::{Deserialize, Serialize};

use crate::exchange::hosts::serving::{HostIdentity, Serving};
use crate::haproxy::HaproxyAddress;
use crate::quarantines::QuarantineMark;

use super::analysis::{Counts, Tripwire};
use super::plan::{Baseline, CanaryPlan, TakeOverPlan};

/// A step of the take-over. In its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakeOverStep {
    /// A snapshot is made.
    Snapshot,
    /// The new version judges the recorded decisions again.
    Replay,
    /// The old host is stopped.
    Stop,
    /// The new host is started.
    Start,
}

impl TakeOverStep {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Replay => "replay",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }
}

/// An entry: what is about to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CanaryEntry {
    /// A canary begins.
    Started(Box<CanaryStart>),
    /// What was counted before the share of the next entry is given.
    Counted(Counts),
    /// The front is given a share.
    Share(u32),
    /// The share is kept; `false`: not any more.
    Paused(bool),
    /// An operator has it go on from this share at the next success.
    Promoting(u32),
    /// Options were taken over by a run that goes on: how the data is taken over from here on.
    Corrected(Box<TakeOverPlan>),
    /// Likewise: where `HAProxy` is from here on.
    CorrectedHaproxy(HaproxyAddress),
    /// The process of the stable version that is about to be stopped.
    Serves(HostIdentity),
    /// A step of the take-over.
    TakingOver(TakeOverStep),
    /// What the replay found: the snapshot, and how many decisions were judged alike.
    Replayed { snapshot: PathBuf, decisions: u64 },
    /// Everything is undone.
    GoingBack {
        tripwire: Option<Tripwire>,
        reason: String,
    },
    /// The way back was refused, since decisions would be lost: the new version serves on, and the take-over may be finished.
    BackRefused,
}

/// What is known when a canary begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CanaryStart {
    pub(super) id: String,
    pub(super) plan: CanaryPlan,
    pub(super) baseline: Baseline,
    /// When it began, by the clock of the command.
    pub(super) began_at: Millis,
    /// From when on an agent that is put into quarantine counts; absent in the journal of an earlier version.
    #[serde(default)]
    pub(super) quarantines: Option<QuarantineMark>,
    /// What was counted before; absent in the journal of an earlier version.
    #[serde(default)]
    pub(super) counts: Option<Counts>,
    /// The weights of all servers of the backend.
    pub(super) weights: BTreeMap<String, u32>,
    /// The digest of the program of the host that serves, which is the way back; absent where it cannot be told, or nothing is taken over.
    #[serde(default)]
    pub(super) stable_build: Option<Digest>,
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
    /// What was counted before that share was given first; `None`: the journal, of an earlier version, does not have it.
    #[serde(skip)]
    pub(super) counted: Option<Counts>,
    /// Whether that share is kept until an operator says otherwise.
    pub paused: bool,
    /// The share from which it goes on at the next success, by an operator's word: shares grow, so that it is no word for the next one.
    #[serde(skip)]
    pub(super) promoting: Option<u32>,
    /// The step of the take-over, if that has begun.
    pub take_over: Option<TakeOverStep>,
    /// Whether the host was stopped, also where a later run has begun the take-over again.
    #[serde(skip)]
    pub(super) was_stopped: bool,
    /// The process of the stable version that was about to be stopped last.
    #[serde(skip)]
    pub(super) served: Option<HostIdentity>,
    /// What the replay found.
    #[serde(skip)]
    pub(super) replayed: Option<(PathBuf, u64)>,
    /// Why it goes back, if it does.
    pub going_back: Option<String>,
    /// The tripwire for which it goes back.
    pub tripwire: Option<Tripwire>,
}

impl CanaryState {
    /// A canary without a share.
    pub(super) fn from_start(begin: &CanaryStart) -> Self {
        Self {
            id: begin.id.clone(),
            version: begin.plan.version.clone(),
            share_pct: 0,
            counted: None,
            paused: false,
            promoting: None,
            take_over: None,
            was_stopped: false,
            served: None,
            replayed: None,
            going_back: None,
            tripwire: None,
        }
    }

    /// Whether an earlier run started the new version, and it serves: it is left as it is.
    pub(super) fn is_running(&self, serving: &Serving) -> bool {
        self.take_over == Some(TakeOverStep::Start) && *serving == Serving::Wanted
    }

    /// Whether what the replay found holds still. While no other version serves, nothing is decided after it.
    pub(super) fn is_replayed(&self, serving: &Serving) -> bool {
        let is_valid =
            self.is_running(serving) || (self.was_stopped && *serving == Serving::Nothing);
        is_valid && self.replayed.is_some()
    }

    /// Takes a share over, which ends a pause, and a take-over that an operator has kept from stopping the host. `counted`: what was counted before.
    pub(super) const fn set_share(&mut self, share_pct: u32, counted: Option<Counts>) {
        self.share_pct = share_pct;
        self.counted = counted;
        self.paused = false;
        if !self.was_stopped {
            self.take_over = None;
        }
    }

    /// Takes a pause, or its end, over. A pause takes back the word to go on that was given before it.
    pub(super) const fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        if paused {
            self.promoting = None;
        }
    }

    /// Takes a step of the take-over over, which ends a pause: an operator has had the canary go on from it.
    pub(super) fn enter_step(&mut self, phase: TakeOverStep) {
        self.take_over = Some(phase);
        self.paused = false;
        self.was_stopped |= phase >= TakeOverStep::Stop;
    }
}

/// What the entries say; `None`: no canary is under way.
pub(super) fn read_entries(entries: &[CanaryEntry]) -> Option<(CanaryStart, CanaryState)> {
    let mut found: Option<(CanaryStart, CanaryState)> = None;
    let mut counted = None;
    for entry in entries {
        match (entry, &mut found) {
            (CanaryEntry::Started(begin), found) => {
                *found = Some((CanaryStart::clone(begin), CanaryState::from_start(begin)));
            }
            (CanaryEntry::Counted(counts), Some(_)) => counted = Some(*counts),
            (CanaryEntry::Share(share), Some((_, state))) => {
                state.set_share(*share, counted.take());
            }
            (CanaryEntry::Paused(paused), Some((_, state))) => state.set_paused(*paused),
            (CanaryEntry::Promoting(share), Some((_, state))) => state.promoting = Some(*share),
            (CanaryEntry::TakingOver(phase), Some((_, state))) => state.enter_step(*phase),
            (
                CanaryEntry::Replayed {
                    snapshot,
                    decisions,
                },
                Some((_, state)),
            ) => {
                state.replayed = Some((snapshot.clone(), *decisions));
            }
            (CanaryEntry::GoingBack { tripwire, reason }, Some((_, state))) => {
                state.going_back = Some(reason.clone());
                state.tripwire = *tripwire;
            }
            (CanaryEntry::Corrected(plan), Some((begin, _))) => {
                begin.plan.take_over = Some(TakeOverPlan::clone(plan));
            }
            (CanaryEntry::CorrectedHaproxy(address), Some((begin, _))) => {
                begin.plan.haproxy = address.clone();
            }
            (CanaryEntry::Serves(process), Some((_, state))) => {
                state.served = Some(process.clone());
            }
            (CanaryEntry::BackRefused, Some((_, state))) => {
                state.going_back = None;
                state.tripwire = None;
            }
            (_, None) => {}
        }
    }
    found
}
