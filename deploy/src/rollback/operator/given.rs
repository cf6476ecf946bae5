//! Options that are given to a rollback that goes on.

use std::time::Duration;

use crate::exchange::ExchangeError;
use crate::exchange::given::{
    GivenOption, TakenOptions, fixed, keep_path, keep_program, keep_unit, keep_value,
};
use crate::rollback::error::RollbackError;
use crate::rollback::journal::{RollbackEntry, RollbackState, RollbackStep};
use crate::rollback::plan::{RollbackPlan, TrafficPlan};
use crate::rollback::steps::traffic::read_weights;

/// Takes options over into what a rollback that goes on is run with. Returns what was taken, one option a line, and the entry that notes it; `None`:
/// the journal has everything already.
///
/// # Errors
/// An option would make it another rollback, or comes too late; `HAProxy` does not answer. Then the state is not to be used.
pub(super) fn take_options(
    state: &mut RollbackState,
    given: &[GivenOption],
) -> Result<Option<(Vec<String>, RollbackEntry)>, RollbackError> {
    let mut taken = TakenOptions::default();
    let before = state.begin.plan.traffic.clone();
    take_requests(state, &mut taken, given)?;
    let plan = &mut state.begin.plan;
    let seconds = |time: &Duration| format!("{time:?}");
    for one in given {
        match one {
            GivenOption::Name(name) => keep_value("--name", name, &plan.version)?,
            GivenOption::Reason(reason) => keep_value("--reason", reason, &plan.reason)?,
            GivenOption::StableBinary(file) => {
                keep_program("--stable-binary", file, &plan.binary)?;
            }
            GivenOption::DataDir(dir) => keep_path("--data-dir", dir, &plan.data_dir)?,
            GivenOption::Snapshots(dir) => keep_path("--snapshots", dir, &plan.snapshots)?,
            GivenOption::Snapshot(dir) => {
                let show = |dir: &Option<std::path::PathBuf>| {
                    let text = dir.as_ref().map(|dir| dir.display().to_string());
                    text.unwrap_or_else(|| "the last one".to_owned())
                };
                taken.take("--snapshot", &mut plan.snapshot, Some(dir.clone()), show);
            }
            GivenOption::Unit(_) | GivenOption::Program(_) => keep_unit(&plan.control, one)?,
            GivenOption::StopCommand(command) => {
                taken.take_stop(&mut [&mut plan.control], command)?;
            }
            GivenOption::StartCommand(command) => {
                taken.take_start("--start-command", &mut plan.control, command)?;
            }
            GivenOption::Timeout(timeout) => {
                taken.take("--timeout", &mut plan.timeout, *timeout, seconds);
            }
            GivenOption::HealthTries(tries) => {
                taken.take("--health-tries", &mut plan.tries, *tries, u32::to_string);
            }
            GivenOption::HealthPause(pause) => {
                taken.take("--health-pause", &mut plan.pause, *pause, seconds);
            }
            GivenOption::CanaryJournal(path) => {
                keep_path("--canary-journal", path, &plan.canary_journal)?;
            }
            GivenOption::UpgradeJournal(path) => {
                // The way back of an upgrade has none.
                if let Some(journal) = &plan.upgrade_journal {
                    keep_path("--upgrade-journal", path, journal)?;
                }
            }
            GivenOption::NoValidation
            | GivenOption::Categories(_)
            | GivenOption::Patience(_)
            | GivenOption::Telemetry(_) => taken.take_validation(&mut plan.validation, one)?,
            // Taken above, or no option of a rollback.
            GivenOption::Haproxy(_)
            | GivenOption::Backend(_)
            | GivenOption::Server(_)
            | GivenOption::Shares(_)
            | GivenOption::Step(_)
            | GivenOption::Interval(_)
            | GivenOption::LeaveWeights
            | GivenOption::StartStableCommand(_)
            | GivenOption::Config(_)
            | GivenOption::EnvFile(_)
            | GivenOption::RollbackJournal(_) => {}
        }
    }
    if taken.lines.is_empty() {
        return Ok(None);
    }
    if let Some(traffic) = find_new_place(before.as_ref(), state) {
        state.begin.weights = read_weights(traffic)?;
    }
    Ok(Some((taken.lines, note_plan(state))))
}

/// How the requests go back, where that is another place than `before`.
pub(super) fn find_new_place<'a>(
    before: Option<&TrafficPlan>,
    state: &'a RollbackState,
) -> Option<&'a TrafficPlan> {
    let now = state.begin.plan.traffic.as_ref()?;
    let is_same = before.is_some_and(|before| before.has_place_of(now));
    (!is_same).then_some(now)
}

/// Takes over what an upgrade's way back is run with by now. Returns as [`take_options`].
pub(super) fn take_from_upgrade(
    state: &mut RollbackState,
    now: RollbackPlan,
) -> Option<(Vec<String>, RollbackEntry)> {
    let plan = &mut state.begin.plan;
    let mut taken = Vec::new();
    if plan.control != now.control {
        plan.control = now.control;
        taken.push("the commands are those of the upgrade by now".to_owned());
    }
    if plan.timeout != now.timeout {
        plan.timeout = now.timeout;
        taken.push(format!(
            "--timeout: {:?}, as the upgrade by now",
            plan.timeout
        ));
    }
    if plan.validation != now.validation {
        plan.validation = now.validation;
        taken.push("the validation is that of the upgrade by now".to_owned());
    }
    (!taken.is_empty()).then(|| (taken, note_plan(state)))
}

fn note_plan(state: &RollbackState) -> RollbackEntry {
    RollbackEntry::Corrected {
        plan: Box::new(state.begin.plan.clone()),
        weights: state.begin.weights.clone(),
    }
}

/// Takes over how the requests go back, as long as the step that gives them was not reached; how long each share is watched also later.
fn take_requests(
    state: &mut RollbackState,
    taken: &mut TakenOptions,
    given: &[GivenOption],
) -> Result<(), ExchangeError> {
    let is_reached = state.has_begun_traffic;
    let is_done = state.is_done(RollbackStep::Traffic);
    let field = &mut state.begin.plan.traffic;
    let late = "the step `traffic` begun already";
    let haproxy = given.iter().find_map(|one| match one {
        GivenOption::Haproxy(haproxy) => Some(haproxy),
        _ => None,
    });
    if let (None, Some(haproxy)) = (&field, haproxy) {
        if is_done {
            return Err(fixed("--haproxy", haproxy, late));
        }
        taken
            .lines
            .push(format!("--haproxy: {haproxy}, in place of none"));
        *field = Some(TrafficPlan::of_haproxy(haproxy.clone()));
    }
    let seconds = |time: &Duration| format!("{time:?}");
    for one in given {
        let option = match one {
            GivenOption::Haproxy(_) => "--haproxy",
            GivenOption::Backend(_) => "--backend",
            GivenOption::Server(_) => "--server",
            GivenOption::Shares(_) => "--shares",
            GivenOption::Step(_) => "--step",
            GivenOption::Interval(_) => "--interval",
            _ => continue,
        };
        let Some(plan) = field.as_mut() else {
            return Err(fixed(option, "", "no HAProxy; give --haproxy, too"));
        };
        let had = taken.lines.len();
        let is_place = match one {
            GivenOption::Haproxy(haproxy) => {
                taken.take(option, &mut plan.haproxy, haproxy.clone(), |one| {
                    one.to_string()
                })
            }
            GivenOption::Backend(name) => {
                taken.take(option, &mut plan.backend, name.clone(), String::clone)
            }
            GivenOption::Server(name) => {
                taken.take(option, &mut plan.server, name.clone(), String::clone)
            }
            GivenOption::Shares(shares) => {
                taken.take(option, &mut plan.shares, shares.clone(), |shares| {
                    format!("{shares:?}")
                });
                false
            }
            GivenOption::Step(step) => {
                taken.take(option, &mut plan.step, *step, seconds);
                false
            }
            GivenOption::Interval(interval) => {
                taken.take(option, &mut plan.interval, *interval, seconds);
                false
            }
            _ => false,
        };
        // Weights of another place may have been changed by then; and what was done is not done again.
        if taken.lines.len() > had && (is_done || (is_place && is_reached)) {
            return Err(fixed(option, "", late));
        }
    }
    Ok(())
}
