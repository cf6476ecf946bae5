//! The journal of rollbacks, which is also their history: it is never cleared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ark_client::HostClient;
use ark_model::ids::{Digest, Millis};
use ark_store::{find_finished_restore, is_restore_pending};
use serde::{Deserialize, Serialize};

use crate::exclusion::ExchangeKind;
use crate::journal::{Journal, JournalError};

use super::plan::RollbackPlan;

/// A step of a rollback. In their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackStep {
    /// A canary that runs is undone.
    Canary,
    /// The database is copied.
    Backup,
    /// The host is stopped; its database stays, or a snapshot takes its place.
    Database,
    /// The stable version is started.
    Start,
    /// Its health is checked.
    Health,
    /// It gets the requests.
    Traffic,
    /// It is validated.
    Validation,
}

impl RollbackStep {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Canary,
        Self::Backup,
        Self::Database,
        Self::Start,
        Self::Health,
        Self::Traffic,
        Self::Validation,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Backup => "backup",
            Self::Database => "database",
            Self::Start => "start",
            Self::Health => "health",
            Self::Traffic => "traffic",
            Self::Validation => "validation",
        }
    }
}

/// A database that a snapshot takes the place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The snapshot.
    pub snapshot: PathBuf,
    /// How many decisions of the database are newer than the snapshot; `None`: that cannot be counted.
    pub decisions: Option<u64>,
    /// Why the stable version cannot go on with the database.
    pub reason: String,
}

/// What is known when a rollback begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RollbackStart {
    pub(super) id: String,
    pub(super) plan: RollbackPlan,
    pub(super) began_at: Millis,
    /// The schema of the stable version.
    pub(super) schema: u32,
    /// The digest of its program; absent where it does not say it, and in a journal of an earlier program.
    #[serde(default)]
    pub(super) build: Option<Digest>,
    /// The weights of the backend's servers before. They are read again when the step `traffic` is reached.
    pub(super) weights: BTreeMap<String, u32>,
}

/// An entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RollbackEntry {
    /// A rollback begins.
    Started(Box<RollbackStart>),
    /// Options were taken over by a run that goes on, or other weights were found when the step `traffic` was reached: what it is run with from here on,
    /// and the weights of the backend's servers before.
    Corrected {
        plan: Box<RollbackPlan>,
        weights: BTreeMap<String, u32>,
    },
    /// A step is about to be taken.
    Step(RollbackStep),
    /// The database cannot be copied.
    Damaged(String),
    /// The database is about to be replaced.
    SettingAside(SetAside),
    /// It was replaced, and is kept here.
    KeptAside(PathBuf),
    /// A step was taken.
    Done(PastStep),
    /// A step failed; another run takes it again.
    Failed { step: RollbackStep, problem: String },
    /// The rollback has ended.
    Finished {
        at_ms: Millis,
        passed: bool,
        result: String,
    },
}

/// A step that was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PastStep {
    /// The step.
    pub step: RollbackStep,
    /// When it had been taken.
    pub at_ms: Millis,
    /// Whether it was good; a step that fails otherwise is taken again.
    pub passed: bool,
    /// What it did.
    pub detail: String,
}

/// A rollback of the history.
#[derive(Debug, Clone, Serialize)]
pub struct PastRollback {
    /// Its id.
    pub id: String,
    /// The stable version.
    pub version: String,
    /// Why the host went back.
    pub reason: String,
    /// When it began.
    pub began_at_ms: Millis,
    /// When it ended; absent: it is under way, or its command was killed.
    pub ended_at_ms: Option<Millis>,
    /// Whether it ended with a version that passed its validation.
    pub passed: bool,
    /// How it ended, in words; absent as above.
    pub result: Option<String>,
    /// The steps that were taken.
    pub steps: Vec<PastStep>,
    /// What failed on the way, and was taken again if a step of that name is above.
    pub failures: Vec<String>,
    /// The database that a snapshot took the place of.
    pub set_aside: Option<SetAside>,
    /// Where that database is kept.
    pub kept_aside: Option<PathBuf>,
}

/// Where a rollback stands that has not ended.
#[derive(Debug, Clone)]
pub(crate) struct RollbackState {
    pub(super) begin: RollbackStart,
    pub(super) damage: Option<String>,
    /// How often the database was set aside: part of the name of the restore.
    pub(super) restores: u32,
    /// Whether the last of these restores has not said that it ended.
    pub(super) is_restoring: bool,
    /// Whether the step that gives the stable version the requests was begun.
    pub(super) has_begun_traffic: bool,
    pub(super) past: PastRollback,
}

impl RollbackState {
    pub(super) const fn from_start(begin: RollbackStart, past: PastRollback) -> Self {
        Self {
            begin,
            damage: None,
            restores: 0,
            is_restoring: false,
            has_begun_traffic: false,
            past,
        }
    }

    /// Has these steps be taken again by another run. What was started may have ended meanwhile, or an operator may have started the newer version,
    /// which may have judged more: what serves in the end is what that run starts.
    pub(super) fn forget_repeated(&mut self) {
        let again = [
            RollbackStep::Database,
            RollbackStep::Start,
            RollbackStep::Health,
            RollbackStep::Validation,
        ];
        self.past.steps.retain(|done| !again.contains(&done.step));
    }

    /// Whether a step was taken.
    pub(super) fn is_done(&self, step: RollbackStep) -> bool {
        self.past.steps.iter().any(|done| done.step == step)
    }

    /// The name of the restore that was begun last.
    pub(super) fn restore_label(&self) -> String {
        format!("{}-{}", self.begin.id, self.restores)
    }

    /// Where the database is kept that the last restore took the place of, if a kill kept that from being noted.
    pub(super) fn find_unnoted_restore(&self) -> Option<PathBuf> {
        let data_dir = &self.begin.plan.data_dir;
        if !self.is_restoring || is_restore_pending(data_dir) {
            return None;
        }
        find_finished_restore(data_dir, &self.restore_label())
    }

    /// Whether the database was replaced, or the stable version started: the way back of an upgrade cannot be given up any more.
    pub(super) fn is_too_far(&self) -> bool {
        self.is_done(RollbackStep::Start)
            || self.past.kept_aside.is_some()
            || self.find_unnoted_restore().is_some()
            || is_restore_pending(&self.begin.plan.data_dir)
    }

    /// Takes an entry over.
    pub(super) fn apply_entry(&mut self, entry: &RollbackEntry) {
        match entry {
            RollbackEntry::Started(_) => {}
            RollbackEntry::Step(step) => self.has_begun_traffic |= *step == RollbackStep::Traffic,
            RollbackEntry::Corrected { plan, weights } => {
                self.begin.plan = RollbackPlan::clone(plan);
                self.begin.weights.clone_from(weights);
            }
            RollbackEntry::Damaged(problem) => self.damage = Some(problem.clone()),
            RollbackEntry::SettingAside(aside) => {
                self.past.set_aside = Some(aside.clone());
                self.restores += 1;
                self.is_restoring = true;
            }
            RollbackEntry::KeptAside(path) => {
                self.past.kept_aside = Some(path.clone());
                self.is_restoring = false;
            }
            RollbackEntry::Done(step) => {
                // A step may be taken again by another run.
                self.past.steps.retain(|done| done.step != step.step);
                self.past.steps.push(step.clone());
                self.past.steps.sort_by_key(|done| done.step);
            }
            RollbackEntry::Failed { step, problem } => {
                let failure = format!("{}: {problem}", step.as_str());
                self.past.failures.push(failure);
            }
            RollbackEntry::Finished {
                at_ms,
                passed,
                result,
            } => {
                self.past.ended_at_ms = Some(*at_ms);
                self.past.passed = *passed;
                self.past.result = Some(result.clone());
            }
        }
    }
}

impl PastRollback {
    pub(super) fn from_start(begin: &RollbackStart) -> Self {
        Self {
            id: begin.id.clone(),
            version: begin.plan.version.clone(),
            reason: begin.plan.reason.clone(),
            began_at_ms: begin.began_at,
            ended_at_ms: None,
            passed: false,
            result: None,
            steps: Vec::new(),
            failures: Vec::new(),
            set_aside: None,
            kept_aside: None,
        }
    }
}

/// All rollbacks that the entries tell of, the first one first.
pub(super) fn read_entries(entries: &[RollbackEntry]) -> Vec<RollbackState> {
    let mut found: Vec<RollbackState> = Vec::new();
    for entry in entries {
        if let RollbackEntry::Started(begin) = entry {
            found.push(RollbackState::from_start(
                RollbackStart::clone(begin),
                PastRollback::from_start(begin),
            ));
        } else if let Some(last) = found.last_mut() {
            last.apply_entry(entry);
        }
    }
    found
}

/// The rollbacks of a host, the first one first. One may run meanwhile.
///
/// # Errors
/// The journal cannot be read.
pub fn read_history(client: &HostClient, path: &Path) -> Result<Vec<PastRollback>, JournalError> {
    let entries =
        Journal::read_entries::<RollbackEntry>(path, &ExchangeKind::Rollback.owner_for(client))?;
    let states = read_entries(&entries).into_iter();
    Ok(states.map(|state| state.past).collect())
}
