//! What a rollback is run with: kept in its journal, so that another run can go on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exchange::{HostControl, ValidationPlan};
use crate::exclusion::{ExchangeKind, OtherJournal};
use crate::haproxy::HaproxyAddress;

/// How the requests go back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrafficPlan {
    /// The `HAProxy`.
    pub haproxy: HaproxyAddress,
    /// Its backend.
    pub backend: String,
    /// The server of that backend that stands for the stable version.
    pub server: String,
    /// The shares in percent, growing, the last 100.
    pub shares: Vec<u32>,
    /// How long each share is watched.
    pub step: Duration,
    /// The pause between two looks.
    pub interval: Duration,
}

impl TrafficPlan {
    /// What is done where nothing else is said.
    #[must_use]
    pub fn of_haproxy(haproxy: HaproxyAddress) -> Self {
        Self {
            haproxy,
            backend: "ark".to_owned(),
            server: "stable".to_owned(),
            shares: vec![25, 50, 75, 100],
            step: Duration::from_secs(30),
            interval: Duration::from_secs(2),
        }
    }

    /// Whether the requests go back at the same server.
    pub(super) fn has_place_of(&self, other: &Self) -> bool {
        let place = |plan: &Self| {
            (
                plan.haproxy.clone(),
                plan.backend.clone(),
                plan.server.clone(),
            )
        };
        place(self) == place(other)
    }
}

/// What a rollback is run with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RollbackPlan {
    /// The name of the stable version, for the record.
    pub version: String,
    /// Why the host goes back, for the record.
    pub reason: String,
    /// The upgrade whose way back this is; `None`: an operator's rollback.
    #[serde(default)]
    pub upgrade: Option<String>,
    /// The `ark` of the stable version.
    pub binary: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where snapshots are.
    pub snapshots: PathBuf,
    /// The snapshot that is restored if one must be; `None`: the last one that the stable version can open.
    pub snapshot: Option<PathBuf>,
    /// How the host is stopped, and the stable version started.
    pub control: HostControl,
    /// How long each command, and the start, may take.
    pub timeout: Duration,
    /// How often the health is checked until it is good.
    pub tries: u32,
    /// The pause between two checks of the health.
    pub pause: Duration,
    /// How the requests go back; `None`: the host has them all.
    pub traffic: Option<TrafficPlan>,
    /// How the stable version is validated; `None`: it is not.
    pub validation: Option<ValidationPlan>,
    /// The journal of the canaries of this host, one of which may run.
    pub canary_journal: PathBuf,
    /// The journal of the upgrades of this host, none of which may be under way; `None`: this is the way back of one.
    #[serde(default)]
    pub upgrade_journal: Option<PathBuf>,
}

/// The journal of the upgrades, beside which no rollback begins.
pub(super) fn excluded_upgrades(path: Option<&Path>) -> Option<OtherJournal<'_>> {
    let kind = ExchangeKind::Upgrade;
    path.map(|path| OtherJournal { kind, path })
}
