//! Options that are given to a run that goes on, and are compared with what its journal has. What repairs the run is taken; what would make it another
//! exchange is refused by name. None is ignored.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::haproxy::HaproxyAddress;

use super::error::ExchangeError;
use super::hosts::control::HostControl;
use super::programs::version::hash_file;
use super::validation::ValidationPlan;

/// An option of the command line with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenOption {
    /// `--name`
    Name(String),
    /// `--reason`
    Reason(String),
    /// `--stable-binary`
    StableBinary(PathBuf),
    /// `--data-dir`
    DataDir(PathBuf),
    /// `--snapshots`
    Snapshots(PathBuf),
    /// `--snapshot`
    Snapshot(PathBuf),
    /// `--unit`
    Unit(String),
    /// `--program`
    Program(PathBuf),
    /// `--stop-command`
    StopCommand(String),
    /// `--start-command`
    StartCommand(String),
    /// `--start-stable-command`
    StartStableCommand(String),
    /// `--timeout`
    Timeout(Duration),
    /// `--config`
    Config(PathBuf),
    /// `--env-file`
    EnvFile(PathBuf),
    /// `--health-tries`
    HealthTries(u32),
    /// `--health-pause`
    HealthPause(Duration),
    /// `--haproxy`
    Haproxy(HaproxyAddress),
    /// `--leave-weights`
    LeaveWeights,
    /// `--backend`
    Backend(String),
    /// `--server`
    Server(String),
    /// `--shares`
    Shares(Vec<u32>),
    /// `--step`
    Step(Duration),
    /// `--interval`
    Interval(Duration),
    /// `--no-validation`
    NoValidation,
    /// `--category`
    Categories(Vec<String>),
    /// `--patience`
    Patience(Duration),
    /// `--telemetry`; `None`: `off`.
    Telemetry(Option<String>),
    /// `--canary-journal`
    CanaryJournal(PathBuf),
    /// `--upgrade-journal`
    UpgradeJournal(PathBuf),
    /// `--rollback-journal`
    RollbackJournal(PathBuf),
}

/// What a run that goes on takes over, one option a line.
#[derive(Debug, Default)]
pub(crate) struct TakenOptions {
    pub(crate) lines: Vec<String>,
}

impl TakenOptions {
    /// Takes a value over, unless the journal has it already. Returns whether it did.
    pub(crate) fn take<T: PartialEq>(
        &mut self,
        option: &str,
        field: &mut T,
        given: T,
        show: impl Fn(&T) -> String,
    ) -> bool {
        if *field == given {
            return false;
        }
        let (new, old) = (show(&given), show(field));
        self.lines
            .push(format!("{option}: {new}, in place of {old}"));
        *field = given;
        true
    }

    /// Takes over how the host is stopped, and started by the option of this name, where commands do so. `controls`: all that stop it.
    pub(crate) fn take_stop(
        &mut self,
        controls: &mut [&mut HostControl],
        given: &str,
    ) -> Result<(), ExchangeError> {
        let mut lines = Vec::new();
        for control in controls {
            match &mut **control {
                HostControl::Commands { stop, .. } => {
                    let mut one = Self::default();
                    one.take("--stop-command", stop, given.to_owned(), String::clone);
                    lines = one.lines;
                }
                HostControl::Unit { unit, .. } => {
                    return Err(fixed("--stop-command", given, format!("--unit {unit}")));
                }
            }
        }
        self.lines.extend(lines);
        Ok(())
    }

    /// Takes over the command that starts a version.
    pub(crate) fn take_start(
        &mut self,
        option: &'static str,
        control: &mut HostControl,
        given: &str,
    ) -> Result<(), ExchangeError> {
        match control {
            HostControl::Commands { start, .. } => {
                self.take(option, start, given.to_owned(), String::clone);
                Ok(())
            }
            HostControl::Unit { unit, .. } => Err(fixed(option, given, format!("--unit {unit}"))),
        }
    }

    /// Takes over how a version is validated.
    pub(crate) fn take_validation(
        &mut self,
        field: &mut Option<ValidationPlan>,
        given: &GivenOption,
    ) -> Result<(), ExchangeError> {
        let seconds = |time: &Duration| format!("{time:?}");
        let refuse = |option| fixed(option, "", "--no-validation");
        match given {
            GivenOption::NoValidation => {
                let had_one = field.take();
                self.lines
                    .extend(had_one.map(|_| "--no-validation".to_owned()));
            }
            GivenOption::Categories(categories) => {
                let plan = field.as_mut().ok_or_else(|| refuse("--category"))?;
                let show = |list: &Vec<String>| match &list[..] {
                    [] => "all".to_owned(),
                    list => list.join(", "),
                };
                self.take("--category", &mut plan.categories, categories.clone(), show);
            }
            GivenOption::Patience(patience) => {
                let plan = field.as_mut().ok_or_else(|| refuse("--patience"))?;
                self.take("--patience", &mut plan.patience, *patience, seconds);
            }
            GivenOption::Telemetry(url) => {
                let plan = field.as_mut().ok_or_else(|| refuse("--telemetry"))?;
                let show = |url: &Option<String>| url.clone().unwrap_or_else(|| "off".to_owned());
                self.take("--telemetry", &mut plan.telemetry, url.clone(), show);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Refuses a value that is not the journal's.
pub(crate) fn keep_value<T: PartialEq + Display>(
    option: &'static str,
    given: &T,
    journal: &T,
) -> Result<(), ExchangeError> {
    if given == journal {
        return Ok(());
    }
    Err(fixed(option, given, journal))
}

/// Refuses a path that is not the journal's, however it is written.
pub(crate) fn keep_path(
    option: &'static str,
    given: &Path,
    journal: &Path,
) -> Result<(), ExchangeError> {
    let whole = |path: &Path| std::fs::canonicalize(path).ok();
    if given == journal || whole(given).is_some_and(|given| whole(journal) == Some(given)) {
        return Ok(());
    }
    Err(fixed(option, given.display(), journal.display()))
}

/// Refuses a program that is not the journal's; a copy of that is the same one.
pub(crate) fn keep_program(
    option: &'static str,
    given: &Path,
    journal: &Path,
) -> Result<(), ExchangeError> {
    let digest = |path: &Path| hash_file(path).ok();
    if digest(given).is_some_and(|given| digest(journal) == Some(given)) {
        return Ok(());
    }
    keep_path(option, given, journal)
}

/// Refuses another unit, or program of it, than the journal's.
pub(crate) fn keep_unit(control: &HostControl, given: &GivenOption) -> Result<(), ExchangeError> {
    match (control, given) {
        (HostControl::Unit { unit, .. }, GivenOption::Unit(given)) => {
            let given = given.strip_suffix(".service").unwrap_or(given);
            keep_value("--unit", &given, &unit.as_str())
        }
        (HostControl::Unit { program, .. }, GivenOption::Program(given)) => {
            keep_path("--program", given, program)
        }
        (HostControl::Commands { stop, .. }, GivenOption::Unit(given)) => {
            Err(fixed("--unit", given, format!("--stop-command {stop:?}")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn fixed(
    option: &'static str,
    given: impl Display,
    journal: impl Display,
) -> ExchangeError {
    ExchangeError::Fixed {
        option,
        given: given.to_string(),
        journal: journal.to_string(),
    }
}
