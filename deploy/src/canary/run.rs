//! A canary from its first share to its end.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use ark_client::HostClient;
use ark_store::is_restore_pending;
use serde_json::{Value, json};

use crate::data_lock::DataDirLock;
use crate::exchange::control::HostAction;
use crate::exchange::database::{clear_partial_copies, kept_path, make_snapshot, replay_snapshot};
use crate::exchange::hosts::HostExchange;
use crate::exchange::preflight::check_access;
use crate::exchange::record::{StepQueue, StepRecord};
use crate::exchange::serving::{HostIdentity, WantedProgram};
use crate::exchange::traffic::{set_weights, weigh_servers};
use crate::exchange::{ExchangeError, GivenOption, HostClients};
use crate::exclusion::{
    ExchangeKind, ExclusionError, OtherJournal, OwnJournal, hold_others, open_own,
};
use crate::haproxy::HaproxyClient;
use crate::journal::{EXCHANGE_ROOM, Journal};
use crate::quarantines::QuarantineMark;
use crate::runner::RunMark;

use super::error::CanaryError;
use super::given::take_options;
use super::journal::{CanaryEntry, CanaryStart, CanaryState, TakeOverStep, read_entries};
use super::measure::{Figures, Meter};
use super::orders::{CanaryOrder, OrderInbox};
use super::plan::{CanaryPlan, ExcludedJournals, TakeOverPlan};
use super::prepare::prepare_canary;
use super::report::CanaryReport;
use super::takeover::TakeOver;
use super::tripwires::{Measurement, MeasurementResult, StepWatch, Tripwire};

/// Why a canary goes back that an operator or a signal ends.
const ENDED: &str = "an operator ended it";

/// What a run may end with before its end.
enum Stop {
    Back(Tripwire, String),
    Failed(CanaryError),
}

impl<E: Into<CanaryError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What becomes of the weights of `HAProxy` on a way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightReturn {
    /// They must be those of before.
    Needed,
    /// They are set if `HAProxy` takes them.
    Tried,
    /// An operator sees to them.
    Left,
}

/// A canary that was ended for a rollback.
pub(crate) struct CanaryLeft {
    /// Whether its take-over had begun, so that its host is left to the rollback.
    pub(crate) has_begun: bool,
    /// Why its weights are not those of before.
    pub(crate) unweighed: Option<String>,
}

/// The weights as an operator reads them.
fn list_weights(weights: &BTreeMap<String, u32>) -> String {
    let all = weights
        .iter()
        .map(|(name, weight)| format!("{name} {weight}"));
    all.collect::<Vec<_>>().join(", ")
}

/// Refuses `--leave-weights` for a canary that goes on to give shares.
pub(super) fn check_left_weights(
    state: &CanaryState,
    leaves_weights: bool,
) -> Result<(), CanaryError> {
    if leaves_weights && state.going_back.is_none() && state.take_over.is_none() {
        return Err(CanaryError::LeftWeights);
    }
    Ok(())
}

/// How far a step has come.
struct StepTimes {
    /// When its time began.
    started: Instant,
    /// Whether it ends at the next success, by an operator's word.
    promoted: bool,
}

/// A canary that this process runs.
pub struct HostCanary<'a> {
    pub(super) client: &'a HostClient,
    /// A client with the token that the way back made.
    pub(super) admin: Option<HostClient>,
    pub(super) journal: Journal,
    /// Says that this process runs it.
    _mark: Option<RunMark>,
    /// Keeps other exchanges from the data directory that is taken over, whatever address they were given.
    _data_lock: Option<DataDirLock>,
    pub(super) path: PathBuf,
    pub(super) begin: CanaryStart,
    pub(super) state: CanaryState,
    pub(super) weights: WeightReturn,
    records_waiting: StepQueue,
    /// The names of the processes that the host was in the steps before.
    hosts: BTreeSet<String>,
    /// How many steps were recorded: part of their idempotency keys.
    records: u32,
    pub(super) tell: &'a mut dyn FnMut(&str, Value),
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
            _mark: mark,
            _data_lock: data_lock,
            path: path.to_owned(),
            begin,
            state,
            weights: WeightReturn::Needed,
            records_waiting: StepQueue::default(),
            hosts: BTreeSet::new(),
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
            _mark: mark,
            _data_lock: data_lock,
            path: path.to_owned(),
            begin,
            state,
            weights,
            records_waiting: StepQueue::default(),
            hosts: BTreeSet::new(),
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
            return self.go_back(tripwire, &reason, &never);
        }
        match self.take_steps(stop) {
            Ok(take_over) => self.finish_canary(take_over),
            Err(Stop::Back(tripwire, reason)) => self.go_back(Some(tripwire), &reason, &never),
            // Whatever it is, the stable version serves again.
            Err(Stop::Failed(error)) => {
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
        // One that goes back already does so for its own reason.
        let (tripwire, reason) = match &self.state.going_back {
            Some(reason) => (self.state.tripwire, reason.clone()),
            None => (Some(Tripwire::Aborted), reason.to_owned()),
        };
        self.go_back(tripwire, &reason, stop)
    }

    /// Ends a canary for a rollback, which brings the stable version back by its own steps, also where decisions are lost that somebody accepts:
    /// the requests go back, and the canary is over. An `HAProxy` that is away or changed does not hold up the rollback, which starts the stable host.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub(crate) fn leave_to_rollback(
        mut self,
        stop: &AtomicBool,
    ) -> Result<CanaryLeft, CanaryError> {
        self.weights = WeightReturn::Tried;
        let plan = &self.begin.plan;
        let take_over = plan.take_over.as_ref().filter(|_| self.state.was_stopped);
        // A restore that this canary began and that was interrupted is its own to repeat: no host starts before.
        if take_over.is_some_and(|plan| is_restore_pending(&plan.data_dir)) {
            let report = self.abort("a rollback", stop)?;
            return Ok(CanaryLeft {
                has_begun: false,
                unweighed: report.unweighed,
            });
        }
        let has_begun = take_over.is_some();
        let unweighed = self.return_weights().err().map(|error| error.to_string());
        let unweighed = self.note_unweighed(unweighed);
        let tripwire = Tripwire::Aborted;
        let mut text = format!("{}: a rollback", tripwire.as_str());
        if let Some(unweighed) = &unweighed {
            text = format!("{text}; {unweighed}");
        }
        let figures = json!({"tripwire": tripwire, "unweighed": unweighed});
        self.record_step("went-back", &text, &figures);
        self.journal.clear_entries()?;
        Ok(CanaryLeft {
            has_begun,
            unweighed,
        })
    }

    /// Gives the servers the weights of before again, unless they are left alone.
    pub(super) fn return_weights(&self) -> Result<(), CanaryError> {
        let plan = &self.begin.plan;
        if self.weights == WeightReturn::Left {
            return Ok(());
        }
        let haproxy = HaproxyClient::new(plan.haproxy.clone());
        set_weights(&haproxy, &plan.backend, &self.begin.weights).map_err(|cause| {
            CanaryError::Weights {
                weights: list_weights(&self.begin.weights),
                cause,
            }
        })
    }

    /// What is to be done by hand about weights that were left alone, or that could not be set, as it is told and reported.
    pub(super) fn note_unweighed(&mut self, problem: Option<String>) -> Option<String> {
        let weights = list_weights(&self.begin.weights);
        let note = match (self.weights, problem) {
            (WeightReturn::Left, _) => format!(
                "the weights were left as they are (--leave-weights); before the canary they were {weights}"
            ),
            (_, Some(problem)) => problem,
            (_, None) => return None,
        };
        (self.tell)("unweighed", json!({"reason": note}));
        Some(note)
    }

    fn take_steps(&mut self, stop: &AtomicBool) -> Result<Option<TakeOver>, Stop> {
        if self.state.take_over.is_none() {
            for share in self.begin.plan.shares.clone() {
                // A share that was given before the process ended is measured again.
                if share >= self.state.share_pct {
                    self.give_share(share)?;
                    self.watch_step(share, stop)?;
                }
            }
        } else {
            // A way back that did not come to its end may have given the requests back.
            self.weigh_share()?;
        }
        let Some(plan) = self.begin.plan.take_over.clone() else {
            return Ok(None);
        };
        self.take_over(&plan, stop).map(Some).map_err(Stop::from)
    }

    /// Has the new version take the data over. After a kill at any point it comes to the same end when it is repeated.
    fn take_over(
        &mut self,
        plan: &TakeOverPlan,
        stop: &AtomicBool,
    ) -> Result<TakeOver, CanaryError> {
        let id = self.begin.id.clone();
        let wanted = WantedProgram::from_binary(&plan.new_binary)?;
        let serving = wanted.find_serving(&plan.data_dir);
        let is_running = self.state.is_running(&serving);
        let was_ordered = self.state.was_stopped;
        let is_valid = self.state.is_replayed(&serving);
        let replayed = self.state.replayed.clone().filter(|_| is_valid);
        let (snapshot, decisions) = match replayed {
            Some(replayed) => replayed,
            None => self.replay_snapshot(plan, stop)?,
        };
        if !is_running {
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
        Ok(TakeOver {
            snapshot,
            replayed: decisions,
            pause_ms: pause.map(|pause| u64::try_from(pause).unwrap_or(u64::MAX)),
            serving: done.serving,
        })
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

    /// Has the new version judge the decisions of a snapshot again. Returns the snapshot, and how many there are.
    fn replay_snapshot(
        &mut self,
        plan: &TakeOverPlan,
        stop: &AtomicBool,
    ) -> Result<(PathBuf, u64), CanaryError> {
        self.enter_step(TakeOverStep::Snapshot)?;
        let snapshot = make_snapshot(&plan.data_dir, &plan.snapshots, &self.begin.id)?;
        self.enter_step(TakeOverStep::Replay)?;
        let decisions = replay_snapshot(&plan.new_binary, &snapshot, stop)?;
        self.journal.record_entry(&CanaryEntry::Replayed {
            snapshot: snapshot.clone(),
            decisions,
        })?;
        self.state.replayed = Some((snapshot.clone(), decisions));
        Ok((snapshot, decisions))
    }

    fn enter_step(&mut self, phase: TakeOverStep) -> Result<(), CanaryError> {
        self.journal.record_entry(&CanaryEntry::TakingOver(phase))?;
        self.state.enter_step(phase);
        (self.tell)("take-over", json!({"phase": phase}));
        Ok(())
    }

    fn give_share(&mut self, share: u32) -> Result<(), CanaryError> {
        self.journal.record_entry(&CanaryEntry::Share(share))?;
        self.state.set_share(share);
        let weights = self.weigh_share()?;
        let reason = format!("{share} % of the requests");
        self.record_step("share", &reason, &json!({"weights": weights}));
        Ok(())
    }

    /// Gives the front the share that it has by the journal. Returns the weights.
    pub(super) fn weigh_share(&self) -> Result<BTreeMap<String, u32>, CanaryError> {
        let plan = &self.begin.plan;
        let weights = weigh_servers(&self.begin.weights, &plan.server, self.state.share_pct);
        if self.weights == WeightReturn::Left {
            return Ok(weights);
        }
        let haproxy = HaproxyClient::new(plan.haproxy.clone());
        set_weights(&haproxy, &plan.backend, &weights)?;
        Ok(weights)
    }

    /// Obeys an order of an operator within a step. That the canary goes back is left to the caller.
    fn obey_order(&mut self, order: CanaryOrder, times: &mut StepTimes) -> Result<(), CanaryError> {
        match order {
            CanaryOrder::Abort => self.note_abort(),
            CanaryOrder::Pause => {
                self.set_paused(true)?;
                self.record_step("paused", "an operator keeps the share", &Value::Null);
            }
            CanaryOrder::Resume if self.state.paused => {
                self.set_paused(false)?;
                self.record_step("resumed", "an operator ended the pause", &Value::Null);
                times.started = Instant::now();
            }
            CanaryOrder::Resume => {
                let reason = "it was not paused: its step goes on";
                self.record_step("resumed", reason, &Value::Null);
            }
            CanaryOrder::Promote => {
                self.note_promotion()?;
                times.promoted = true;
                let reason = "an operator goes on at the next success";
                self.record_step("promote", reason, &Value::Null);
            }
        }
        Ok(())
    }

    /// Notes that an operator ended the canary, so that it goes back also after a kill. A full disk keeps nobody from a way back.
    fn note_abort(&mut self) {
        let tripwire = Some(Tripwire::Aborted);
        let entry = CanaryEntry::GoingBack {
            tripwire,
            reason: ENDED.to_owned(),
        };
        match self.journal.record_entry(&entry) {
            Ok(()) => {
                self.state.going_back = Some(ENDED.to_owned());
                self.state.tripwire = tripwire;
            }
            Err(unnoted) => {
                (self.tell)("unnoted", json!({"reason": unnoted.to_string()}));
            }
        }
    }

    /// Notes that an operator has the canary go on from its share, so that it does also after a kill.
    fn note_promotion(&mut self) -> Result<(), CanaryError> {
        let share = self.state.share_pct;
        self.journal.record_entry(&CanaryEntry::Promoting(share))?;
        self.state.promoting = Some(share);
        Ok(())
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), CanaryError> {
        self.journal.record_entry(&CanaryEntry::Paused(paused))?;
        self.state.paused = paused;
        Ok(())
    }

    /// Measures a share until its time is over and the last measurement is a success.
    fn watch_step(&mut self, share: u32, stop: &AtomicBool) -> Result<(), Stop> {
        let (client, plan) = (self.client, self.begin.plan.clone());
        let begun = QuarantineMark::Moment(self.begin.began_at);
        let since = &self.begin.quarantines.clone().unwrap_or(begun);
        let meter = Meter::new(client, &plan)?;
        let first = meter.read_figures(&plan, since).ok();
        let mut step = StepWatch {
            limits: &plan.limits,
            baseline: self.begin.baseline,
            front_started: self.begin.front_started,
            last_sessions: first.as_ref().map_or(0, |first| first.server.sessions),
            first,
            slow: 0,
            idle: 0,
            away: 0,
            hosts: std::mem::take(&mut self.hosts),
            elsewhere: 0,
        };
        let mut times = StepTimes {
            started: Instant::now(),
            promoted: self.state.promoting == Some(share),
        };
        let inbox = OrderInbox::new(&self.path, &self.begin.id);
        loop {
            let next = Instant::now() + plan.interval;
            let obey = &mut |order| self.obey_order(order, &mut times);
            if inbox.wait_obeying::<CanaryError>(next, stop, obey)? {
                return Err(Stop::Back(Tripwire::Aborted, ENDED.to_owned()));
            }
            let (measurement, figures) = match meter.read_figures(&plan, since) {
                Ok(figures) => (step.judge_figures(&figures), Some(figures)),
                Err(error) => {
                    let is_host_away = client.get("/healthz").is_err();
                    (step.judge_error(is_host_away, error.to_string()), None)
                }
            };
            let paused = self.state.paused;
            self.tell_check(share, paused, &measurement, figures.as_ref());
            let over = times.started.elapsed() >= plan.step && !paused;
            let tripwire = match measurement.result {
                MeasurementResult::Success if over || times.promoted => {
                    let reason = format!("{share} % is healthy: {}", measurement.reason);
                    self.hosts = step.hosts;
                    self.record_step("healthy", &reason, &json!(figures));
                    return Ok(());
                }
                MeasurementResult::Success => continue,
                MeasurementResult::Failure(tripwire) => {
                    self.record_step("tripwire", &measurement.reason, &json!(figures));
                    return Err(Stop::Back(tripwire, measurement.reason));
                }
                MeasurementResult::Inconclusive => Tripwire::Inconclusive,
                MeasurementResult::Error => Tripwire::Error,
            };
            if !paused && times.started.elapsed() >= plan.step + plan.deadline {
                return Err(Stop::Back(tripwire, measurement.reason));
            }
        }
    }

    fn tell_check(
        &mut self,
        share: u32,
        paused: bool,
        measurement: &Measurement,
        figures: Option<&Figures>,
    ) {
        (self.tell)(
            "check",
            json!({"share_pct": share, "paused": paused, "result": measurement.result, "reason": measurement.reason, "figures": figures}),
        );
    }

    fn finish_canary(mut self, take_over: Option<TakeOver>) -> Result<CanaryReport, CanaryError> {
        let reason = match &take_over {
            None => "it has all requests; the host is the old one".to_owned(),
            Some(done) => {
                let pause = done.pause_ms.map_or_else(
                    || "an earlier run gave the order to stop".to_owned(),
                    |pause| format!("{pause} ms without a host"),
                );
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

    pub(super) fn into_report(
        self,
        promoted: bool,
        tripwire: Option<Tripwire>,
        reason: String,
        take_over: Option<TakeOver>,
    ) -> CanaryReport {
        // A request that came too late stays: who asked finds that no canary is under way.
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
            unrecorded: self.records_waiting.into_unrecorded(),
        }
    }

    /// Records a step at the host. A host that does not take it does not hold up the canary.
    pub(super) fn record_step(&mut self, step: &str, reason: &str, figures: &Value) {
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
