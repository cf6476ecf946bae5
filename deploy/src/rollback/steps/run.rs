//! A rollback from its first step to its last.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_client::HostClient;
use ark_model::ids::Millis;
use ark_store::current_schema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::data_lock::DataDirLock;
use crate::exchange::HostClients;
use crate::exchange::hosts::serving::{HostWatch, is_ready};
use crate::exchange::validation::Validated;
use crate::journal::{EXCHANGE_ROOM, Journal};
use crate::rollback::database::{AcceptedLoss, CheckedSnapshots};
use crate::rollback::error::RollbackError;
use crate::rollback::journal::{
    PastRollback, PastStep, RollbackEntry, RollbackStart, RollbackState, RollbackStep,
};
use crate::rollback::telemetry::compare_telemetry;
use crate::runner::RunMark;
use crate::validate::{ValidationReport, reserve_validation};

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
    pub(in crate::rollback) clients: HostClients<'a>,
    pub(in crate::rollback) journal: Journal,
    pub(in crate::rollback) state: RollbackState,
    /// Says that this process runs it.
    pub(in crate::rollback) _mark: Option<RunMark>,
    /// Whether this is run by an upgrade, which has locked the data directory.
    pub(in crate::rollback) is_within_upgrade: bool,
    /// Keeps other exchanges from the data directory, whatever address they were given, once no canary has it.
    pub(in crate::rollback) data_lock: Option<DataDirLock>,
    pub(in crate::rollback) accepted: Option<AcceptedLoss>,
    pub(in crate::rollback) validation: Option<ValidationReport>,
    pub(in crate::rollback) checked: CheckedSnapshots,
    /// A client with the token that the restore made.
    pub(in crate::rollback) admin: Option<HostClient>,
    /// The steps taken that the host has recorded.
    pub(in crate::rollback) recorded: Vec<RollbackStep>,
    /// Tells whether the stable version that this run started has ended.
    pub(in crate::rollback) watch: Option<HostWatch>,
    pub(in crate::rollback) tell: &'a mut dyn FnMut(&str, Value),
}

impl Rollback<'_> {
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
            // Before the step is noted: what a kill leaves of it are no weights of before.
            if step == RollbackStep::Traffic
                && let Err(error) = self.renew_weights()
            {
                return Err(self.note_failure(step, error));
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
                Err(error) => return Err(self.note_failure(step, error)),
            }
        }
        self.finish_rollback(stop)
    }

    /// Notes why a step failed. Returns the error with which the run ends.
    fn note_failure(&mut self, step: RollbackStep, error: RollbackError) -> RollbackError {
        let problem = error.to_string();
        // Why the step failed is what counts, also where a full disk takes no entry.
        if let Err(unnoted) = self.note_entry(&RollbackEntry::Failed { step, problem }) {
            (self.tell)("unnoted", json!({"reason": unnoted.to_string()}));
        }
        if error.is_interruption() {
            return RollbackError::Interrupted;
        }
        error.in_step(step, self.state.begin.plan.upgrade.is_some())
    }

    /// Reads the weights of before again, as long as the requests were not touched: when the rollback began, a canary that was undone since may have had
    /// its share of them.
    fn renew_weights(&mut self) -> Result<(), RollbackError> {
        let begin = &self.state.begin;
        let Some(traffic) = begin.plan.traffic.as_ref() else {
            return Ok(());
        };
        if self.state.has_begun_traffic {
            return Ok(());
        }
        let weights = read_weights(traffic)?;
        if weights == begin.weights {
            return Ok(());
        }
        let plan = Box::new(begin.plan.clone());
        self.note_entry(&RollbackEntry::Corrected { plan, weights })
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

    pub(in crate::rollback) fn note_entry(
        &mut self,
        entry: &RollbackEntry,
    ) -> Result<(), RollbackError> {
        self.journal.record_entry(entry)?;
        self.state.apply_entry(entry);
        Ok(())
    }

    /// Operates the host, with the token that the restore made if it made one.
    pub(in crate::rollback) fn current_client(&self) -> &HostClient {
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
            RollbackStep::Health => {
                let detail = self.check_health(stop)?;
                // Before it gets requests: the host may have been away when the rollback began.
                let warning = compare_telemetry(self.current_client(), &self.state.begin.plan)?;
                if let Some(warning) = warning {
                    (self.tell)("telemetry", json!({"reason": warning}));
                }
                Ok(detail)
            }
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

    fn finish_rollback(mut self, stop: &AtomicBool) -> Result<RollbackReport, RollbackError> {
        let passed = self.state.past.steps.iter().all(|step| step.passed);
        let result = if passed {
            "the stable version serves".to_owned()
        } else {
            "the stable version serves, and does not pass its validation".to_owned()
        };
        self.record_steps();
        let mut ended = self.post_step("end", "rolled-back", &result);
        if ended.is_err() {
            // A host that does not take the end has perhaps ended since it was looked at.
            self.watch = Some(HostWatch::over_running(&self.state.begin.plan.data_dir));
            if let Err(error) = self.check_health(stop) {
                return Err(self.note_failure(RollbackStep::Health, error));
            }
            self.record_steps();
            ended = self.post_step("end", "rolled-back", &result);
        }
        let mut unrecorded: Vec<String> = self
            .state
            .past
            .steps
            .iter()
            .filter(|done| !self.recorded.contains(&done.step))
            .map(|step| step.step.as_str().to_owned())
            .collect();
        if let Err(error) = ended {
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
