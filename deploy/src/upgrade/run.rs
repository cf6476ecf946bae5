//! An upgrade from its check to its validation, or back.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_client::HostClient;
use ark_model::ids::{Millis, TraceId};
use serde::Serialize;
use serde_json::{Value, json};

use crate::data_lock::DataDirLock;
use crate::durable::{make_directory, place_file};
use crate::exchange::data::database::{
    clear_partial_copies, kept_path, make_snapshot, refuse_foreign_schema,
};
use crate::exchange::data::expected_pause::{ExpectedPause, HoldTime, MeasuredCopy, StartLimit};
use crate::exchange::data::replay::replay_in_rounds;
use crate::exchange::hosts::HostExchange;
use crate::exchange::hosts::identity::check_same_host;
use crate::exchange::hosts::pause::HostPause;
use crate::exchange::hosts::serving::{
    HostIdentity, HostWatch, Serving, WantedProgram, has_gone, is_ready, wait_ready,
};
use crate::exchange::preflight::check_access;
use crate::exchange::programs::version::{ask_version, hash_file};
use crate::exchange::record::{StepQueue, StepRecord};
use crate::exchange::validation::Validated;
use crate::exchange::{
    ExchangeError, GivenOption, HostClients, HostControl, Migration, find_migration,
};
use crate::exclusion::{ExchangeKind, OtherJournal, OwnJournal, hold_others, open_own};
use crate::journal::{EXCHANGE_ROOM, Journal, JournalError};
use crate::rollback::{AcceptedLoss, RollbackReport, give_up_for_upgrade};
use crate::runner::RunMark;
use crate::validate::{ValidationReport, reserve_validation};

use super::back_plan::open_way_back;
use super::error::UpgradeError;
use super::given::take_options;
use super::journal::{
    UpgradeEntry, UpgradePlan, UpgradeStart, UpgradeState, UpgradeStep, read_entries,
};
use super::machine::check_machine;

/// How an upgrade ended.
#[derive(Debug, Clone, Serialize)]
pub struct UpgradeReport {
    /// Its id.
    pub id: String,
    /// The new version.
    pub version: String,
    /// Whether the new version serves: it passed its validation, or an operator stays with it.
    pub upgraded: bool,
    /// Why, in words.
    pub reason: String,
    /// The snapshot that was made before.
    pub snapshot: Option<PathBuf>,
    /// How many decisions the new version judged again, all alike.
    pub replayed: Option<u64>,
    /// From the order to stop the old host until the new one was ready, in milliseconds; absent where that is not how long no host was there.
    pub pause_ms: Option<u64>,
    /// Why the pause is not known: an earlier run gave the order to stop, or the host had ended before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_unknown: Option<String>,
    /// How long the pause was expected to be before the stop, in milliseconds, where the new version migrates the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_pause_ms: Option<u64>,
    /// The results of the validation.
    pub validation: Option<ValidationReport>,
    /// The way back.
    pub rollback: Option<RollbackReport>,
    /// Steps that could not be recorded at the host.
    pub unrecorded: Vec<String>,
}

/// An upgrade that this process runs.
pub struct Upgrade<'a> {
    pub(super) clients: HostClients<'a>,
    /// A client with the token that a restore on the way back made.
    pub(super) admin: Option<HostClient>,
    journal: Journal,
    /// Says that this process runs it.
    _mark: Option<RunMark>,
    /// Keeps other exchanges from the data directory, whatever address they were given.
    _data_lock: DataDirLock,
    pub(super) state: UpgradeState,
    pub(super) accepted: Option<AcceptedLoss>,
    pause: Option<HostPause>,
    /// How long the pause was expected to be before the stop.
    expected_pause: Option<Duration>,
    validation: Option<ValidationReport>,
    records_waiting: StepQueue,
    pub(super) tell: &'a mut dyn FnMut(&str, Value),
}

/// The journals of what may not be under way beside an upgrade.
pub(super) fn list_excluded(plan: &UpgradePlan) -> [OtherJournal<'_>; 2] {
    [
        (ExchangeKind::Canary, &plan.canary_journal),
        (ExchangeKind::Rollback, &plan.rollback_journal),
    ]
    .map(|(kind, path)| OtherJournal { kind, path })
}

/// Asks host, versions and canaries. Returns what is known when an upgrade begins.
pub(super) fn prepare_upgrade(
    client: &HostClient,
    plan: UpgradePlan,
) -> Result<(UpgradeStart, Option<Migration>), UpgradeError> {
    for other in list_excluded(&plan) {
        other.refuse_other(client)?;
    }
    let shown = ask_version(&plan.new_binary)?;
    let stable = WantedProgram::from_binary(&plan.stable_binary)?;
    let migration = find_migration(&plan.new_binary, &plan.data_dir)?;
    match client.get("/readyz") {
        Ok(answer) if answer.is_ready() => {}
        Ok(_) => return Err(UpgradeError::NotReady),
        Err(cause) => {
            let url = client.url().to_owned();
            return Err(UpgradeError::NoHost { url, cause });
        }
    }
    check_same_host(client, &plan.data_dir)?;
    if let Serving::Other(found) = stable.find_serving(&plan.data_dir) {
        return Err(UpgradeError::NotStable { found });
    }
    let id = format!("upgrade-{}", TraceId::fresh());
    let stable_binary = match &plan.control {
        // The new version takes the place of that program, which is kept first: it is the way back.
        HostControl::Unit { program, .. } if *program == plan.stable_binary => {
            plan.snapshots.join(format!("{id}-ark"))
        }
        _ => plan.stable_binary,
    };
    let begin = UpgradeStart {
        id,
        began_at: Some(Millis::now()),
        digest: Some(hash_file(&plan.new_binary)?),
        build: shown.build,
        plan: UpgradePlan {
            version: if plan.version.is_empty() {
                shown.version
            } else {
                plan.version
            },
            stable_binary,
            control: plan.control.note_socket()?,
            stable_control: plan.stable_control.note_socket()?,
            ..plan
        },
    };
    Ok((begin, migration))
}

impl<'a> Upgrade<'a> {
    /// Takes up the upgrade that is under way, with the options that are `given`; begins the one of `plan` if there is none. `accepted`: how many
    /// decisions of the new version may be set aside on the way back. `tell` is told each step, and each option that is taken.
    ///
    /// # Errors
    /// There is none to take up and no plan, or something that the plan needs is missing; an option would make it another upgrade. Nothing has changed.
    pub fn open(
        clients: HostClients<'a>,
        path: &Path,
        plan: Option<UpgradePlan>,
        given: &[GivenOption],
        accepted: Option<AcceptedLoss>,
        stop: &AtomicBool,
        tell: &'a mut dyn FnMut(&str, Value),
    ) -> Result<Self, UpgradeError> {
        let client = clients.client;
        let kind = ExchangeKind::Upgrade;
        let before = Journal::read_entries::<UpgradeEntry>(path, &kind.owner_for(client));
        let was_under_way = read_entries(&before?).is_some();
        let OwnJournal {
            mut journal,
            mark,
            entries,
            waited,
        } = open_own::<UpgradeEntry>(client, kind, path, stop)?;
        let (state, data_lock) = match (read_entries(&entries), plan) {
            (Some(mut state), plan) => {
                if let Some(plan) = plan {
                    take_same_version(&mut state.begin, plan.new_binary)?;
                }
                let data_lock = DataDirLock::acquire(&state.begin.plan.data_dir)?;
                let lines = take_options(&mut state.begin.plan, given)?;
                tell("goes-on", json!({"reason": state.begin.id}));
                let UpgradeStart { id, plan, .. } = &state.begin;
                let keeps_trials = state.going_back.is_some();
                clear_partial_copies(&plan.snapshots, id, keeps_trials, &mut *tell);
                if !lines.is_empty() {
                    let plan = Box::new(state.begin.plan.clone());
                    journal.record_entry(&UpgradeEntry::Corrected(plan))?;
                }
                for line in lines {
                    tell("taken", json!({"reason": line}));
                }
                (state, data_lock)
            }
            (None, _) if waited && was_under_way => return Err(UpgradeError::Ended),
            (None, None) => return Err(UpgradeError::None(client.url().to_owned())),
            (None, Some(plan)) => {
                let (begin, migration) = prepare_upgrade(client, plan)?;
                check_access(clients, begin.plan.validation.as_ref(), None)?;
                if let Some(migration) = migration {
                    tell(
                        "migration",
                        json!({"reason": migration.describe_migration()}),
                    );
                }
                let held = hold_others(client, &list_excluded(&begin.plan))?;
                let data_lock = DataDirLock::acquire(&begin.plan.data_dir)?;
                journal.record_entry(&UpgradeEntry::Started(Box::new(begin.clone())))?;
                drop(held);
                (UpgradeState::from_start(begin), data_lock)
            }
        };
        Ok(Self {
            clients,
            admin: None,
            journal,
            _mark: mark,
            _data_lock: data_lock,
            state,
            accepted,
            pause: None,
            expected_pause: None,
            validation: None,
            records_waiting: StepQueue::default(),
            tell,
        })
    }

    /// Goes on to the end: the new version serves, or the stable one again.
    ///
    /// # Errors
    /// It could be neither finished nor undone, or `stop` was set: the next run goes on.
    pub fn run_steps(mut self, stop: &AtomicBool) -> Result<UpgradeReport, UpgradeError> {
        if let Some(reason) = self.state.going_back.clone() {
            return self.go_back(reason, stop);
        }
        check_same_version(&self.state.begin)?;
        let plan = &self.state.begin.plan;
        check_access(self.clients, plan.validation.as_ref(), Some(&plan.data_dir))?;
        match self.take_steps(stop).and_then(|()| self.end_steps(stop)) {
            Ok(reason) => self.finish_upgrade(true, reason, None),
            Err(error) if error.is_interruption() => Err(UpgradeError::Interrupted),
            // It says nothing of the new version.
            Err(error @ UpgradeError::NotValidated(_)) => Err(error),
            Err(error) => self.go_back(error.to_string(), stop),
        }
    }

    /// Records the end. Returns what it is.
    fn end_steps(&mut self, stop: &AtomicBool) -> Result<String, UpgradeError> {
        let replayed = self.state.replayed.as_ref().map_or(0, |(_, count)| *count);
        let reason = format!("the new version serves: {replayed} decisions replayed alike");
        self.record_step("upgraded", &reason);
        if self.records_waiting.is_waiting() {
            // A host that does not take the end has perhaps ended since it was looked at.
            let plan = self.state.begin.plan.clone();
            let mut watch = HostWatch::over_running(&plan.data_dir);
            let check = || self.state.wanted().check_serving(&plan.data_dir);
            let ready = wait_ready(self.clients.client, &mut watch, plan.timeout, stop, &check);
            if let Err(error) = ready {
                // It goes back, and the host that comes is not to record this before the way back.
                self.records_waiting.withdraw_step("upgraded");
                return Err(error.into());
            }
            self.records_waiting.post_waiting(self.clients.client);
        }
        Ok(reason)
    }

    /// Undoes what was begun.
    ///
    /// # Errors
    /// As [`Self::run_steps`].
    pub fn undo_upgrade(self, stop: &AtomicBool) -> Result<UpgradeReport, UpgradeError> {
        let reason = self.state.going_back.clone();
        let reason = reason.unwrap_or_else(|| "an operator undoes it".to_owned());
        self.go_back(reason, stop)
    }

    /// Ends the upgrade with the new version, whatever kept it from its end or had it go back: an operator stays with it.
    ///
    /// # Errors
    /// The new version was not started yet, no host is ready, or a way back has replaced the database. The upgrade is under way as before.
    pub fn keep_version(mut self) -> Result<UpgradeReport, UpgradeError> {
        let UpgradeStart { id, plan, .. } = self.state.begin.clone();
        // A connection to a unit's socket may have started it before the step was announced.
        let serving = self.state.wanted().find_serving(&plan.data_dir);
        if !self.state.may_run(&serving) {
            return Err(UpgradeError::NotStarted(id));
        }
        if !is_ready(self.clients.client) {
            return Err(UpgradeError::NotServing);
        }
        let serving = self.state.wanted().check_serving(&plan.data_dir)?;
        let given_up = "given up: an operator stays with the newer version";
        give_up_for_upgrade(self.clients.client, &plan.rollback_journal, &id, given_up)?;
        let was = self.state.going_back.as_ref().map_or_else(
            || "it had not ended".to_owned(),
            |reason| format!("it was going back for this reason: {reason}"),
        );
        let reason = format!("an operator stays with the new version; {was}; {serving}");
        self.record_step("kept", &reason);
        self.finish_upgrade(true, reason, None)
    }

    /// Announces a step.
    fn enter_step(&mut self, phase: UpgradeStep, stop: &AtomicBool) -> Result<(), UpgradeError> {
        if stop.load(Ordering::Relaxed) {
            return Err(UpgradeError::Interrupted);
        }
        self.record_entry(&UpgradeEntry::Phase(phase))?;
        (self.tell)(phase.as_str(), Value::Null);
        Ok(())
    }

    pub(super) fn record_entry(&mut self, entry: &UpgradeEntry) -> Result<(), JournalError> {
        self.journal.record_entry(entry)?;
        self.state.apply_entry(entry);
        Ok(())
    }

    fn take_steps(&mut self, stop: &AtomicBool) -> Result<(), UpgradeError> {
        let UpgradeStart { id, plan, .. } = self.state.begin.clone();
        let serving = self.state.wanted().find_serving(&plan.data_dir);
        let is_running = self.state.is_running(&serving);
        let was_ordered = self.state.was_stopped;
        if self.state.looks_again(&serving) {
            self.enter_step(UpgradeStep::Check, stop)?;
            keep_program(&plan)?;
            let found = check_machine(&plan, stop)?;
            self.record_step("check", &found);
            self.enter_step(UpgradeStep::Snapshot, stop)?;
            let mut make_next = || make_snapshot(&plan.data_dir, &plan.snapshots, &id);
            let (first, copy) = MeasuredCopy::measure(&plan.data_dir, make_next)?;
            self.enter_step(UpgradeStep::Replay, stop)?;
            let (binary, data_dir) = (&plan.new_binary, &plan.data_dir);
            let replayed = replay_in_rounds(binary, data_dir, first, &mut make_next, stop)?;
            self.record_step("replay", &replayed.describe_rounds());
            if let Some(migration) = replayed.migrated_in {
                self.announce_pause(&plan, copy, migration);
            }
            self.record_entry(&UpgradeEntry::Replayed {
                decisions: replayed.count_decisions(),
                snapshot: replayed.snapshot,
            })?;
        }
        if !is_running {
            // The check was before the replay, which may have taken hours.
            refuse_foreign_schema(&plan.data_dir)?;
            self.reserve_room(&plan)?;
            self.note_serving(&plan)?;
            self.enter_step(UpgradeStep::Stop, stop)?;
        }
        self.exchange_hosts(&id, &plan, is_running, was_ordered, stop)?;
        self.enter_step(UpgradeStep::Validation, stop)?;
        self.validate_host(&plan, stop)
    }

    /// Says, before anything is stopped, how long no host will be there while the new version migrates the database.
    fn announce_pause(&mut self, plan: &UpgradePlan, copy: MeasuredCopy, migration: Duration) {
        let expected = ExpectedPause::expect_pause(&plan.data_dir, copy, migration);
        let limit = StartLimit {
            option: "--timeout",
            timeout: plan.timeout,
        };
        // Which fronts there are, an upgrade does not know.
        self.record_step(
            "expected-pause",
            &expected.describe_pause(HoldTime::Unknown, limit),
        );
        self.expected_pause = Some(expected.total());
    }

    /// Reserves the room of the entries from the stop of the host on, also of the way back, so that no full disk leaves it without a host.
    fn reserve_room(&self, plan: &UpgradePlan) -> Result<(), UpgradeError> {
        let client = self.clients.client;
        self.journal.reserve_room(EXCHANGE_ROOM)?;
        if let Some(validation) = &plan.validation {
            reserve_validation(client, &validation.journal)?;
        }
        match open_way_back(client, plan)? {
            Some(journal) => Ok(journal.reserve_room(EXCHANGE_ROOM)?),
            None => Ok(()),
        }
    }

    /// Notes the process that is about to be stopped, if it is one of the stable version: where it is not stopped, nothing is to be brought back.
    fn note_serving(&mut self, plan: &UpgradePlan) -> Result<(), UpgradeError> {
        let Some(process) = HostIdentity::find_identity(&plan.data_dir) else {
            return Ok(());
        };
        let stable = WantedProgram::from_binary(&plan.stable_binary);
        let is_stable = match stable.map(|stable| stable.find_serving(&plan.data_dir)) {
            Ok(Serving::Wanted) => true,
            Ok(Serving::Unknown(_)) => !self.state.wanted().is_build(process.build),
            _ => false,
        };
        if is_stable {
            self.record_entry(&UpgradeEntry::Serves(process))?;
        }
        Ok(())
    }

    /// Exchanges the hosts. `is_running`: an earlier run started the new version, and it serves. `was_ordered`: an earlier run gave the order to stop.
    fn exchange_hosts(
        &mut self,
        id: &str,
        plan: &UpgradePlan,
        is_running: bool,
        was_ordered: bool,
        stop: &AtomicBool,
    ) -> Result<(), UpgradeError> {
        // Check and replay took a while: what is installed is what they were made with.
        check_same_version(&self.state.begin)?;
        let is_exclusive = find_migration(&plan.new_binary, &plan.data_dir)?.is_some();
        let lock = self.journal.share_lock()?;
        let exchange = HostExchange {
            wanted: &self.state.wanted(),
            is_running,
            was_ordered,
            client: self.clients.client,
            lock: &lock,
            new_binary: &plan.new_binary,
            data_dir: &plan.data_dir,
            kept: &kept_path(&plan.snapshots, id),
            stop_actions: &plan.control.stop_actions(&plan.new_binary, is_exclusive),
            start_actions: &plan.control.start_actions(&plan.new_binary),
            timeout: plan.timeout,
            stop,
        };
        let done = exchange.exchange_hosts::<UpgradeError>(&mut || {
            self.record_entry(&UpgradeEntry::Phase(UpgradeStep::Start))?;
            (self.tell)(UpgradeStep::Start.as_str(), Value::Null);
            Ok(())
        })?;
        self.pause = Some(done.pause);
        let ready = match (done.pause.as_millis(), done.pause.explain_unknown()) {
            (Some(millis), _) => format!("ready {millis} ms after the order to stop"),
            (None, why) => format!("ready; {}", why.unwrap_or_default()),
        };
        self.record_step("start", &format!("{ready}; {}", done.serving));
        Ok(())
    }

    fn validate_host(&mut self, plan: &UpgradePlan, stop: &AtomicBool) -> Result<(), UpgradeError> {
        let Some(wanted) = &plan.validation else {
            return Ok(());
        };
        // The record is read by this program, if it can; the new version has replayed it.
        let is_readable = ask_version(&plan.new_binary).is_ok_and(|new| new.is_readable());
        let data_dir = is_readable.then(|| plan.data_dir.clone());
        let (report, result) =
            match wanted.run_validation(self.clients, data_dir, stop, &mut *self.tell) {
                Ok(run) => run,
                Err(_) if has_gone(self.clients.client, &plan.data_dir) => {
                    let ended = HostWatch::over_running(&plan.data_dir).ended();
                    return Err(UpgradeError::Validation(ended.to_string()));
                }
                Err(error) if error.is_of_another_run() => {
                    return Err(UpgradeError::NotValidated(error));
                }
                Err(error) => return Err(error.into()),
            };
        self.validation = report;
        match result {
            Validated::Passed(detail) => {
                // What was validated must be what serves on.
                let mut watch = HostWatch::over_running(&plan.data_dir);
                let check = || self.state.wanted().check_serving(&plan.data_dir);
                wait_ready(self.clients.client, &mut watch, plan.timeout, stop, &check)?;
                self.record_step("validation", &detail);
                Ok(())
            }
            Validated::Failed(failed) => Err(UpgradeError::Validation(failed)),
            Validated::Interrupted => Err(UpgradeError::Interrupted),
        }
    }

    pub(super) fn finish_upgrade(
        mut self,
        upgraded: bool,
        reason: String,
        rollback: Option<RollbackReport>,
    ) -> Result<UpgradeReport, UpgradeError> {
        self.journal.clear_entries()?;
        if let Ok(Some(journal)) = open_way_back(self.clients.client, &self.state.begin.plan) {
            journal.release_room();
        }
        let (snapshot, replayed) = self.state.replayed.unzip();
        Ok(UpgradeReport {
            id: self.state.begin.id,
            version: self.state.begin.plan.version,
            upgraded,
            reason,
            snapshot,
            replayed,
            pause_ms: self.pause.and_then(HostPause::as_millis),
            pause_unknown: self.pause.and_then(HostPause::explain_unknown),
            expected_pause_ms: self
                .expected_pause
                .map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
            validation: self.validation,
            rollback,
            unrecorded: self.records_waiting.into_unrecorded(),
        })
    }

    /// Records a step at the host. A host that does not take it does not hold up the upgrade.
    pub(super) fn record_step(&mut self, step: &str, reason: &str) {
        (self.tell)(step, json!({"reason": reason}));
        let UpgradeStart { id, plan, .. } = &self.state.begin;
        let record = StepRecord {
            deployment: id,
            kind: "upgrade",
            version: &plan.version,
            step,
            share_pct: None,
            reason,
            figures: &Value::Null,
        };
        // A step of a run that was killed may be recorded again: it was taken again.
        let key = format!("{id}-{}", TraceId::fresh());
        let client = self.admin.as_ref().unwrap_or(self.clients.client);
        self.records_waiting.post_step(client, key, &record);
    }
}

/// Goes on with a file that is the version with which the upgrade was begun, wherever that is now.
pub(super) fn take_same_version(
    begin: &mut UpgradeStart,
    binary: PathBuf,
) -> Result<(), UpgradeError> {
    let is_same = match begin.digest {
        Some(digest) => hash_file(&binary)? == digest,
        // The journal is of a program that knew the path alone.
        None => binary == begin.plan.new_binary,
    };
    if is_same {
        begin.plan.new_binary = binary;
        return Ok(());
    }
    Err(UpgradeError::UnderWay {
        id: begin.id.clone(),
        binary: begin.plan.new_binary.clone(),
    })
}

/// Refuses to go on with another version than the one with which the upgrade was begun.
fn check_same_version(begin: &UpgradeStart) -> Result<(), UpgradeError> {
    let binary = &begin.plan.new_binary;
    match begin.digest {
        Some(digest) if hash_file(binary)? != digest => Err(UpgradeError::Changed {
            id: begin.id.clone(),
            binary: binary.clone(),
        }),
        _ => Ok(()),
    }
}

/// Keeps the program that a unit starts, before the new version takes its place: it is the way back.
fn keep_program(plan: &UpgradePlan) -> Result<(), ExchangeError> {
    let HostControl::Unit { program, .. } = &plan.control else {
        return Ok(());
    };
    let to = &plan.stable_binary;
    if to.exists() {
        return Ok(());
    }
    make_directory(&plan.snapshots).map_err(ExchangeError::for_file(&plan.snapshots))?;
    place_file(to, |file| {
        let mut from = File::open(program)?;
        io::copy(&mut from, file)?;
        file.set_permissions(from.metadata()?.permissions())
    })
    .map_err(ExchangeError::for_file(to))
}
