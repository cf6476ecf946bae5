//! What an upgrade is run with, its journal, and what that says about where it stands.

use std::path::PathBuf;
use std::time::Duration;

use ark_client::HostClient;
use ark_model::ids::{Digest, Millis};
use serde::{Deserialize, Serialize};

use crate::exchange::hosts::serving::{HostIdentity, Serving, WantedProgram};
use crate::exchange::{HostControl, ValidationPlan};

/// A step of an upgrade. In its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeStep {
    /// The new version checks the machine.
    Check,
    /// A snapshot is made.
    Snapshot,
    /// The new version judges the recorded decisions again.
    Replay,
    /// The old host is stopped.
    Stop,
    /// The new one is started.
    Start,
    /// It is validated.
    Validation,
}

impl UpgradeStep {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Snapshot => "snapshot",
            Self::Replay => "replay",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Validation => "validation",
        }
    }
}

/// What is asked of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeVerb {
    /// It begins, or goes on.
    Run,
    /// It is undone.
    Back,
    /// An operator stays with the new version.
    Keep,
}

/// What an upgrade is run with: kept in its journal, so that another run can go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpgradePlan {
    /// The name of the new version, for the record; empty: what it says of itself.
    pub version: String,
    /// The `ark` of the new version.
    pub new_binary: PathBuf,
    /// The `ark` of the version that serves, to which a failed upgrade goes back.
    pub stable_binary: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where snapshots are made.
    pub snapshots: PathBuf,
    /// How the host is stopped, and the new version started.
    pub control: HostControl,
    /// How the host is stopped, and the stable version started again.
    pub stable_control: HostControl,
    /// Arguments of `ark check`, by which it finds the configuration of the host.
    pub check_args: Vec<String>,
    /// How long each command, and the start, may take.
    pub timeout: Duration,
    /// How the new version is validated, and the stable one after a way back; `None`: they are not.
    pub validation: Option<ValidationPlan>,
    /// The journal of the rollback that a failed upgrade becomes.
    pub rollback_journal: PathBuf,
    /// The journal of the canaries of this host, none of which may run.
    pub canary_journal: PathBuf,
}

/// What is known when an upgrade begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct UpgradeStart {
    pub(super) id: String,
    /// When it began; absent in a journal of an earlier program.
    #[serde(default)]
    pub(super) began_at: Option<Millis>,
    /// The digest of the new version's program; absent in a journal of an earlier program.
    #[serde(default)]
    pub(super) digest: Option<Digest>,
    /// The digest of the process that the program becomes; absent likewise, or where it does not say it.
    #[serde(default)]
    pub(super) build: Option<Digest>,
    pub(super) plan: UpgradePlan,
}

/// An entry: what is about to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum UpgradeEntry {
    /// An upgrade begins.
    Started(Box<UpgradeStart>),
    /// Options were taken over by a run that goes on: what it is run with from here on.
    Corrected(Box<UpgradePlan>),
    /// The process of the stable version that is about to be stopped.
    Serves(HostIdentity),
    /// A step.
    Phase(UpgradeStep),
    /// What the replay found: the snapshot, and how many decisions were judged alike.
    Replayed { snapshot: PathBuf, decisions: u64 },
    /// The stable version is brought back.
    GoingBack(String),
}

/// Where an upgrade stands that has not ended.
#[derive(Debug, Clone)]
pub(super) struct UpgradeState {
    pub(super) begin: UpgradeStart,
    pub(super) phase: Option<UpgradeStep>,
    /// Whether the host was stopped, also where a later run has begun again before that.
    pub(super) was_stopped: bool,
    /// The process of the stable version that was about to be stopped last.
    pub(super) served: Option<HostIdentity>,
    pub(super) replayed: Option<(PathBuf, u64)>,
    pub(super) going_back: Option<String>,
}

impl UpgradeState {
    pub(super) const fn from_start(begin: UpgradeStart) -> Self {
        Self {
            begin,
            phase: None,
            was_stopped: false,
            served: None,
            replayed: None,
            going_back: None,
        }
    }

    /// The program of the new version.
    pub(super) fn wanted(&self) -> WantedProgram {
        let UpgradeStart { plan, build, .. } = &self.begin;
        let name = format!("{} ({})", plan.version, plan.new_binary.display());
        WantedProgram::of_build(name, *build)
    }

    /// Whether check, snapshot and replay come next. Until the host is stopped nothing has changed, and everything is looked at again; likewise where
    /// somebody has started another version since, which may have judged more.
    pub(super) fn looks_again(&self, serving: &Serving) -> bool {
        self.phase < Some(UpgradeStep::Stop) || matches!(serving, Serving::Other(_))
    }

    /// Whether an earlier run started the new version, and it serves: it is left as it is.
    pub(super) fn is_running(&self, serving: &Serving) -> bool {
        self.phase >= Some(UpgradeStep::Start) && *serving == Serving::Wanted
    }

    /// Whether the new version may have been started. A connection to a unit's socket may have done so before the step was announced.
    pub(super) fn may_run(&self, serving: &Serving) -> bool {
        self.phase >= Some(UpgradeStep::Start) || (self.was_stopped && *serving == Serving::Wanted)
    }

    /// Whether the order to stop the host was given and did not stop it: the same process of the stable version serves on.
    pub(super) fn serves_on(&self, client: &HostClient) -> bool {
        let data_dir = &self.begin.plan.data_dir;
        let served = self.served.as_ref();
        served.is_some_and(|served| served.serves_on(client, data_dir))
    }

    /// Takes an entry over.
    pub(super) fn apply_entry(&mut self, entry: &UpgradeEntry) {
        match entry {
            UpgradeEntry::Started(_) => {}
            UpgradeEntry::Corrected(plan) => self.begin.plan = UpgradePlan::clone(plan),
            UpgradeEntry::Serves(process) => self.served = Some(process.clone()),
            UpgradeEntry::Phase(phase) => {
                self.phase = Some(*phase);
                self.was_stopped |= *phase >= UpgradeStep::Stop;
            }
            UpgradeEntry::Replayed {
                snapshot,
                decisions,
            } => self.replayed = Some((snapshot.clone(), *decisions)),
            UpgradeEntry::GoingBack(reason) => self.going_back = Some(reason.clone()),
        }
    }
}

/// What the entries say; `None`: no upgrade is under way.
pub(super) fn read_entries(entries: &[UpgradeEntry]) -> Option<UpgradeState> {
    let mut found = None;
    for entry in entries {
        if let UpgradeEntry::Started(begin) = entry {
            found = Some(UpgradeState::from_start(UpgradeStart::clone(begin)));
        } else if let Some(state) = &mut found {
            state.apply_entry(entry);
        }
    }
    found
}
