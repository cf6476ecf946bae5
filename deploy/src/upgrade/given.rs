//! Options that are given to an upgrade that goes on.

use std::path::Path;
use std::time::Duration;

use crate::exchange::given::{
    GivenOption, TakenOptions, fixed, keep_path, keep_program, keep_unit, keep_value,
};
use crate::exchange::{ExchangeError, HostControl};

use super::journal::UpgradePlan;

/// Takes options over into what an upgrade that goes on is run with. Returns what was taken, one option a line.
///
/// # Errors
/// An option would make it another upgrade. Then the plan is not to be used.
pub(super) fn take_options(
    plan: &mut UpgradePlan,
    given: &[GivenOption],
) -> Result<Vec<String>, ExchangeError> {
    let mut taken = TakenOptions::default();
    for one in given {
        match one {
            GivenOption::Name(name) => keep_value("--name", name, &plan.version)?,
            // That of the unit was kept, and the new version may have its place by now.
            GivenOption::StableBinary(file) if is_program_of_unit(&plan.control, file) => {}
            GivenOption::StableBinary(file) => {
                keep_program("--stable-binary", file, &plan.stable_binary)?;
            }
            GivenOption::DataDir(dir) => keep_path("--data-dir", dir, &plan.data_dir)?,
            GivenOption::Snapshots(dir) => keep_path("--snapshots", dir, &plan.snapshots)?,
            GivenOption::Unit(_) | GivenOption::Program(_) => keep_unit(&plan.control, one)?,
            GivenOption::StopCommand(command) => {
                let mut controls = [&mut plan.control, &mut plan.stable_control];
                taken.take_stop(&mut controls, command)?;
            }
            GivenOption::StartCommand(command) => {
                taken.take_start("--start-command", &mut plan.control, command)?;
            }
            GivenOption::StartStableCommand(command) => {
                let option = "--start-stable-command";
                taken.take_start(option, &mut plan.stable_control, command)?;
            }
            GivenOption::Timeout(timeout) => {
                let show = |time: &Duration| format!("{time:?}");
                taken.take("--timeout", &mut plan.timeout, *timeout, show);
            }
            GivenOption::Config(file) => {
                take_check_argument(plan, &mut taken, "--config", file)?;
            }
            GivenOption::EnvFile(file) => {
                take_check_argument(plan, &mut taken, "--env-file", file)?;
            }
            GivenOption::CanaryJournal(path) => {
                keep_path("--canary-journal", path, &plan.canary_journal)?;
            }
            GivenOption::RollbackJournal(path) => {
                keep_path("--rollback-journal", path, &plan.rollback_journal)?;
            }
            GivenOption::NoValidation
            | GivenOption::Categories(_)
            | GivenOption::Patience(_)
            | GivenOption::Telemetry(_) => taken.take_validation(&mut plan.validation, one)?,
            // No option of an upgrade.
            GivenOption::Reason(_)
            | GivenOption::Snapshot(_)
            | GivenOption::HealthTries(_)
            | GivenOption::HealthPause(_)
            | GivenOption::Haproxy(_)
            | GivenOption::Backend(_)
            | GivenOption::Server(_)
            | GivenOption::Shares(_)
            | GivenOption::Step(_)
            | GivenOption::Interval(_)
            | GivenOption::LeaveWeights
            | GivenOption::UpgradeJournal(_) => {}
        }
    }
    Ok(taken.lines)
}

fn is_program_of_unit(control: &HostControl, file: &Path) -> bool {
    matches!(control, HostControl::Unit { program, .. } if program == file)
}

/// Takes over a file by which the new version's check finds the configuration.
fn take_check_argument(
    plan: &mut UpgradePlan,
    taken: &mut TakenOptions,
    option: &'static str,
    file: &Path,
) -> Result<(), ExchangeError> {
    let Some(text) = file.to_str() else {
        return Err(fixed(option, file.display(), "a path that is UTF-8"));
    };
    let mut pairs = plan.check_args.chunks_mut(2);
    let found = pairs.find_map(|pair| match pair {
        [name, value] if *name == option => Some(value),
        _ => None,
    });
    if let Some(value) = found {
        taken.take(option, value, text.to_owned(), String::clone);
    } else {
        taken
            .lines
            .push(format!("{option}: {text}, in place of none"));
        plan.check_args.extend([option.to_owned(), text.to_owned()]);
    }
    Ok(())
}
