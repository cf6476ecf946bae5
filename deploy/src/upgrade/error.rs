//! Why an upgrade cannot begin, or does not go on.

use std::path::PathBuf;

use ark_client::ClientError;

use crate::exchange::ExchangeError;
use crate::exclusion::ExclusionError;
use crate::journal::JournalError;
use crate::rollback::RollbackError;
use crate::validate::ValidateError;

/// Why an upgrade cannot begin, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A command, a snapshot or a version fails.
    // Not transparent, so that the error is one of the causes: it has the list of what a dry run found.
    #[error("{0}")]
    Exchange(#[from] ExchangeError),
    /// A canary, a rollback or another upgrade is under way.
    #[error(transparent)]
    Exclusion(#[from] ExclusionError),
    /// The host does not serve.
    #[error(
        "the host is not ready, so that an upgrade could not tell whether the new version is: see `ark health --ready`"
    )]
    NotReady,
    /// No host answers.
    #[error(
        "no host answers at {url}, and an upgrade begins with one that serves: start the version that served last, see that `ark health --ready` passes, then run this again; or correct --url ({cause})"
    )]
    NoHost {
        /// The address.
        url: String,
        /// What the request met.
        cause: ClientError,
    },
    /// Another version serves than the one that a failed upgrade would go back to.
    #[error(
        "the version that serves is not the one that a failed upgrade would go back to: {found}; name that version with --stable-binary, or restart the host if its program was exchanged under it"
    )]
    NotStable {
        /// What serves, in words.
        found: String,
    },
    /// The new version finds something wrong.
    #[error("the new version's check finds {0}")]
    Check(String),
    /// The new version cannot be validated.
    #[error(transparent)]
    Validate(#[from] ValidateError),
    /// Another validation kept it from its own, for too long.
    #[error(
        "the new version serves and was not validated: {0}; `ark upgrade` goes on with the validation, `ark upgrade --keep` stays with the new version, `ark upgrade --back` undoes it"
    )]
    NotValidated(ValidateError),
    /// It fails its validation.
    #[error("the new version does not pass its validation: {0}")]
    Validation(String),
    /// The way back fails.
    #[error(
        "the way back to the stable version, of `{reason}`, does not go on: {cause}; `ark upgrade` tries again{keep}",
        keep = if *may_keep { ", `ark upgrade --keep` stays with the new version once that serves" } else { "" }
    )]
    Back {
        /// Why the upgrade goes back.
        reason: String,
        /// What is wrong.
        cause: Box<RollbackError>,
        /// Whether an operator can stay with the new version.
        may_keep: bool,
    },
    /// An upgrade to another version is under way.
    #[error(
        "{id}, to {binary}, was begun and has not ended: `ark upgrade` goes on with it, `ark upgrade --back` undoes it",
        binary = binary.display()
    )]
    UnderWay {
        /// Its id.
        id: String,
        /// The `ark` of its new version.
        binary: PathBuf,
    },
    /// The file of the new version is another one now.
    #[error(
        "{binary} is not the version any more with which {id} was begun: put that back there, name a copy of it, or undo the upgrade with `ark upgrade --back`",
        binary = binary.display()
    )]
    Changed {
        /// Its id.
        id: String,
        /// The file.
        binary: PathBuf,
    },
    /// The new version was not started yet.
    #[error(
        "the new version of {0} was not started yet, so that there is nothing to stay with: `ark upgrade` goes on, `ark upgrade --back` undoes it"
    )]
    NotStarted(String),
    /// The host is not ready, so that nobody can stay with the new version.
    #[error(
        "no host is ready: start the new version, then stay with it; or undo the upgrade with `ark upgrade --back`"
    )]
    NotServing,
    /// The way back cannot be given up.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// No upgrade is under way, and none was described.
    #[error(
        "no upgrade of {0} is under way; one that begins needs the new `ark`, --data-dir, --snapshots, and commands or --unit"
    )]
    None(String),
    /// Another command ended the upgrade that was waited for.
    #[error("another command has ended the upgrade; `ark canary status` shows its steps")]
    Ended,
    /// A signal ended the run.
    #[error("interrupted; `ark upgrade` goes on with it, `ark upgrade --back` undoes it")]
    Interrupted,
}

impl UpgradeError {
    /// Whether a signal ended the run.
    pub(super) const fn is_interruption(&self) -> bool {
        matches!(
            self,
            Self::Interrupted
                | Self::Exclusion(ExclusionError::Interrupted)
                | Self::Exchange(ExchangeError::Interrupted(_))
        )
    }
}
