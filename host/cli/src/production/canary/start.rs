//! The arguments of `ark canary start`, and the plan that they make.
//!
//! Invariant: an argument that makes no plan is refused by its name, before a host is asked.
//!
//! Must not know: how a canary is run, what is printed of it.

use std::path::PathBuf;
use std::time::Duration;

use ark_deploy::canary::{BaselineSource, CanaryPlan, HealthBounds, TakeOverPlan};
use ark_deploy::haproxy::HaproxyAddress;
use ark_deploy::{SYNTHETIC_REQUESTER, VALIDATION_PROBE};
use clap::Args;

use crate::production::host_commands::{RehearsalArgs, parse_seconds, parse_version_name};
use crate::usage::{UsageError, ensure_usage};

use super::other_journals::OtherJournalArgs;

#[derive(Debug, Args)]
pub(super) struct CanaryStartArgs {
    /// The name of the new version, for the record.
    #[arg(long, value_name = "NAME", value_parser = parse_version_name)]
    name: String,
    /// The runtime socket of `HAProxy`: a path, or HOST:PORT. It needs `level admin`.
    #[arg(long, env = "ARK_HAPROXY", value_name = "SOCKET")]
    haproxy: HaproxyAddress,
    /// The backend of `HAProxy` with the fronts.
    #[arg(long, default_value = "ark", value_name = "NAME")]
    backend: String,
    /// The server of the backend that is the front of the new version.
    #[arg(long, default_value = "canary", value_name = "NAME")]
    server: String,
    /// The Prometheus that scrapes the host and the front.
    #[arg(long, env = "ARK_PROMETHEUS", value_name = "URL")]
    prometheus: String,
    /// Selects the series of the stable fronts in Prometheus, with which the new version's front is compared.
    #[arg(long, default_value = "job=\"ark-front\"", value_name = "MATCHERS")]
    stable_series: String,
    /// Selects the series of the new version's front.
    #[arg(
        long,
        default_value = "job=\"ark-front-canary\"",
        value_name = "MATCHERS"
    )]
    canary_series: String,
    /// The shares in percent.
    #[arg(long, value_delimiter = ',', default_value = "10,25,50,100")]
    shares: Vec<u32>,
    /// How long each share is kept, in seconds.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    step: f64,
    /// The pause between two checks, in seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    interval: f64,
    /// How long a step is prolonged while its measurements say too little, in seconds. Then everything goes back.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    deadline: f64,
    /// The time before that is compared with, in seconds: what the stable fronts judged in it, from Prometheus.
    #[arg(long, default_value_t = 3600.0, value_name = "SECONDS")]
    baseline: f64,
    /// A report of `ark synthetic --json` over a stable front to compare with, in place of the time before.
    #[arg(long, value_name = "FILE")]
    baseline_report: Option<PathBuf>,
    /// Over which time the percentile of a check is computed, in seconds. Prometheus needs two scrapes in it.
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    latency_window: f64,
    /// How many decisions a measurement needs at least.
    #[arg(long, default_value_t = 30, value_name = "N")]
    min_samples: u64,
    /// How many standard deviations more denials than before are too many.
    #[arg(long, default_value_t = 3.0)]
    sigmas: f64,
    /// The 95th percentile of the time of a request, at most, in milliseconds.
    #[arg(long, default_value_t = 400, value_name = "MS")]
    max_p95: u64,
    /// In how many checks in a row it must be above that.
    #[arg(long, default_value_t = 3, value_name = "N")]
    slow_checks: u32,
    /// Decisions that the new version may judge otherwise, in one step: for a release that changes policies.
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_different: u64,
    /// The share of requests that may fail, in percent.
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT")]
    max_errors: f64,
    /// The resident memory of the front, at most, in MiB.
    #[arg(long, default_value_t = 2048, value_name = "MIB")]
    max_memory: u32,
    /// In how many checks in a row the new version may get no request.
    #[arg(long, default_value_t = 2, value_name = "N")]
    idle_checks: u32,
    /// How long a quarantine counts after it began, in seconds, also when it was ended meanwhile.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    quarantine_window: f64,
    /// The agents whose quarantine does not count: the probe of `ark validate`, and the requester of `ark synthetic`.
    #[arg(
        long,
        value_delimiter = ',',
        default_values = [VALIDATION_PROBE, SYNTHETIC_REQUESTER],
        value_name = "NAME"
    )]
    ignore_quarantine: Vec<String>,
    /// The `ark` of the new version, with which it takes the data over at the end. It needs the four options below.
    #[arg(long, value_name = "FILE", requires_all = ["data_dir", "snapshots", "stop_command", "start_command", "start_stable_command"])]
    new_binary: Option<PathBuf>,
    /// The data directory of the host, which is on this machine.
    #[arg(long, value_name = "DIR", requires = "new_binary")]
    data_dir: Option<PathBuf>,
    /// The directory in which snapshots are made.
    #[arg(long, env = "ARK_SNAPSHOTS", value_name = "DIR")]
    snapshots: Option<PathBuf>,
    /// Stops the host that runs, and returns when it has ended; also where none runs. E.g. `systemctl stop ark`.
    #[arg(long, value_name = "COMMAND", requires = "new_binary")]
    stop_command: Option<String>,
    /// Starts the new version, and returns; also where it runs.
    #[arg(long, value_name = "COMMAND", requires = "new_binary")]
    start_command: Option<String>,
    /// Starts the stable version again, and returns.
    #[arg(long, value_name = "COMMAND", requires = "new_binary")]
    start_stable_command: Option<String>,
    #[command(flatten)]
    pub(super) others: OtherJournalArgs,
    /// How long each of these commands, and the start of a host, may take, in seconds. Fronts park requests for 30 s (`--hold-for`).
    #[arg(long, default_value_t = 25.0, value_name = "SECONDS")]
    take_over_timeout: f64,
    #[command(flatten)]
    pub(super) rehearsal: RehearsalArgs,
}

impl CanaryStartArgs {
    pub(super) fn into_plan(self) -> anyhow::Result<CanaryPlan> {
        let growing = self.shares.windows(2).all(|pair| pair[0] < pair[1]);
        ensure_usage!(
            growing
                && self.shares.first().is_some_and(|first| *first > 0)
                && self.shares.last() == Some(&100),
            "--shares {:?}: give growing numbers from 1 to 100, the last 100",
            self.shares
        );
        ensure_usage!(
            self.sigmas.is_finite() && (0.0..=10.0).contains(&self.sigmas),
            "--sigmas {}: give 0 to 10",
            self.sigmas
        );
        ensure_usage!(
            (0.0..=100.0).contains(&self.max_errors),
            "--max-errors {}: give 0 to 100",
            self.max_errors
        );
        ensure_usage!(
            self.min_samples > 0 && self.slow_checks > 0 && self.idle_checks > 0,
            "--min-samples, --slow-checks and --idle-checks: give 1 or more"
        );
        let interval = parse_seconds("--interval", self.interval)?;
        let quarantine_window = parse_seconds("--quarantine-window", self.quarantine_window)?;
        // One that is over before the next check would not be seen.
        ensure_usage!(
            quarantine_window >= interval,
            "--quarantine-window {}: give --interval ({}) or more",
            self.quarantine_window,
            self.interval
        );
        let timeout = parse_seconds("--take-over-timeout", self.take_over_timeout)?;
        let take_over = match self.new_binary {
            None => None,
            Some(new_binary) => {
                let needed = "--new-binary needs --data-dir, --snapshots, --stop-command, --start-command and --start-stable-command";
                let missing = || UsageError::new(needed);
                Some(TakeOverPlan {
                    new_binary,
                    data_dir: self.data_dir.ok_or_else(missing)?,
                    snapshots: self.snapshots.ok_or_else(missing)?,
                    stop_command: self.stop_command.ok_or_else(missing)?,
                    start_command: self.start_command.ok_or_else(missing)?,
                    start_stable_command: self.start_stable_command.ok_or_else(missing)?,
                    timeout,
                })
            }
        };
        Ok(CanaryPlan {
            version: self.name,
            haproxy: self.haproxy,
            backend: self.backend,
            server: self.server,
            prometheus: self.prometheus,
            stable_series: self.stable_series,
            canary_series: self.canary_series,
            latency_window: parse_seconds("--latency-window", self.latency_window)?,
            shares: self.shares,
            step: parse_seconds("--step", self.step)?,
            interval,
            deadline: parse_seconds("--deadline", self.deadline)?,
            baseline: match self.baseline_report {
                Some(path) => BaselineSource::Synthetic(path),
                None => BaselineSource::Prometheus(parse_seconds("--baseline", self.baseline)?),
            },
            limits: HealthBounds {
                min_samples: self.min_samples,
                sigmas: self.sigmas,
                max_p95: Duration::from_millis(self.max_p95),
                slow_checks: self.slow_checks,
                max_different: self.max_different,
                max_error_share: self.max_errors / 100.0,
                max_memory_bytes: f64::from(self.max_memory) * 1024.0 * 1024.0,
                quarantine_window,
                quarantines_left_out: self.ignore_quarantine,
                idle_checks: self.idle_checks,
            },
            take_over,
        })
    }
}
