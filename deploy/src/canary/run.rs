//! The run of a canary: how it begins or is taken up, and how it ends.
//!
//! Invariants: one process runs a canary, which has its journal; what is about to be done is in the journal before; a host that takes no record of a step
//! does not hold up the canary.
//!
//! Reading order: this file, then [`steps`] (shares and their measurements, orders), [`weights`] (the shares at `HAProxy`), [`take_over`] (of the data),
//! [`replay_watch`] (what is looked at before that stops the host), [`way_back`].
//!
//! Must not know: how a measurement is judged, how a host is stopped and started.

mod replay_watch;
mod steps;
mod take_over;
mod way_back;
mod weights;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ark_client::HostClient;
use serde_json::{Value, json};

use crate::data_lock::DataDirLock;
use crate::exchange::data::database::clear_partial_copies;
use crate::exchange::preflight::check_access;
use crate::exchange::record::{StepQueue, StepRecord};
use crate::exchange::{ExchangeError, GivenOption, HostClients};
use crate::exclusion::{
    ExchangeKind, ExclusionError, OtherJournal, OwnJournal, hold_others, open_own,
};
use crate::journal::Journal;
use crate::runner::RunMark;

use super::analysis::{RecentCounts, Tripwire};
use super::error::CanaryError;
use super::given::take_options;
use super::journal::{CanaryEntry, CanaryStart, CanaryState, read_entries};
use super::orders::OrderInbox;
use super::plan::{CanaryPlan, ExcludedJournals};
use super::prepare::prepare_canary;
use super::report::{CanaryReport, TakeOver};
use super::run_note::RunNote;

pub(super) use weights::check_left_weights;

use steps::Stop;
use weights::WeightReturn;

/// A canary that this process runs.
pub struct HostCanary<'a> {
    client: &'a HostClient,
    /// A client with the token that the way back made.
    admin: Option<HostClient>,
    journal: Journal,
    /// Says that this process runs it.
    mark: Option<RunMark>,
    /// Keeps other exchanges from the data directory that is taken over, whatever address they were given.
    _data_lock: Option<DataDirLock>,
    path: PathBuf,
    begin: CanaryStart,
    state: CanaryState,
    weights: WeightReturn,
    records_waiting: StepQueue,
    /// Why the journal took no entry of the way back.
    unnoted: Option<String>,
    /// How long no host was expected to be there before the host was stopped.
    expected_pause: Option<Duration>,
    /// Whether the journal took no entry of a step, which is why the canary goes back.
    lacks_entry: bool,
    /// The names of the processes that the host was in the steps before.
    hosts: BTreeSet<String>,
    /// What shares are judged of, by the last check.
    recent: RecentCounts,
    /// How many steps were recorded: part of their idempotency keys.
    records: u32,
    tell: &'a mut dyn FnMut(&str, Value),
}

/// Keeps other exchanges from the data directory that the canary takes over, if it does.
fn lock_data(begin: &CanaryStart) -> Result<Option<DataDirLock>, ExclusionError> {
    let plan = begin.plan.take_over.as_ref();
    plan.map(|plan| DataDirLock::acquire(&plan.data_dir))
        .transpose()
}

impl<'a> HostCanary<'a> {
    /// Checks the plan and begins the canary. Calls `tell` with each step and each check.
    ///
    /// # Errors
    /// Something is missing; nothing has changed.
    pub fn start(
        client: &'a HostClient,
        plan: CanaryPlan,
        path: &Path,
        excluded: &ExcludedJournals,
        stop: &AtomicBool,
        tell: &'a mut dyn FnMut(&str, Value),
    ) -> Result<Self, CanaryError> {
        let own = OtherJournal {
            kind: ExchangeKind::Canary,
            path,
        };
        own.refuse_own(client)?;
        excluded.refuse_others(client)?;
        let OwnJournal {
            mut journal, mark, ..
        } = open_own::<CanaryEntry>(client, own.kind, path, stop)?;
        // Another one may have begun and ended in between, or begun and been killed.
        own.refuse_own(client)?;
        check_token(client, None)?;
        let begin = prepare_canary(client, plan)?;
        OrderInbox::new(path, &begin.id).discard_orders();
        let held = hold_others(client, &excluded.list_journals())?;
        let data_lock = lock_data(&begin)?;
        journal.record_entry(&CanaryEntry::Started(Box::new(begin.clone())))?;
        drop(held);
        let state = CanaryState::from_start(&begin);
        let mut canary = Self {
            client,
            admin: None,
            journal,
            mark,
            _data_lock: data_lock,
            path: path.to_owned(),
            begin,
            state,
            weights: WeightReturn::Needed,
            records_waiting: StepQueue::default(),
            unnoted: None,
            expected_pause: None,
            lacks_entry: false,
            hosts: BTreeSet::new(),
            recent: RecentCounts::begin(None),
            records: 0,
            tell,
        };
        let baseline = canary.begin.baseline;
        let reason = format!(
            "{} of {} decisions were denied before",
            baseline.denied, baseline.decisions
        );
        canary.record_step("started", &reason, &json!({"baseline": baseline}));
        Ok(canary)
    }

    /// Takes up a canary whose process ended, with the options that are `given`. `tell` is told each that is taken.
    ///
    /// # Errors
    /// There is none, it runs, its journal cannot be used, or an option is none of this canary.
    pub fn take_up(
        client: &'a HostClient,
        path: &Path,
        given: &[GivenOption],
        tell: &'a mut dyn FnMut(&str, Value),
    ) -> Result<Self, CanaryError> {
        let (mut journal, entries) =
            Journal::open::<CanaryEntry>(path, &ExchangeKind::Canary.owner_for(client))?;
        let mark = RunMark::set_mark(path);
        let found = read_entries(&entries);
        let (mut begin, state) = found.ok_or_else(|| CanaryError::None(client.url().to_owned()))?;
        let data_lock = lock_data(&begin)?;
        let taken = take_options(&mut begin.plan, given)?;
        for entry in &taken.entries {
            journal.record_entry(entry)?;
        }
        for line in &taken.lines {
            tell("taken", json!({"reason": line}));
        }
        let weights = if taken.leaves_weights {
            WeightReturn::Left
        } else {
            WeightReturn::Needed
        };
        if let Some(plan) = &begin.plan.take_over {
            let keeps_trials = state.going_back.is_some();
            clear_partial_copies(&plan.snapshots, &begin.id, keeps_trials, &mut *tell);
        }
        let inbox = OrderInbox::new(path, &begin.id);
        let mut canary = Self {
            client,
            admin: None,
            journal,
            mark,
            _data_lock: data_lock,
            path: path.to_owned(),
            begin,
            state,
            weights,
            records_waiting: StepQueue::default(),
            unnoted: None,
            expected_pause: None,
            lacks_entry: false,
            hosts: BTreeSet::new(),
            recent: RecentCounts::begin(None),
            // Beyond what the ended process can have recorded since its last entry.
            records: u32::try_from(entries.len()).unwrap_or(u32::MAX / 2) * 1000,
            tell,
        };
        if canary.state.going_back.is_none() {
            inbox.obey_abort(&mut || canary.note_abort());
        }
        Ok(canary)
    }

    /// Checks, before a canary that was taken up goes on, that the host takes the token. One that goes back does so without.
    ///
    /// # Errors
    /// The host refuses it; nothing has changed.
    pub fn check_token(&self) -> Result<(), CanaryError> {
        let take_over = self.begin.plan.take_over.as_ref();
        let data_dir = take_over.map(|plan| plan.data_dir.as_path());
        match self.state.going_back {
            Some(_) => Ok(()),
            None => check_token(self.client, data_dir),
        }
    }

    /// Refuses to go on beside a rollback or an upgrade that has begun and not ended, e.g. one that failed when it was to undo this canary. A way back
    /// may go on.
    ///
    /// # Errors
    /// One has; nothing has changed.
    pub fn refuse_others(&self, excluded: &ExcludedJournals) -> Result<(), CanaryError> {
        match self.state.going_back {
            Some(_) => Ok(()),
            None => Ok(excluded.refuse_others(self.client)?),
        }
    }

    /// Refuses to leave the weights alone where the canary would go on to give shares.
    ///
    /// # Errors
    /// It would; nothing has changed.
    pub fn check_weights(&self) -> Result<(), CanaryError> {
        check_left_weights(&self.state, self.weights == WeightReturn::Left)
    }

    /// Goes on to the end: all requests and the data for the new version, or everything back.
    ///
    /// # Errors
    /// It could be neither finished nor undone; the journal says what is left, and `ark canary abort` tries again.
    pub fn resume(mut self, stop: &AtomicBool) -> Result<CanaryReport, CanaryError> {
        // What has begun to go back goes back, also where that is why: a second signal ends the process.
        let never = AtomicBool::new(false);
        if let Some(reason) = self.state.going_back.clone() {
            let tripwire = self.state.tripwire;
            self.note_run(RunNote::GoesBack);
            return self.go_back(tripwire, &reason, &never);
        }
        self.note_run(RunNote::GoesOn);
        let ended = self.take_steps(stop);
        if ended.is_err() {
            self.note_run(RunNote::GoesBack);
        }
        match ended {
            Ok(take_over) => self.finish_canary(take_over),
            Err(Stop::Back(tripwire, reason)) => self.go_back(Some(tripwire), &reason, &never),
            // Whatever it is, the stable version serves again.
            Err(Stop::Failed(error)) => {
                self.lacks_entry = matches!(error, CanaryError::Journal(_));
                let tripwire = match error {
                    CanaryError::TakeOver(ExchangeError::Interrupted(_)) => Tripwire::Aborted,
                    CanaryError::TakeOver(_) => Tripwire::TakeOver,
                    _ => Tripwire::Error,
                };
                self.go_back(Some(tripwire), &error.to_string(), &never)
            }
        }
    }

    /// Undoes everything that the canary has changed, until `stop` is set.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub fn abort(self, reason: &str, stop: &AtomicBool) -> Result<CanaryReport, CanaryError> {
        self.note_run(RunNote::GoesBack);
        // One that goes back already does so for its own reason.
        let (tripwire, reason) = match &self.state.going_back {
            Some(reason) => (self.state.tripwire, reason.clone()),
            None => (Some(Tripwire::Aborted), reason.to_owned()),
        };
        self.go_back(tripwire, &reason, stop)
    }

    fn finish_canary(mut self, take_over: Option<TakeOver>) -> Result<CanaryReport, CanaryError> {
        let reason = match &take_over {
            None => "it has all requests; the host is the old one".to_owned(),
            Some(done) => {
                let pause = match (done.pause_ms, &done.pause_unknown) {
                    (Some(pause), _) => format!("{pause} ms without a host"),
                    (None, why) => why.clone().unwrap_or_default(),
                };
                format!(
                    "it has all requests and the data: {} decisions replayed alike, {pause}; {}",
                    done.replayed, done.serving
                )
            }
        };
        self.record_step("promoted", &reason, &json!({"take_over": take_over}));
        self.journal.clear_entries()?;
        Ok(self.into_report(true, None, reason, take_over))
    }

    fn into_report(
        self,
        promoted: bool,
        tripwire: Option<Tripwire>,
        reason: String,
        take_over: Option<TakeOver>,
    ) -> CanaryReport {
        // An order that came too late stays: who gave it finds how the canary ended.
        self.note_run(if promoted {
            RunNote::Promoted
        } else {
            RunNote::WentBack
        });
        CanaryReport {
            id: self.begin.id,
            version: self.begin.plan.version,
            promoted,
            tripwire,
            reason,
            share_pct: self.state.share_pct,
            take_over,
            token_file: None,
            unweighed: None,
            unnoted: self.unnoted,
            unrecorded: self.records_waiting.into_unrecorded(),
        }
    }

    /// Says beside the journal what this process does with the canary, or how it has ended it.
    fn note_run(&self, note: RunNote) {
        if let Some(mark) = &self.mark {
            note.write(mark, &self.begin.id);
        }
    }

    /// Records a step at the host. A host that does not take it does not hold up the canary.
    fn record_step(&mut self, step: &str, reason: &str, figures: &Value) {
        (self.tell)(
            step,
            json!({"share_pct": self.state.share_pct, "reason": reason}),
        );
        self.records += 1;
        let key = format!("{}-{}", self.begin.id, self.records);
        let record = StepRecord {
            deployment: &self.begin.id,
            kind: "canary",
            version: &self.begin.plan.version,
            step,
            share_pct: Some(self.state.share_pct),
            reason,
            figures,
        };
        let client = self.admin.as_ref().unwrap_or(self.client);
        self.records_waiting.post_step(client, key, &record);
    }
}

/// Checks that the host takes the token, which records the steps and reads the quarantines. `data_dir`: that of a host which may be stopped.
fn check_token(client: &HostClient, data_dir: Option<&Path>) -> Result<(), CanaryError> {
    let submitter = client;
    let clients = HostClients { client, submitter };
    Ok(check_access(clients, None, data_dir)?)
}

#[cfg(test)]
mod tests;
