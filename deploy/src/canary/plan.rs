//! What a canary is run with: kept in its journal, so that another run can go on.

use std::path::PathBuf;
use std::time::Duration;

use ark_client::HostClient;
use serde::{Deserialize, Serialize};

use crate::exclusion::{ExchangeKind, ExclusionError, OtherJournal};
use crate::haproxy::HaproxyAddress;

/// Where the share of denials of the time before comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselineSource {
    /// From Prometheus, over this time.
    Prometheus(Duration),
    /// From the JSON report of an `ark synthetic`.
    Synthetic(PathBuf),
}

/// The decisions of the time before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The number of decisions.
    pub decisions: u64,
    /// How many of them were denied.
    pub denied: u64,
}

/// The bounds of a healthy version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthBounds {
    /// How many decisions a measurement needs at least.
    pub min_samples: u64,
    /// How many standard deviations more denials than before are too many.
    pub sigmas: f64,
    /// The 95th percentile of the time of a request, at most.
    pub max_p95: Duration,
    /// In how many checks in a row it must be above that.
    pub slow_checks: u32,
    /// Decisions that may be judged otherwise.
    pub max_different: u64,
    /// The share of requests that may fail.
    pub max_error_share: f64,
    /// The resident memory of the front, in bytes.
    pub max_memory_bytes: f64,
    /// How long ago a quarantine counts.
    pub quarantine_window: Duration,
    /// The agents whose quarantine does not count.
    #[serde(default)]
    pub quarantines_left_out: Vec<String>,
    /// In how many checks in a row the front may get no request.
    pub idle_checks: u32,
}

/// How the new version takes the data over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TakeOverPlan {
    /// The `ark` of the new version.
    pub new_binary: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where snapshots are made, each in a directory of its own.
    pub snapshots: PathBuf,
    /// Stops the host that runs, and returns when it has ended. It may be run where none runs.
    pub stop_command: String,
    /// Starts the new version, and returns. It may be run where it runs.
    pub start_command: String,
    /// Starts the stable version again, and returns.
    pub start_stable_command: String,
    /// How long each command may take, and how long the host may take to be ready.
    pub timeout: Duration,
}

/// Where the journals of this host's upgrades and rollbacks are, none of which may be under way beside a canary.
#[derive(Debug, Clone)]
pub struct ExcludedJournals {
    /// Of the upgrades.
    pub upgrade: PathBuf,
    /// Of the rollbacks.
    pub rollback: PathBuf,
}

impl ExcludedJournals {
    pub(super) fn list_journals(&self) -> [OtherJournal<'_>; 2] {
        [
            (ExchangeKind::Upgrade, &self.upgrade),
            (ExchangeKind::Rollback, &self.rollback),
        ]
        .map(|(kind, path)| OtherJournal { kind, path })
    }

    /// Refuses where one of them is under way.
    pub(super) fn refuse_others(&self, client: &HostClient) -> Result<(), ExclusionError> {
        let mut all = self.list_journals().into_iter();
        all.try_for_each(|other| other.refuse_other(client))
    }
}

/// What a canary is run with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CanaryPlan {
    /// The name of the new version.
    pub version: String,
    /// The `HAProxy` before the fronts.
    pub haproxy: HaproxyAddress,
    /// Its backend with the fronts.
    pub backend: String,
    /// The server of that backend that is the front of the new version.
    pub server: String,
    /// The Prometheus that scrapes host and front.
    pub prometheus: String,
    /// Selects the series of the stable fronts, e.g. `job="ark-front"`. The baseline comes from them.
    // A canary that an earlier build began has its baseline.
    #[serde(alias = "host_series")]
    pub stable_series: String,
    /// Selects the series of the new version's front.
    pub canary_series: String,
    /// Over which time Prometheus computes the percentile of a check.
    pub latency_window: Duration,
    /// The shares in percent, growing, the last 100.
    pub shares: Vec<u32>,
    /// How long each share is kept.
    pub step: Duration,
    /// The pause between two checks.
    pub interval: Duration,
    /// How long a step is prolonged while its measurements say too little.
    pub deadline: Duration,
    /// Where the baseline comes from.
    pub baseline: BaselineSource,
    /// The bounds.
    pub limits: HealthBounds,
    /// How the data is taken over; `None`: it is not.
    pub take_over: Option<TakeOverPlan>,
}
