//! Options that are given to a canary that goes on, or is undone.

use std::time::Duration;

use crate::exchange::ExchangeError;
use crate::exchange::given::{GivenOption, TakenOptions, fixed};
use crate::haproxy::HaproxyAddress;

use super::journal::CanaryEntry;
use super::plan::CanaryPlan;

/// What a canary that goes on has taken over.
#[derive(Debug, Default)]
pub(super) struct CanaryCorrections {
    /// What was taken, one option a line.
    pub(super) lines: Vec<String>,
    /// The entries that note it.
    pub(super) entries: Vec<CanaryEntry>,
    /// Whether this run leaves the weights of `HAProxy` as they are.
    pub(super) leaves_weights: bool,
}

/// Takes options over into how the data is taken over, and where `HAProxy` is. What the journal has already is no correction.
///
/// # Errors
/// The canary takes no data over.
pub(super) fn take_options(
    plan: &mut CanaryPlan,
    given: &[GivenOption],
) -> Result<CanaryCorrections, ExchangeError> {
    let mut taken = TakenOptions::default();
    let mut corrections = CanaryCorrections::default();
    let none = "no take-over (`--new-binary` of `ark canary start`)";
    let field = &mut plan.take_over;
    for one in given {
        let (option, command) = match one {
            GivenOption::StopCommand(command) => ("--stop-command", command),
            GivenOption::StartCommand(command) => ("--start-command", command),
            GivenOption::StartStableCommand(command) => ("--start-stable-command", command),
            GivenOption::Timeout(timeout) => {
                let option = "--take-over-timeout";
                let plan = field.as_mut().ok_or_else(|| fixed(option, "", none))?;
                let show = |time: &Duration| format!("{time:?}");
                taken.take(option, &mut plan.timeout, *timeout, show);
                continue;
            }
            _ => continue,
        };
        let plan = field.as_mut().ok_or_else(|| fixed(option, command, none))?;
        let field = match one {
            GivenOption::StopCommand(_) => &mut plan.stop_command,
            GivenOption::StartCommand(_) => &mut plan.start_command,
            _ => &mut plan.start_stable_command,
        };
        taken.take(option, field, command.clone(), String::clone);
    }
    if let Some(plan) = field.as_ref().filter(|_| !taken.lines.is_empty()) {
        let entry = CanaryEntry::Corrected(Box::new(plan.clone()));
        corrections.entries.push(entry);
    }
    for one in given {
        match one {
            GivenOption::Haproxy(address) => {
                let (field, show) = (&mut plan.haproxy, HaproxyAddress::to_string);
                if taken.take("--haproxy", field, address.clone(), show) {
                    let entry = CanaryEntry::CorrectedHaproxy(address.clone());
                    corrections.entries.push(entry);
                }
            }
            GivenOption::LeaveWeights => {
                let line = "--leave-weights: HAProxy keeps the weights that it has";
                taken.lines.push(line.to_owned());
                corrections.leaves_weights = true;
            }
            _ => {}
        }
    }
    corrections.lines = taken.lines;
    Ok(corrections)
}
