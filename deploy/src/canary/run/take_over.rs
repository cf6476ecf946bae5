//! The take-over: the new version judges the recorded decisions again, then serves on the data in the place of the stable one.
//!
//! Invariants: a step is in the journal before it is taken; no host is stopped before a last look for orders; repeated after a kill at any point, the
//! take-over comes to the same end.
//!
//! Must not know: shares, measurements, how a take-over is undone.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use crate::canary::error::CanaryError;
use crate::canary::journal::{CanaryEntry, TakeOverStep};
use crate::canary::orders::OrderInbox;
use crate::canary::plan::TakeOverPlan;
use crate::canary::report::TakeOver;
use crate::exchange::ExchangeError;
use crate::exchange::data::database::{kept_path, make_snapshot, refuse_foreign_schema};
use crate::exchange::data::replay::replay_in_rounds;
use crate::exchange::hosts::HostExchange;
use crate::exchange::hosts::control::HostAction;
use crate::exchange::hosts::serving::{HostIdentity, WantedProgram};
use crate::journal::EXCHANGE_ROOM;

use super::HostCanary;
use super::steps::Stop;

impl HostCanary<'_> {
    /// Has the new version take the data over. After a kill at any point it comes to the same end when it is repeated. `None`: an operator keeps the
    /// share, and the host was not stopped.
    pub(super) fn take_over(
        &mut self,
        plan: &TakeOverPlan,
        stop: &AtomicBool,
    ) -> Result<Option<TakeOver>, Stop> {
        let id = self.begin.id.clone();
        let wanted = WantedProgram::from_binary(&plan.new_binary)?;
        let serving = wanted.find_serving(&plan.data_dir);
        let is_running = self.state.is_running(&serving);
        let was_ordered = self.state.was_stopped;
        let is_valid = self.state.is_replayed(&serving);
        let replayed = self.state.replayed.clone().filter(|_| is_valid);
        let (snapshot, decisions) = match replayed {
            Some(replayed) => replayed,
            None => match self.replay_snapshot(plan, stop)? {
                Some(replayed) => replayed,
                None => return Ok(None),
            },
        };
        // One that was stopped already has no host for a pause.
        if !self.state.was_stopped && self.look_before_stop(stop)? {
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
            kept: &kept_path(&plan.snapshots, &id),
            stop_actions: &[HostAction::Shell(plan.stop_command.clone())],
            start_actions: &[HostAction::Shell(plan.start_command.clone())],
            timeout: plan.timeout,
            stop,
        };
        let done =
            exchange.exchange_hosts::<CanaryError>(&mut || self.enter_step(TakeOverStep::Start))?;
        let pause = done.pause.map(|pause| pause.as_millis());
        Ok(Some(TakeOver {
            snapshot,
            replayed: decisions,
            pause_ms: pause.map(|pause| u64::try_from(pause).unwrap_or(u64::MAX)),
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

    /// Has the new version judge the decisions of a snapshot again. Returns the snapshot, and how many there are; `None`: an operator keeps the
    /// share.
    fn replay_snapshot(
        &mut self,
        plan: &TakeOverPlan,
        stop: &AtomicBool,
    ) -> Result<Option<(PathBuf, u64)>, Stop> {
        self.enter_step(TakeOverStep::Snapshot)?;
        let id = self.begin.id.clone();
        let mut first = make_snapshot(&plan.data_dir, &plan.snapshots, &id)?;
        self.enter_step(TakeOverStep::Replay)?;
        let inbox = OrderInbox::new(&self.path, &self.begin.id);
        let (binary, data_dir) = (&plan.new_binary, &plan.data_dir);
        let replayed = loop {
            let replay = |ends: &AtomicBool| {
                let mut make_next = || make_snapshot(data_dir, &plan.snapshots, &id);
                replay_in_rounds(binary, data_dir, first.clone(), &mut make_next, ends)
            };
            if self.state.was_stopped {
                break replay(stop)?;
            }
            let replayed = inbox.run_until_order(stop, &replay);
            if self.look_before_stop(stop)? {
                return Ok(None);
            }
            match replayed {
                // The order that ended it was withdrawn. A further round may have replaced the snapshot.
                Err(ExchangeError::Interrupted(_)) => {
                    first = make_snapshot(data_dir, &plan.snapshots, &id)?;
                }
                replayed => break replayed?,
            }
        };
        let (reason, decisions) = (replayed.describe_rounds(), replayed.count_decisions());
        (self.tell)("replayed", json!({"reason": reason}));
        let snapshot = replayed.snapshot;
        self.journal.record_entry(&CanaryEntry::Replayed {
            snapshot: snapshot.clone(),
            decisions,
        })?;
        self.state.replayed = Some((snapshot.clone(), decisions));
        Ok(Some((snapshot, decisions)))
    }

    fn enter_step(&mut self, phase: TakeOverStep) -> Result<(), CanaryError> {
        self.journal.record_entry(&CanaryEntry::TakingOver(phase))?;
        self.state.enter_step(phase);
        (self.tell)("take-over", json!({"phase": phase}));
        Ok(())
    }
}
