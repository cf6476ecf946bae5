//! How commands that exchange the host stop and start it, and how the new host is watched: arguments that they share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_deploy::exchange::{GivenOption, HostControl, ValidationPlan};
use ark_deploy::haproxy::HaproxyAddress;
use ark_deploy::rollback::TrafficPlan;
use ark_model::deployment::{NAME_BYTES, NAME_PATTERN, is_name};
use clap::Args;

use crate::usage::{UsageError, ensure_usage};

use super::telemetry::{TelemetryChoice, find_exchanged_telemetry};

/// How long what does not look for a signal may hold up the end of a command that exchanges the host.
pub(super) const INTERRUPT_GRACE: Duration = Duration::from_secs(5);
/// The longest time that an option gives, in seconds.
const MAX_SECONDS: f64 = 1e7;
/// The shortest one: a shorter one may be no time at all, in which nothing is waited for or looked at.
const MIN_SECONDS: f64 = 0.001;

/// Reads a time.
///
/// # Errors
/// The value is too small, or too large.
pub(super) fn parse_seconds(option: &str, value: f64) -> anyhow::Result<Duration> {
    ensure_usage!(
        (MIN_SECONDS..=MAX_SECONDS).contains(&value),
        "{option} {value}: give more than 0, {MIN_SECONDS} at least, and at most {MAX_SECONDS} seconds"
    );
    Ok(Duration::from_secs_f64(value))
}

/// Reads the name of a version, as the host takes it in the steps of a deployment.
///
/// # Errors
/// A host would record no step of it.
pub(super) fn parse_version_name(text: &str) -> Result<String, String> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "give {} to {} characters that match {NAME_PATTERN}, e.g. 2.0.0",
        NAME_BYTES.start(),
        NAME_BYTES.end()
    ))
}

/// Where the host is on this machine.
#[derive(Debug, Args)]
pub(super) struct HostPlaceArgs {
    /// The data directory of the host, which is on this machine [default: that of ark.toml, else ark-data].
    #[arg(long, env = "ARK_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// The directory in which snapshots are made and looked for.
    #[arg(long, env = "ARK_SNAPSHOTS", value_name = "DIR")]
    pub(super) snapshots: Option<PathBuf>,
    /// Stops the host that runs, and returns when it has ended; also where none runs.
    #[arg(long, value_name = "COMMAND", conflicts_with = "unit")]
    stop_command: Option<String>,
    /// The unit of systemd that runs the host, in place of commands.
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
    /// The program that the unit starts, whose place the version takes [default: /usr/bin/ark].
    #[arg(long, value_name = "FILE", requires = "unit")]
    program: Option<PathBuf>,
    /// How long each command, and the start of a host, may take, in seconds [default: 25]. Fronts park requests for 30 s (`--hold-for`).
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
}

/// The program of the package's unit.
const PROGRAM: &str = "/usr/bin/ark";
/// How long a command may take where nothing else is said, in seconds.
const TIMEOUT: f64 = 25.0;
/// How long the validation waits likewise.
const PATIENCE: f64 = 30.0;

impl HostPlaceArgs {
    /// What is given, for a run that goes on.
    pub(super) fn list_given(&self, given: &mut Vec<GivenOption>) -> anyhow::Result<()> {
        given.extend(self.data_dir.clone().map(GivenOption::DataDir));
        given.extend(self.snapshots.clone().map(GivenOption::Snapshots));
        given.extend(self.stop_command.clone().map(GivenOption::StopCommand));
        given.extend(self.unit.clone().map(GivenOption::Unit));
        given.extend(self.program.clone().map(GivenOption::Program));
        if self.timeout.is_some() {
            given.push(GivenOption::Timeout(self.timeout()?));
        }
        Ok(())
    }

    /// The program that the unit starts.
    pub(super) fn program(&self) -> PathBuf {
        self.program.clone().unwrap_or_else(|| PROGRAM.into())
    }

    pub(super) fn timeout(&self) -> anyhow::Result<Duration> {
        parse_seconds("--timeout", self.timeout.unwrap_or(TIMEOUT))
    }

    pub(super) const fn has_unit(&self) -> bool {
        self.unit.is_some()
    }

    /// How the host is stopped, and started by a command that `option` gives.
    ///
    /// # Errors
    /// Neither commands nor a unit are given, or the name of the unit is none.
    pub(super) fn control(&self, option: &str, start: Option<&str>) -> anyhow::Result<HostControl> {
        if let Some(unit) = &self.unit {
            let control = HostControl::of_unit(unit, self.program());
            return control.map_err(|error| UsageError(format!("--unit: {error}")).into());
        }
        Ok(HostControl::Commands {
            stop: self
                .stop_command
                .clone()
                .ok_or_else(|| UsageError::new("give --stop-command, or --unit"))?,
            start: start
                .ok_or_else(|| UsageError(format!("give {option}, or --unit")))?
                .to_owned(),
        })
    }
}

/// Whether a command only says what it would do.
#[derive(Debug, Args)]
pub(super) struct RehearsalArgs {
    /// Show what would be done and check all that it needs. Nothing is changed.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What corrects a canary that no process runs.
#[derive(Debug, Args)]
pub(super) struct GoOnArgs {
    /// Stops the host that runs, in place of the command with which the canary was begun. Only where no process runs the canary, as all of these.
    #[arg(long, value_name = "COMMAND")]
    stop_command: Option<String>,
    /// Starts the new version, likewise.
    #[arg(long, value_name = "COMMAND")]
    start_command: Option<String>,
    /// Starts the stable version again, likewise.
    #[arg(long, value_name = "COMMAND")]
    start_stable_command: Option<String>,
    /// How long each of these commands, and the start of a host, may take, in seconds, likewise.
    #[arg(long, value_name = "SECONDS")]
    take_over_timeout: Option<f64>,
    /// The runtime socket of `HAProxy`, in place of the one with which the canary was begun, likewise. `ARK_HAPROXY` does not give it.
    #[arg(long, value_name = "SOCKET")]
    haproxy: Option<HaproxyAddress>,
    /// Do not set the weights of `HAProxy`, e.g. where it, its backend or a server is gone, likewise: an operator sees to it that the stable fronts have
    /// the requests (or, for a take-over that goes on, the new version's).
    #[arg(long, conflicts_with = "haproxy")]
    leave_weights: bool,
    #[command(flatten)]
    pub(super) rehearsal: RehearsalArgs,
}

impl GoOnArgs {
    /// What is given. Values are checked.
    pub(super) fn list_given(self) -> anyhow::Result<Vec<GivenOption>> {
        let mut given = Vec::new();
        given.extend(self.stop_command.map(GivenOption::StopCommand));
        given.extend(self.start_command.map(GivenOption::StartCommand));
        let stable = self.start_stable_command;
        given.extend(stable.map(GivenOption::StartStableCommand));
        if let Some(timeout) = self.take_over_timeout {
            let timeout = parse_seconds("--take-over-timeout", timeout)?;
            given.push(GivenOption::Timeout(timeout));
        }
        given.extend(self.haproxy.map(GivenOption::Haproxy));
        if self.leave_weights {
            given.push(GivenOption::LeaveWeights);
        }
        Ok(given)
    }
}

/// How the requests go to the version.
#[derive(Debug, Args)]
pub(super) struct TrafficArgs {
    /// The runtime socket of `HAProxy`: a path, or HOST:PORT. It needs `level admin`. Without it the host has all requests.
    #[arg(long, env = "ARK_HAPROXY", value_name = "SOCKET")]
    haproxy: Option<HaproxyAddress>,
    /// The backend of `HAProxy` [default: ark].
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// The server of the backend that stands for the version [default: stable].
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// The shares in percent [default: 25,50,75,100].
    #[arg(long, value_delimiter = ',')]
    shares: Option<Vec<u32>>,
    /// How long each share is watched, in seconds [default: 30].
    #[arg(long, value_name = "SECONDS")]
    step: Option<f64>,
    /// The pause between two looks at it, in seconds [default: 2].
    #[arg(long, value_name = "SECONDS")]
    interval: Option<f64>,
}

impl TrafficArgs {
    /// What is given. Values are checked also where nothing goes by them.
    pub(super) fn list_given(&self, given: &mut Vec<GivenOption>) -> anyhow::Result<()> {
        given.extend(self.haproxy.clone().map(GivenOption::Haproxy));
        given.extend(self.backend.clone().map(GivenOption::Backend));
        given.extend(self.server.clone().map(GivenOption::Server));
        if let Some(shares) = &self.shares {
            let growing = shares.windows(2).all(|pair| pair[0] < pair[1]);
            ensure_usage!(
                growing
                    && shares.first().is_some_and(|first| *first > 0)
                    && shares.last() == Some(&100),
                "--shares {shares:?}: give growing numbers from 1 to 100, the last 100"
            );
            given.push(GivenOption::Shares(shares.clone()));
        }
        if let Some(step) = self.step {
            given.push(GivenOption::Step(parse_seconds("--step", step)?));
        }
        if let Some(interval) = self.interval {
            let interval = parse_seconds("--interval", interval)?;
            given.push(GivenOption::Interval(interval));
        }
        Ok(())
    }

    /// What `given` says of the requests; `None`: no `HAProxy` is named.
    pub(super) fn plan_traffic(given: &[GivenOption]) -> Option<TrafficPlan> {
        let mut plan = given.iter().find_map(|one| match one {
            GivenOption::Haproxy(haproxy) => Some(TrafficPlan::of_haproxy(haproxy.clone())),
            _ => None,
        })?;
        for one in given {
            match one {
                GivenOption::Backend(name) => plan.backend.clone_from(name),
                GivenOption::Server(name) => plan.server.clone_from(name),
                GivenOption::Shares(shares) => plan.shares.clone_from(shares),
                GivenOption::Step(step) => plan.step = *step,
                GivenOption::Interval(interval) => plan.interval = *interval,
                _ => {}
            }
        }
        Some(plan)
    }
}

/// How the version is validated.
#[derive(Debug, Args)]
pub(super) struct ValidationArgs {
    /// Do not validate the version.
    #[arg(long)]
    no_validation: bool,
    /// A category of the validation's tests; may be given more than once [default: all].
    #[arg(long, value_name = "CATEGORY")]
    category: Vec<String>,
    /// How long the validation waits for something that must come, in seconds [default: 30].
    #[arg(long, value_name = "SECONDS")]
    patience: Option<f64>,
    /// The address of the host's telemetry, whose objectives the validation reads, or `off` [default: from the configuration, if it answers].
    #[arg(long, value_name = "URL")]
    telemetry: Option<TelemetryChoice>,
    /// A file with the token that proposes and sends signals in the validation [default: the same token].
    #[arg(long, value_name = "FILE")]
    pub(super) submitter_token_file: Option<PathBuf>,
}

impl ValidationArgs {
    /// Checks the values, also where no validation is planned.
    pub(super) fn check_values(&self) -> anyhow::Result<()> {
        ark_deploy::validate::list_cases(&self.category).map_err(UsageError::new)?;
        self.patience().map(drop)
    }

    fn patience(&self) -> anyhow::Result<Duration> {
        parse_seconds("--patience", self.patience.unwrap_or(PATIENCE))
    }

    /// What is given, for a run that goes on. `url`: the API of the host.
    pub(super) fn list_given(&self, url: &str, given: &mut Vec<GivenOption>) -> anyhow::Result<()> {
        self.check_values()?;
        if self.no_validation {
            given.push(GivenOption::NoValidation);
        }
        if !self.category.is_empty() {
            given.push(GivenOption::Categories(self.category.clone()));
        }
        if self.patience.is_some() {
            given.push(GivenOption::Patience(self.patience()?));
        }
        if self.telemetry.is_some() {
            let url = find_exchanged_telemetry(self.telemetry.clone(), url, None, None);
            given.push(GivenOption::Telemetry(url));
        }
        Ok(())
    }

    /// `url`: the API of the host; `config` and `env_file`: the files that the host reads, where they were given.
    pub(super) fn into_plan(
        self,
        journal: &Path,
        url: &str,
        config: Option<&Path>,
        env_file: Option<&Path>,
    ) -> anyhow::Result<Option<ValidationPlan>> {
        self.check_values()?;
        let patience = self.patience()?;
        Ok(if self.no_validation {
            None
        } else {
            Some(ValidationPlan {
                categories: self.category,
                patience,
                journal: journal.to_owned(),
                telemetry: find_exchanged_telemetry(self.telemetry, url, config, env_file),
            })
        })
    }
}
