//! Why a rollback cannot begin, or does not go on.

use std::path::PathBuf;

use crate::canary::CanaryError;
use crate::exchange::ExchangeError;
use crate::exclusion::{ExchangeKind, ExclusionError};
use crate::haproxy::HaproxyError;
use crate::journal::JournalError;
use crate::validate::ValidateError;

use super::journal::{RollbackStep, SetAside};

/// Why a rollback cannot begin, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An upgrade, or another rollback, is under way.
    #[error(transparent)]
    Exclusion(#[from] ExclusionError),
    /// A command, a snapshot or the stable version fails.
    // Not transparent, so that the error is one of the causes: it has the list of what a dry run found.
    #[error("{0}")]
    Exchange(#[from] ExchangeError),
    /// `HAProxy` refuses something.
    #[error(transparent)]
    Haproxy(#[from] HaproxyError),
    /// The host refuses a token that the validation needs.
    #[error(
        "{0}; give another token (--token-file, --submitter-token-file), or go back without the validation (--no-validation)"
    )]
    Token(String),
    /// The telemetry that the validation is to read is another host's.
    #[error(
        "the host that answers at {url} ({answering}) is not the one of --telemetry {telemetry} ({other}), so that its objectives would say nothing of the host: correct --telemetry, or go back without them (--telemetry off)"
    )]
    Telemetry {
        /// The address of the host.
        url: String,
        /// What answers there.
        answering: String,
        /// The address of the telemetry.
        telemetry: String,
        /// What answers there.
        other: String,
    },
    /// The canary that runs cannot be undone.
    #[error("the canary that runs cannot be undone: {0}")]
    Canary(#[source] CanaryError),
    /// The host cannot be validated.
    #[error(transparent)]
    Validate(#[from] ValidateError),
    /// No rollback is under way, and none was described.
    #[error(
        "no rollback of {0} is under way; one that begins needs --stable-binary, --data-dir, --snapshots, and --stop-command with --start-command or --unit"
    )]
    None(String),
    /// Another rollback is under way than that of the upgrade.
    #[error(
        "{id}, of `{reason}`, was begun and has not ended: end it with `ark rollback --journal {journal}`",
        journal = journal.display()
    )]
    UnderWay {
        /// Its id.
        id: String,
        /// Why it was begun.
        reason: String,
        /// Its journal.
        journal: PathBuf,
    },
    /// The way back has come too far for staying with the newer version.
    #[error(
        "{0} has replaced the database, or started the stable version, already: end it with `ark upgrade --back`, then upgrade again"
    )]
    Replaced(String),
    /// A restore that is not this rollback's was interrupted: no host starts before it is repeated.
    #[error(
        "a restore into {dir} was interrupted, so that no host starts there: repeat it first (`ark canary abort` that of a canary, `ark state restore --replace` that of an operator), then roll back",
        dir = dir.display()
    )]
    RestoreInterrupted {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is no snapshot that could take the database's place.
    #[error(
        "the stable version cannot go on with the database, and there is no snapshot that could take its place: {0}; name one with --snapshot DIR"
    )]
    NoSnapshot(String),
    /// Decisions would be set aside.
    #[error(
        "{aside}, and would be lost to the ledger; stay with the newer version, or begin again with --accept-loss-of-decisions {flag}, or more: others may be decided until the host has stopped{stopped}",
        stopped = if *is_stopped { "; it is stopped now: start it again to stay with the newer version" } else { "" }
    )]
    Loss {
        /// What would be done.
        aside: Box<SetAside>,
        /// What the option needs.
        flag: String,
        /// Whether the host was stopped meanwhile.
        is_stopped: bool,
    },
    /// The stable version is not healthy.
    #[error("the stable version is not healthy after {tries} checks: {problem}")]
    NotHealthy {
        /// How many checks were made.
        tries: u32,
        /// What the last one found.
        problem: String,
    },
    /// Its front fails under the requests that it gets; those of before have them again.
    #[error(
        "{server} failed with {share} % of the requests, and the weights of before are set again: {problem}"
    )]
    Traffic {
        /// The server.
        server: String,
        /// The share.
        share: u32,
        /// The observed problem.
        problem: String,
    },
    /// A share failed, and the weights of before cannot be given back.
    #[error(
        "{reason}; the weights are not set back ({weights}): {cause}; the next `ark rollback` sets them, with --haproxy where HAProxy has another socket"
    )]
    Weights {
        /// Why the share failed.
        reason: Box<RollbackError>,
        /// What the weights were before.
        weights: String,
        /// What is wrong.
        #[source]
        cause: HaproxyError,
    },
    /// A step failed.
    #[error("the step {} failed: {cause}; `ark rollback` goes on once that is mended, also with options that correct what it was begun with; `ark rollback --give-up` ends it and leaves everything as it is", step.as_str())]
    Step {
        /// The step.
        step: RollbackStep,
        /// What is wrong.
        cause: Box<RollbackError>,
    },
    /// The way back of an upgrade is ended by that alone.
    #[error(
        "{id} is the way back of {upgrade}, and ends with it: `ark upgrade` goes on, also with options that correct what it was begun with{keep}",
        keep = if *may_keep { "; `ark upgrade --keep` stays with the new version" } else { "" }
    )]
    OfUpgrade {
        /// Its id.
        id: String,
        /// The upgrade.
        upgrade: String,
        /// Whether the upgrade may stay with the new version.
        may_keep: bool,
    },
    /// Another command ended the rollback that was waited for.
    #[error("another command has ended the rollback {0}; `ark rollback history` shows it")]
    Ended(String),
    /// A signal ended the run.
    #[error("interrupted; `ark rollback` goes on with it")]
    Interrupted,
}

impl From<CanaryError> for RollbackError {
    fn from(error: CanaryError) -> Self {
        Self::Canary(match error {
            CanaryError::Journal(error) => {
                let option = ExchangeKind::Canary.journal_option();
                CanaryError::Journal(error.with_option(Some(option)))
            }
            error => error,
        })
    }
}

impl RollbackError {
    /// The error with its step and the remedy, where it does not say that itself. `is_of_upgrade`: `ark upgrade` says what goes on.
    pub(super) fn in_step(self, step: RollbackStep, is_of_upgrade: bool) -> Self {
        match self {
            Self::Loss { .. } | Self::NoSnapshot(_) | Self::Interrupted => self,
            _ if is_of_upgrade => self,
            _ => Self::Step {
                step,
                cause: Box::new(self),
            },
        }
    }

    /// Whether a signal ended the run.
    pub(super) const fn is_interruption(&self) -> bool {
        matches!(
            self,
            Self::Interrupted
                | Self::Exclusion(ExclusionError::Interrupted)
                | Self::Exchange(ExchangeError::Interrupted(_))
                | Self::Canary(
                    CanaryError::Interrupted | CanaryError::TakeOver(ExchangeError::Interrupted(_))
                )
        )
    }
}
