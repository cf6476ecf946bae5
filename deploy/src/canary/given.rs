//! Options that are given to a canary that goes on, or is undone.

use std::time::Duration;

use crate::exchange::ExchangeError;
use crate::exchange::given::{GivenOption, TakenOptions, fixed};

use super::journal::CanaryEntry;
use super::plan::CanaryPlan;

/// Takes options over into how the data is taken over. Returns what was taken, one option a line, and the entry that notes it; `None`: the journal has
/// everything already.
///
/// # Errors
/// The canary takes no data over.
pub(super) fn take_options(
    plan: &mut CanaryPlan,
    given: &[GivenOption],
) -> Result<Option<(Vec<String>, CanaryEntry)>, ExchangeError> {
    let mut taken = TakenOptions::default();
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
    let Some(plan) = field.as_ref().filter(|_| !taken.lines.is_empty()) else {
        return Ok(None);
    };
    Ok(Some((
        taken.lines,
        CanaryEntry::Corrected(Box::new(plan.clone())),
    )))
}
