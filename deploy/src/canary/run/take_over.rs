//! The take-over: the new version judges the recorded decisions again, then serves on the data in the place of the stable one.
//!
//! Invariants: a step is in the journal before it is taken; no host is stopped before a last look for orders, nor after a check that was no success;
//! repeated after a kill at any point, the take-over comes to the same end; one that is given up leaves no snapshot.
//!
//! Must not know: how a share is measured, how a take-over is undone.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::canary::analysis::ask_hold;
use crate::canary::error::CanaryError;
use crate::canary::journal::{CanaryEntry, TakeOverStep};
use crate::canary::plan::TakeOverPlan;
use crate::canary::report::TakeOver;
use crate::exchange::ExchangeError;
use crate::exchange::data::database::{
    kept_path, make_snapshot, refuse_foreign_schema, remove_snapshot,
};
use crate::exchange::data::expected_pause::{ExpectedPause, MeasuredCopy, StartLimit};
use crate::exchange::data::replay::replay_in_rounds;
use crate::exchange::hosts::HostExchange;
use crate::exchange::hosts::control::HostAction;
use crate::exchange::hosts::serving::{HostIdentity, WantedProgram};
use crate::journal::EXCHANGE_ROOM;

use super::HostCanary;
use super::replay_watch::ReplayWatch;
use super::steps::Stop;
use super::weights::GivenShare;

impl HostCanary<'_> {
    /// Has the new version take the data over. After a kill at any point it comes to the same end when it is repeated. `given`: the weights of the share,
    /// whose last check was a success. `None`: an operator keeps the share, and the host was not stopped.
    pub(super) fn take_over(
        &mut self,
        plan: &TakeOverPlan,
        given: Option<GivenShare>,
        stop: &AtomicBool,
    ) -> Result<Option<TakeOver>, Stop> {
        let begin = self.begin.clone();
        // One that was stopped already has no host for a pause, and its requests wait for the new one.
        let mut watch = if self.state.was_stopped {
            None
        } else {
            Some(self.begin_replay_watch(&begin, given)?)
        };
        let wanted = WantedProgram::from_binary(&plan.new_binary)?;
        let serving = wanted.find_serving(&plan.data_dir);
        let is_running = self.state.is_running(&serving);
        let was_ordered = self.state.was_stopped;
        let is_valid = self.state.is_replayed(&serving);
        let replayed = self.state.replayed.clone().filter(|_| is_valid);
        let (snapshot, decisions) = match replayed {
            Some(replayed) => replayed,
            None => match self.replay_snapshot(plan, watch.as_mut(), stop)? {
                Some(replayed) => replayed,
                None => return Ok(None),
            },
        };
        if let Some(watch) = &mut watch
            && self.wait_healthy(watch, stop)?
        {
            self.remove_superseded(Some(snapshot));
            return Ok(None);
        }
        if !is_running {
            refuse_foreign_schema(&plan.data_dir)?;
            // From here on no host may be there: no entry may lack room.
            self.journal.reserve_room(EXCHANGE_ROOM)?;
            self.note_serving(plan, &wanted)?;
            self.enter_step(TakeOverStep::Stop)?;
        }
        let client = self.client;
        let lock = self.journal.share_lock()?;
        let exchange = HostExchange {
            wanted: &wanted,
            is_running,
            was_ordered,
            client,
            lock: &lock,
            new_binary: &plan.new_binary,
            data_dir: &plan.data_dir,
            kept: &kept_path(&plan.snapshots, &begin.id),
            stop_actions: &[HostAction::Shell(plan.stop_command.clone())],
            start_actions: &[HostAction::Shell(plan.start_command.clone())],
            timeout: plan.timeout,
            stop,
        };
        let done =
            exchange.exchange_hosts::<CanaryError>(&mut || self.enter_step(TakeOverStep::Start))?;
        let expected = self.expected_pause.map(|pause| pause.as_millis());
        Ok(Some(TakeOver {
            snapshot,
            replayed: decisions,
            pause_ms: done.pause.as_millis(),
            pause_unknown: done.pause.explain_unknown(),
            expected_pause_ms: expected.map(|pause| u64::try_from(pause).unwrap_or(u64::MAX)),
            serving: done.serving,
        }))
    }

    /// Notes the process that is about to be stopped, if it is one of the stable version: where it is not stopped, nothing is to be brought back.
    fn note_serving(
        &mut self,
        plan: &TakeOverPlan,
        new: &WantedProgram,
    ) -> Result<(), CanaryError> {
        let Some(process) = HostIdentity::find_identity(&plan.data_dir) else {
            return Ok(());
        };
        let is_stable = match self.begin.stable_build {
            Some(stable) => stable == process.build,
            None => !new.is_build(process.build),
        };
        if is_stable {
            let entry = CanaryEntry::Serves(process.clone());
            self.journal.record_entry(&entry)?;
            self.state.served = Some(process);
        }
        Ok(())
    }

    /// Has the new version judge the decisions of a snapshot again. `watch`: while the host serves. Returns the snapshot, and how many there are; `None`:
    /// an operator keeps the share.
    fn replay_snapshot(
        &mut self,
        plan: &TakeOverPlan,
        mut watch: Option<&mut ReplayWatch<'_>>,
        stop: &AtomicBool,
    ) -> Result<Option<(PathBuf, u64)>, Stop> {
        self.enter_step(TakeOverStep::Snapshot)?;
        let id = self.begin.id.clone();
        // The one that is there: a further round replaces the first.
        let made: Mutex<Option<PathBuf>> = Mutex::new(None);
        let last_made = || made.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || -> Result<PathBuf, ExchangeError> {
            let next = make_snapshot(&plan.data_dir, &plan.snapshots, &id)?;
            *last_made() = Some(next.clone());
            Ok(next)
        };
        let measured = |_: &AtomicBool| MeasuredCopy::measure(&plan.data_dir, make);
        let first = self.do_watched(watch.as_deref_mut(), stop, &measured)?;
        let Some((first, copy)) = first.transpose()? else {
            self.remove_superseded(last_made().take());
            return Ok(None);
        };
        self.enter_step(TakeOverStep::Replay)?;
        let replay = |ends: &AtomicBool| {
            let (binary, data_dir, mut make_next) = (&plan.new_binary, &plan.data_dir, &make);
            replay_in_rounds(binary, data_dir, first.clone(), &mut make_next, ends)
        };
        let replayed = self.do_watched(watch, stop, &replay)?;
        let Some(replayed) = replayed.transpose()? else {
            self.remove_superseded(last_made().take());
            return Ok(None);
        };
        let (reason, decisions) = (replayed.describe_rounds(), replayed.count_decisions());
        (self.tell)("replayed", json!({"reason": reason}));
        if let Some(migration) = replayed.migrated_in.filter(|_| !self.state.was_stopped) {
            self.announce_pause(plan, copy, migration);
        }
        let snapshot = replayed.snapshot;
        self.journal.record_entry(&CanaryEntry::Replayed {
            snapshot: snapshot.clone(),
            decisions,
        })?;
        self.state.replayed = Some((snapshot.clone(), decisions));
        Ok(Some((snapshot, decisions)))
    }

    /// Says, before anything is stopped, how long no host will be there while the new version migrates the database.
    fn announce_pause(&mut self, plan: &TakeOverPlan, copy: MeasuredCopy, migration: Duration) {
        let expected = ExpectedPause::expect_pause(&plan.data_dir, copy, migration);
        let hold = ask_hold(self.client, &self.begin.plan);
        let limit = StartLimit {
            option: "--take-over-timeout",
            timeout: plan.timeout,
        };
        self.record_step(
            "expected-pause",
            &expected.describe_pause(hold, limit),
            &Value::Null,
        );
        self.expected_pause = Some(expected.total());
    }

    /// Removes the snapshot of a take-over that an operator has given up: the next one makes its own. What cannot be removed is told.
    fn remove_superseded(&mut self, snapshot: Option<PathBuf>) {
        let Some(snapshot) = snapshot else {
            return;
        };
        if let Err(cause) = remove_snapshot(&snapshot)
            && cause.kind() != ErrorKind::NotFound
        {
            let reason = format!(
                "{}: {cause}: a snapshot of a take-over that was given up; remove it by hand",
                snapshot.display()
            );
            (self.tell)("left", json!({"reason": reason}));
        }
    }

    fn enter_step(&mut self, phase: TakeOverStep) -> Result<(), CanaryError> {
        self.journal.record_entry(&CanaryEntry::TakingOver(phase))?;
        self.state.enter_step(phase);
        (self.tell)("take-over", json!({"phase": phase}));
        Ok(())
    }
}
