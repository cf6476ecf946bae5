//! A rollback from its first step to its last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_client::{ClientError, HostClient};
use ark_model::ids::{Millis, TraceId};
use ark_store::{
    HostProcess, MaintenanceError, OpenError, current_schema, find_host_process, give_made,
    is_restore_pending,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::canary::{CanaryError, CanaryOrder, HostCanary, end_silent, read_state, send_request};
use crate::data_lock::DataDirLock;
use crate::exchange::control::run_actions;
use crate::exchange::database::{clear_partial_copies, make_snapshot, restore_over};
use crate::exchange::identity::check_same_host;
use crate::exchange::record::{StepRecord, post_step};
use crate::exchange::serving::{HostWatch, is_ready};
use crate::exchange::token::TokenFile;
use crate::exchange::validation::Validated;
use crate::exchange::version::ask_version;
use crate::exchange::{ExchangeError, GivenOption, HostClients};
use crate::exclusion::{ExchangeKind, OwnJournal, hold_others, open_own};
use crate::journal::{EXCHANGE_ROOM, Journal};
use crate::runner::RunMark;
use crate::validate::{ValidationReport, reserve_validation};

use super::database::{
    AcceptedLoss, DatabaseChoice, check_accepted, check_no_restore, covers_loss, decide_way,
};
use super::error::RollbackError;
use super::given::{take_from_upgrade, take_options};
use super::journal::{
    PastRollback, PastStep, RollbackEntry, RollbackStart, RollbackState, RollbackStep, read_entries,
};
use super::plan::{RollbackPlan, excluded_upgrades};
use super::tokens::check_tokens;
use super::traffic::{read_weights, return_traffic};

/// The longest time between two looks at whether the run is to end.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// How a rollback ended.
#[derive(Debug, Clone, Serialize)]
pub struct RollbackReport {
    /// What the history has of it.
    #[serde(flatten)]
    pub past: PastRollback,
    /// The results of the validation.
    pub validation: Option<ValidationReport>,
    /// The file with an administrator's token, made since the database that was set aside had tokens and the snapshot has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Steps that could not be recorded at the host.
    pub unrecorded: Vec<String>,
}

/// A rollback that this process runs.
pub struct Rollback<'a> {
    pub(super) clients: HostClients<'a>,
    pub(super) journal: Journal,
    pub(super) state: RollbackState,
    /// Says that this process runs it.
    _mark: Option<RunMark>,
    /// Whether this is run by an upgrade, which has locked the data directory.
    is_within_upgrade: bool,
    /// Keeps other exchanges from the data directory, whatever address they were given, once no canary has it.
    data_lock: Option<DataDirLock>,
    accepted: Option<AcceptedLoss>,
    validation: Option<ValidationReport>,
    /// A client with the token that the restore made.
    admin: Option<HostClient>,
    /// The steps taken that the host has recorded.
    recorded: Vec<RollbackStep>,
    /// Tells whether the stable version that this run started has ended.
    pub(super) watch: Option<HostWatch>,
    pub(super) tell: &'a mut dyn FnMut(&str, Value),
}

/// Records the steps that are not recorded yet, in their order, until one cannot be: the next time begins with that one.
pub(super) fn record_taken<E>(
    taken: &[PastStep],
    recorded: &mut Vec<RollbackStep>,
    mut record: impl FnMut(&PastStep) -> Result<(), E>,
) {
    for done in taken {
        if recorded.contains(&done.step) {
            continue;
        }
        if record(done).is_err() {
            return;
        }
        recorded.push(done.step);
    }
}

/// Asks the stable version and the database. Returns what is known when a rollback begins, and what will happen to the database.
pub(super) fn prepare_rollback(
    client: &HostClient,
    plan: RollbackPlan,
    accepted: Option<AcceptedLoss>,
) -> Result<(RollbackStart, DatabaseChoice), RollbackError> {
    if plan.upgrade.is_none() {
        check_same_host(client, &plan.data_dir)?;
    }
    check_no_restore(client, &plan)?;
    let shown = ask_version(&plan.binary)?;
    let way = decide_way(&plan, shown.schema, None)?;
    if let DatabaseChoice::Restore(aside) = &way {
        check_accepted(aside, accepted, false)?;
    }
    let weights = match &plan.traffic {
        None => BTreeMap::new(),
        Some(traffic) => read_weights(traffic)?,
    };
    let begin = RollbackStart {
        id: format!("rollback-{}", TraceId::fresh()),
        plan: RollbackPlan {
            version: if plan.version.is_empty() {
                shown.version
            } else {
                plan.version
            },
            // That of an upgrade noted it before it stopped the host.
            control: plan.control.note_socket()?,
            ..plan
        },
        began_at: Millis::now(),
        schema: shown.schema,
        build: shown.build,
        weights,
    };
    Ok((begin, way))
}

/// Refuses where another process exchanges the version on the data directory. The canary that the rollback undoes first may.
pub(super) fn refuse_other_exchange(
    client: &HostClient,
    plan: &RollbackPlan,
) -> Result<(), RollbackError> {
    if read_state(client, &plan.canary_journal)?.is_none() {
        DataDirLock::refuse_other(&plan.data_dir)?;
    }
    Ok(())
}

/// Whether [`give_up_for_upgrade`] would end the way back of an upgrade, or has nothing to end. Changes nothing.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn may_give_up(
    client: &HostClient,
    path: &Path,
    upgrade: &str,
) -> Result<bool, RollbackError> {
    let owner = ExchangeKind::Rollback.owner_for(client);
    let entries = Journal::read_entries::<RollbackEntry>(path, &owner)?;
    let last = read_entries(&entries).pop();
    Ok(last.is_none_or(|last| {
        last.begin.plan.upgrade.as_deref() != Some(upgrade) || !last.is_too_far()
    }))
}

/// Ends the way back of an upgrade, if one is under way. `result`: why, in words.
///
/// # Errors
/// Another run uses the journal, or the database was replaced or the stable version started already.
pub(crate) fn give_up_for_upgrade(
    client: &HostClient,
    path: &Path,
    upgrade: &str,
    result: &str,
) -> Result<(), RollbackError> {
    let owner = ExchangeKind::Rollback.owner_for(client);
    let (mut journal, entries) = Journal::open::<RollbackEntry>(path, &owner)?;
    let Some(last) = read_entries(&entries).pop() else {
        return Ok(());
    };
    let is_too_far = last.is_too_far();
    let RollbackStart { id, plan, .. } = last.begin;
    if plan.upgrade.as_deref() != Some(upgrade) {
        return Ok(());
    }
    // Also where it has ended: then the stable version serves, and nothing is left to stay with.
    if is_too_far {
        return Err(RollbackError::Replaced(id));
    }
    if last.past.ended_at_ms.is_some() {
        return Ok(());
    }
    journal.record_entry(&RollbackEntry::Finished {
        at_ms: Millis::now(),
        passed: false,
        result: result.to_owned(),
    })?;
    Ok(())
}

impl<'a> Rollback<'a> {
    /// Takes up the rollback that is under way, with the options that are `given`; the way back of an upgrade takes up its own alone, with what its
    /// `plan` has by now. Begins the one of `plan` if there is none. `accepted`: how many decisions may be set aside. `tell` is told each step, and
    /// each option that is taken.
    ///
    /// # Errors
    /// There is none to take up and no plan; something that the plan needs is missing; an option would make it another rollback; decisions would be set aside that are not accepted.
    /// Nothing has changed.
    pub fn open(
        clients: HostClients<'a>,
        path: &Path,
        plan: Option<RollbackPlan>,
        given: &[GivenOption],
        accepted: Option<AcceptedLoss>,
        stop: &AtomicBool,
        tell: &'a mut dyn FnMut(&str, Value),
    ) -> Result<Self, RollbackError> {
        let is_within_upgrade = plan.as_ref().is_some_and(|plan| plan.upgrade.is_some());
        let OwnJournal {
            mut journal,
            mark,
            entries,
            waited,
        } = open_own::<RollbackEntry>(clients.client, ExchangeKind::Rollback, path, stop)?;
        let last = read_entries(&entries).pop();
        let state = match (last, plan) {
            (Some(state), Some(plan))
                if state.past.ended_at_ms.is_none()
                    && plan.upgrade.is_some()
                    && plan.upgrade != state.begin.plan.upgrade =>
            {
                return Err(RollbackError::UnderWay {
                    id: state.begin.id,
                    reason: state.begin.plan.reason,
                    journal: path.to_owned(),
                });
            }
            (Some(mut state), plan) if state.past.ended_at_ms.is_none() => {
                let taken = match plan.filter(|plan| plan.upgrade.is_some()) {
                    Some(now) => take_from_upgrade(&mut state, now),
                    None => take_options(&mut state, given)?,
                };
                tell("goes-on", json!({"reason": state.begin.id}));
                let RollbackStart { id, plan, .. } = &state.begin;
                clear_partial_copies(&plan.snapshots, id, true, &mut *tell);
                if let Some((lines, entry)) = taken {
                    journal.record_entry(&entry)?;
                    for line in lines {
                        tell("taken", json!({"reason": line}));
                    }
                }
                state.forget_repeated();
                state
            }
            (Some(state), _) if waited => return Err(RollbackError::Ended(state.begin.id)),
            (_, None) => return Err(RollbackError::None(clients.client.url().to_owned())),
            (_, Some(plan)) => {
                let upgrade_journal = plan.upgrade_journal.clone();
                let upgrades = excluded_upgrades(upgrade_journal.as_deref());
                upgrades.map_or(Ok(()), |other| other.refuse_other(clients.client))?;
                let (begin, way) = prepare_rollback(clients.client, plan, accepted)?;
                // A snapshot brings its own tokens.
                if matches!(way, DatabaseChoice::Keep { .. }) {
                    check_tokens(clients, &begin.plan)?;
                }
                if !is_within_upgrade {
                    refuse_other_exchange(clients.client, &begin.plan)?;
                }
                tell("way", json!({"reason": way.to_string()}));
                let held = hold_others(clients.client, upgrades.as_slice())?;
                journal.record_entry(&RollbackEntry::Started(Box::new(begin.clone())))?;
                drop(held);
                let past = PastRollback::from_start(&begin);
                RollbackState::from_start(begin, past)
            }
        };
        let admin = TokenFile::place_beside(path, &state.begin.id).read_client(clients.client)?;
        Ok(Self {
            clients,
            journal,
            _mark: mark,
            is_within_upgrade,
            data_lock: None,
            state,
            accepted,
            validation: None,
            admin,
            recorded: Vec::new(),
            watch: None,
            tell,
        })
    }

    /// Takes the steps that are left. A host that fails its validation is part of the report.
    ///
    /// # Errors
    /// A step failed, or `stop` was set: the next run takes it again.
    pub fn run_steps(mut self, stop: &AtomicBool) -> Result<RollbackReport, RollbackError> {
        for step in RollbackStep::ALL {
            if self.state.is_done(step) {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(RollbackError::Interrupted);
            }
            if step == RollbackStep::Database {
                self.reserve_room()?;
            }
            // A canary that is undone first has it until then.
            if step != RollbackStep::Canary && self.data_lock.is_none() && !self.is_within_upgrade {
                self.data_lock = Some(DataDirLock::acquire(&self.state.begin.plan.data_dir)?);
            }
            self.journal.record_entry(&RollbackEntry::Step(step))?;
            (self.tell)(step.as_str(), Value::Null);
            match self.take_step(step, stop) {
                Ok(detail) => {
                    let passed = step != RollbackStep::Validation
                        || self.validation.as_ref().is_none_or(|report| report.passed);
                    (self.tell)(step.as_str(), json!({"reason": detail}));
                    self.note_entry(&RollbackEntry::Done(PastStep {
                        step,
                        at_ms: Millis::now(),
                        passed,
                        detail,
                    }))?;
                    self.record_steps();
                }
                Err(error) => {
                    let problem = error.to_string();
                    // Why the step failed is what counts, also where a full disk takes no entry.
                    if let Err(unnoted) = self.note_entry(&RollbackEntry::Failed { step, problem })
                    {
                        (self.tell)("unnoted", json!({"reason": unnoted.to_string()}));
                    }
                    if error.is_interruption() {
                        return Err(RollbackError::Interrupted);
                    }
                    let is_of_upgrade = self.state.begin.plan.upgrade.is_some();
                    return Err(error.in_step(step, is_of_upgrade));
                }
            }
        }
        self.finish_rollback()
    }

    /// Reserves the room of the entries from the stop of the host on. Where no host serves, a full disk does not hold up its start.
    fn reserve_room(&self) -> Result<(), RollbackError> {
        let validation = self.state.begin.plan.validation.as_ref();
        let reserved = self.journal.reserve_room(EXCHANGE_ROOM).and_then(|()| {
            validation.map_or(Ok(()), |plan| {
                reserve_validation(self.current_client(), &plan.journal)
            })
        });
        match reserved {
            Err(error) if is_ready(self.current_client()) => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn note_entry(&mut self, entry: &RollbackEntry) -> Result<(), RollbackError> {
        self.journal.record_entry(entry)?;
        self.state.apply_entry(entry);
        Ok(())
    }

    /// Operates the host, with the token that the restore made if it made one.
    pub(super) fn current_client(&self) -> &HostClient {
        self.admin.as_ref().unwrap_or(self.clients.client)
    }

    fn take_step(
        &mut self,
        step: RollbackStep,
        stop: &AtomicBool,
    ) -> Result<String, RollbackError> {
        match step {
            RollbackStep::Canary => self.undo_canary(stop),
            RollbackStep::Backup => self.back_up(),
            RollbackStep::Database => self.stop_and_restore(stop),
            RollbackStep::Start => self.start_host(stop),
            RollbackStep::Health => self.check_health(stop),
            RollbackStep::Traffic => {
                let Some(plan) = &self.state.begin.plan.traffic else {
                    return Ok("no HAProxy is named: the host has all requests".to_owned());
                };
                let tell = &mut *self.tell;
                let told = &mut |share| tell("traffic", json!({"share_pct": share}));
                return_traffic(
                    self.admin.as_ref().unwrap_or(self.clients.client),
                    plan,
                    &self.state.begin.weights,
                    stop,
                    told,
                )
            }
            RollbackStep::Validation => self.validate_host(stop),
        }
    }

    /// Undoes a canary, by its own way back.
    fn undo_canary(&mut self, stop: &AtomicBool) -> Result<String, RollbackError> {
        let client = self.clients.client;
        let path = &self.state.begin.plan.canary_journal;
        let Some(canary) = read_state(client, path)? else {
            return Ok("none is under way".to_owned());
        };
        loop {
            match send_request(client, path, CanaryOrder::Abort, stop) {
                // The command that runs it takes everything back. If that is killed meanwhile, the next request finds the canary free.
                Ok(true) => std::thread::sleep(TICK),
                Ok(false) => {
                    let taken = HostCanary::take_up(client, path, &[], &mut *self.tell)?;
                    if taken.leave_to_rollback(stop)? {
                        return Ok(format!(
                            "{} was ended; what its take-over began is undone by the next steps",
                            canary.id
                        ));
                    }
                    break;
                }
                // It would hold up the way back: what it left is undone in its stead.
                Err(error @ CanaryError::Silent { pid, .. }) => {
                    let reason = format!("{error}; it is ended now");
                    (self.tell)("canary", json!({"reason": reason}));
                    end_silent(path, pid)?;
                }
                // It has ended meanwhile.
                Err(CanaryError::None(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(format!("{} was undone", canary.id))
    }

    fn back_up(&mut self) -> Result<String, RollbackError> {
        let RollbackStart { id, plan, .. } = &self.state.begin;
        match make_snapshot(&plan.data_dir, &plan.snapshots, &format!("{id}-backup")) {
            Ok(snapshot) => Ok(snapshot.display().to_string()),
            Err(ExchangeError::Snapshot(MaintenanceError::Open(OpenError::Damaged {
                finding,
                ..
            }))) => {
                let detail = format!("it cannot be copied, and is kept as it is: {finding}");
                self.note_entry(&RollbackEntry::Damaged(finding))?;
                Ok(detail)
            }
            // No host serves, and what is replaced is kept aside: the copy is not worth more time without a host.
            Err(error @ ExchangeError::NotCopied { .. }) if plan.upgrade.is_some() => {
                Ok(format!("none was made: {error}"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stops the host. Its database stays, or a snapshot takes its place. Repeated by each run, since the newer version may have served meanwhile.
    fn stop_and_restore(&mut self, stop: &AtomicBool) -> Result<String, RollbackError> {
        let RollbackStart { plan, schema, .. } = self.state.begin.clone();
        if let Some(kept) = self.state.find_unnoted_restore() {
            self.note_entry(&RollbackEntry::KeptAside(kept))?;
        }
        let begun = self.state.past.set_aside.clone();
        // The damaged database was replaced.
        let is_replaced = self.state.past.kept_aside.is_some();
        let damage = self.state.damage.clone().filter(|_| !is_replaced);
        let decide = || decide_way(&plan, schema, damage.as_deref());
        // Whether a run was killed while it restored: nothing has served since.
        let pending = begun.clone().filter(|_| is_restore_pending(&plan.data_dir));
        let is_exclusive = pending.is_some() || matches!(decide()?, DatabaseChoice::Restore(_));
        self.stop_host(&plan, is_exclusive, stop)?;
        let aside = match (pending, begun) {
            (Some(aside), _) => aside,
            (None, begun) => match decide()? {
                DatabaseChoice::Keep { reason } => {
                    // A run that was killed before it said so may have restored it.
                    give_made(&plan.data_dir).map_err(ExchangeError::for_file(&plan.data_dir))?;
                    return Ok(self.describe_kept(reason));
                }
                DatabaseChoice::Restore(aside) => {
                    if !is_exclusive {
                        // The newer version migrated it meanwhile.
                        self.stop_host(&plan, true, stop)?;
                    }
                    // What was accepted counts once.
                    let begun = begun.filter(|_| !is_replaced);
                    if !begun.is_some_and(|begun| covers_loss(&begun, &aside)) {
                        check_accepted(&aside, self.accepted, true)?;
                    }
                    (self.tell)("database", json!({"reason": aside.to_string()}));
                    self.note_entry(&RollbackEntry::SettingAside(aside.clone()))?;
                    aside
                }
            },
        };
        let token_file = self.token_file();
        let label = self.state.restore_label();
        let restored = restore_over(&aside.snapshot, &plan.data_dir, &label, &token_file)?;
        if restored.token.is_some() {
            (self.tell)("token", json!({"reason": token_file.describe_token()}));
            self.admin = token_file.read_client(self.clients.client)?;
        }
        let kept = restored.moved_aside.unwrap_or_default();
        let detail = format!("{aside}; it is kept in {}", kept.display());
        self.note_entry(&RollbackEntry::KeptAside(kept))?;
        Ok(detail)
    }

    fn stop_host(
        &self,
        plan: &RollbackPlan,
        is_exclusive: bool,
        stop: &AtomicBool,
    ) -> Result<(), RollbackError> {
        let actions = plan.control.stop_actions(&plan.binary, is_exclusive);
        run_actions(&actions, &self.journal.share_lock()?, plan.timeout, stop)?;
        Ok(())
    }

    /// What became of the database, where the stable version can open it now.
    fn describe_kept(&self, reason: String) -> String {
        let past = &self.state.past;
        match (&past.set_aside, &past.kept_aside) {
            (Some(aside), Some(kept)) => format!("{aside}; it is kept in {}", kept.display()),
            (Some(aside), None) => aside.to_string(),
            (None, _) => DatabaseChoice::Keep { reason }.to_string(),
        }
    }

    pub(super) fn token_file(&self) -> TokenFile {
        TokenFile::place_beside(self.journal.path(), &self.state.begin.id)
    }

    fn validate_host(&mut self, stop: &AtomicBool) -> Result<String, RollbackError> {
        let RollbackStart { plan, schema, .. } = &self.state.begin;
        let Some(wanted) = &plan.validation else {
            return Ok("none is wanted".to_owned());
        };
        // The record is read by this program.
        let data_dir = (*schema == current_schema()).then(|| plan.data_dir.clone());
        // The token of an administrator may propose, too; the submitter's went with the database.
        let clients = HostClients {
            client: self.admin.as_ref().unwrap_or(self.clients.client),
            submitter: self.admin.as_ref().unwrap_or(self.clients.submitter),
        };
        let (report, result) = wanted.run_validation(clients, data_dir, stop, &mut *self.tell)?;
        self.validation = report;
        let detail = match result {
            Validated::Passed(detail) => detail,
            Validated::Failed(failed) => format!("FAILED: {failed}"),
            Validated::Interrupted => return Err(RollbackError::Interrupted),
        };
        // What was validated must be what serves on.
        self.watch = Some(HostWatch::over_running(&self.state.begin.plan.data_dir));
        self.check_health(stop)?;
        Ok(detail)
    }

    /// Has the host record the steps that were taken, each once; while it is away they wait.
    fn record_steps(&mut self) {
        // The open socket of a unit takes a connection also while no host does: that would hold up the way back until its time-out.
        if find_host_process(&self.state.begin.plan.data_dir) == HostProcess::None {
            return;
        }
        let mut recorded = std::mem::take(&mut self.recorded);
        record_taken(&self.state.past.steps, &mut recorded, |done| {
            let name = done.step.as_str();
            let key = format!("{name}-{}", done.at_ms.0);
            self.post_step(&key, name, &done.detail)
        });
        self.recorded = recorded;
    }

    pub(super) fn post_step(&self, key: &str, step: &str, reason: &str) -> Result<(), ClientError> {
        let RollbackStart { id, plan, .. } = &self.state.begin;
        let record = StepRecord {
            deployment: id,
            kind: "rollback",
            version: &plan.version,
            step,
            share_pct: None,
            reason,
            figures: &Value::Null,
        };
        post_step(self.current_client(), &format!("{id}-{key}"), &record)
    }

    fn finish_rollback(mut self) -> Result<RollbackReport, RollbackError> {
        let passed = self.state.past.steps.iter().all(|step| step.passed);
        let result = if passed {
            "the stable version serves".to_owned()
        } else {
            "the stable version serves, and does not pass its validation".to_owned()
        };
        self.record_steps();
        let mut unrecorded: Vec<String> = self
            .state
            .past
            .steps
            .iter()
            .filter(|done| !self.recorded.contains(&done.step))
            .map(|step| step.step.as_str().to_owned())
            .collect();
        if let Err(error) = self.post_step("end", "rolled-back", &result) {
            unrecorded.push(format!("rolled-back: {error}"));
        }
        self.note_entry(&RollbackEntry::Finished {
            at_ms: Millis::now(),
            passed,
            result,
        })?;
        self.journal.release_room();
        let token_file = self.token_file().into_path();
        Ok(RollbackReport {
            past: self.state.past,
            validation: self.validation,
            token_file: self.admin.is_some().then_some(token_file),
            unrecorded,
        })
    }
}
