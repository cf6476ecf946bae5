//! What a front passes on, parks, and judges again.

use std::sync::{Mutex, PoisonError};

use crate::decision::Outcome;

use super::api::ApiMeters;
use super::handles::{Counter, Level, Timing};

/// How the parking of a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[repr(usize)]
pub enum ParkEnd {
    /// The owner was there again, and the request was sent.
    Sent,
    /// The owner was away for too long, came back open to everybody, or the front ended.
    Expired,
    /// As many requests as may be were parked already.
    Full,
}

impl ParkEnd {
    /// Every end, in the order of [`FrontMeters::parked_ends`].
    pub const ALL: [Self; 3] = [Self::Sent, Self::Expired, Self::Full];

    /// Returns the name as a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The result of judging a decision again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[repr(usize)]
pub enum VerdictResult {
    /// The front judges as the owner did.
    Same,
    /// The front judges otherwise, or reads the request otherwise.
    Different,
    /// It could not be judged again.
    Unjudged,
}

impl VerdictResult {
    /// Every result, in the order of [`FrontMeters::verdicts`].
    pub const ALL: [Self; 3] = [Self::Same, Self::Different, Self::Unjudged];

    /// Returns the name as a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why a decision could not be judged again.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[repr(usize)]
pub enum UnjudgedReason {
    /// A dry run leaves no record.
    DryRun,
    /// The owner does not show the record, with its action and facts.
    NoRecord,
    /// The answer or the request was too large to be kept, or there was no memory for the request.
    NotRead,
    /// The answer is not of the form that this version reads.
    UnknownForm,
    /// A policy failed at the owner. The failure may be one of time.
    PolicyFailed,
    /// A policy failed at the front.
    FailedHere,
    /// A policy that judged cannot be had.
    PolicyMissing,
    /// Too many answers waited already.
    Overload,
}

impl UnjudgedReason {
    /// Every reason, in the order of [`FrontMeters::unjudged_reasons`].
    pub const ALL: [Self; 8] = [
        Self::DryRun,
        Self::NoRecord,
        Self::NotRead,
        Self::UnknownForm,
        Self::PolicyFailed,
        Self::FailedHere,
        Self::PolicyMissing,
        Self::Overload,
    ];

    /// Returns the name as a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The name of the process of a front's owner, as it says it itself.
#[derive(Debug, Default)]
pub struct OwnerProcess(Mutex<Option<String>>);

impl OwnerProcess {
    /// Notes the name of the owner's process; `None`: it is away, or does not say it.
    pub fn note_name(&self, process: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }

    /// Returns the name of the owner's process; `None`: it is away, or does not say it.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let process = self.0.lock();
        process.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a front counts.
#[derive(Debug, Default)]
pub struct FrontMeters {
    /// The requests that were answered, no matter who answered them.
    pub api: ApiMeters,
    /// Requests that were parked, by [`ParkEnd`].
    pub parked_ends: [Counter; 3],
    /// How long requests were parked.
    pub parked_time: Timing,
    /// For how many milliseconds a request is parked at most.
    pub hold_for_ms: Level,
    /// The requests that are parked now.
    pub parked: Level,
    /// Requests that were sent again because their connection broke.
    pub repeats: Counter,
    /// Decisions that were judged again, by [`VerdictResult`].
    pub verdicts: [Counter; 3],
    /// Decisions that were not judged again, by [`UnjudgedReason`] (see [`Self::count_unjudged`]).
    pub unjudged_reasons: [Counter; 8],
    /// What the front itself makes of decisions, by outcome (see [`Self::count_judged`]).
    pub judged: [Counter; 3],
    /// Answers whose decisions wait to be judged again.
    pub waiting_verdicts: Level,
    /// 1 while the owner answers.
    pub owner_up: Level,
    /// 1 while the owner answers that it is ready.
    pub owner_ready: Level,
    /// The name of the owner's process.
    pub owner_process: OwnerProcess,
}

impl FrontMeters {
    /// Counts a request that was parked.
    pub fn count_parked(&self, end: ParkEnd) {
        if let Some(count) = self.parked_ends.get(end as usize) {
            count.increment();
        }
    }

    /// Counts what the front makes of a decision.
    pub fn count_judged(&self, outcome: Outcome) {
        if let Some(count) = self.judged.get(outcome as usize) {
            count.increment();
        }
    }

    /// Counts a decision that was not judged again.
    pub fn count_unjudged(&self, reason: UnjudgedReason) {
        self.count_verdict(VerdictResult::Unjudged);
        if let Some(count) = self.unjudged_reasons.get(reason as usize) {
            count.increment();
        }
    }

    /// Counts a decision that was judged again.
    pub fn count_verdict(&self, result: VerdictResult) {
        if let Some(count) = self.verdicts.get(result as usize) {
            count.increment();
        }
    }
}
