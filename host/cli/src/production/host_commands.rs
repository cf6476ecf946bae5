//! How commands that exchange the host stop and start it, and how the new host is watched: arguments that they share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_deploy::exchange::{HostControl, ValidationPlan};
use ark_deploy::haproxy::HaproxyAddress;
use ark_deploy::rollback::TrafficPlan;
use clap::Args;

use crate::usage::{UsageError, ensure_usage};

use super::telemetry::{TelemetryChoice, find_exchanged_telemetry};

/// How long what does not look for a signal may hold up the end of a command that exchanges the host.
pub(super) const INTERRUPT_GRACE: Duration = Duration::from_secs(5);
/// The longest time that an option gives, in seconds.
const MAX_SECONDS: f64 = 1e7;

/// Reads a time.
///
/// # Errors
/// The value is not above 0, or too large.
pub(super) fn parse_seconds(option: &str, value: f64) -> anyhow::Result<Duration> {
    ensure_usage!(
        value > 0.0 && value <= MAX_SECONDS,
        "{option} {value}: give more than 0 and at most {MAX_SECONDS} seconds"
    );
    Ok(Duration::from_secs_f64(value))
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
    /// The program that the unit starts, whose place the version takes.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/usr/bin/ark",
        requires = "unit"
    )]
    pub(super) program: PathBuf,
    /// How long each command, and the start of a host, may take, in seconds. Fronts park requests for 30 s (`--hold-for`).
    #[arg(long, default_value_t = 25.0, value_name = "SECONDS")]
    timeout: f64,
}

impl HostPlaceArgs {
    /// Whether nothing is said of the host.
    pub(super) const fn is_empty(&self) -> bool {
        self.stop_command.is_none() && self.unit.is_none()
    }

    pub(super) fn timeout(&self) -> anyhow::Result<Duration> {
        parse_seconds("--timeout", self.timeout)
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
            let control = HostControl::of_unit(unit, self.program.clone());
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

/// How the requests go to the version.
#[derive(Debug, Args)]
pub(super) struct TrafficArgs {
    /// The runtime socket of `HAProxy`: a path, or HOST:PORT. It needs `level admin`. Without it the host has all requests.
    #[arg(long, env = "ARK_HAPROXY", value_name = "SOCKET")]
    haproxy: Option<HaproxyAddress>,
    /// The backend of `HAProxy`.
    #[arg(long, default_value = "ark", value_name = "NAME")]
    backend: String,
    /// The server of the backend that stands for the version.
    #[arg(long, default_value = "stable", value_name = "NAME")]
    server: String,
    /// The shares in percent.
    #[arg(long, value_delimiter = ',', default_value = "25,50,75,100")]
    shares: Vec<u32>,
    /// How long each share is watched, in seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    step: f64,
    /// The pause between two looks at it, in seconds.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    interval: f64,
}

impl TrafficArgs {
    pub(super) fn into_plan(self) -> anyhow::Result<Option<TrafficPlan>> {
        // Values are checked also where nothing goes by them.
        let growing = self.shares.windows(2).all(|pair| pair[0] < pair[1]);
        ensure_usage!(
            growing
                && self.shares.first().is_some_and(|first| *first > 0)
                && self.shares.last() == Some(&100),
            "--shares {:?}: give growing numbers from 1 to 100, the last 100",
            self.shares
        );
        let step = parse_seconds("--step", self.step)?;
        let interval = parse_seconds("--interval", self.interval)?;
        Ok(self.haproxy.map(|haproxy| TrafficPlan {
            haproxy,
            backend: self.backend,
            server: self.server,
            shares: self.shares,
            step,
            interval,
        }))
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
    /// How long the validation waits for something that must come, in seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    patience: f64,
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
        parse_seconds("--patience", self.patience)?;
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
        Ok(if self.no_validation {
            None
        } else {
            Some(ValidationPlan {
                categories: self.category,
                patience: parse_seconds("--patience", self.patience)?,
                journal: journal.to_owned(),
                telemetry: find_exchanged_telemetry(self.telemetry, url, config, env_file),
            })
        })
    }
}
