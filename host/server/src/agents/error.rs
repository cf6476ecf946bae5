//! Why a change of an agent is refused.

use crate::changes::{PermitEnded, StoredVersionError, describe_kept_versions};
use crate::router::RouterError;
use ark_model::ids::Name;
use ark_runtime::{InvocationFailure, LoadError};
use ark_store::{CommitError, ReadError};

use super::load::LoadVersionError;

/// Why a change was not made. The agent serves as before.
#[derive(Debug, thiserror::Error)]
pub enum AgentChangeError {
    /// A field of the manifest is invalid.
    #[error("the manifest is refused: {0}")]
    Manifest(String),
    /// The manifest names another agent.
    #[error("the manifest is that of {found}, not of {expected}")]
    NameMismatch {
        /// The agent the version was uploaded for.
        expected: Name,
        /// The agent the manifest names.
        found: Name,
    },
    /// The component cannot be loaded.
    #[error("the component is refused: {0}")]
    Load(#[from] LoadError),
    /// The component does not answer a heartbeat.
    #[error("the component is refused: its heartbeat in a scratch instance failed: {0}")]
    Heartbeat(#[source] InvocationFailure),
    /// No agent of this name serves, and none ever did.
    #[error("there is no agent {0}")]
    UnknownAgent(Name),
    /// The agent has no version of this number.
    #[error("{agent} has no version {number}; {}", describe_kept_versions(.kept))]
    UnknownVersion {
        /// The agent.
        agent: Name,
        /// The number that was asked for.
        number: u64,
        /// The numbers of the versions that are kept.
        kept: Vec<u64>,
    },
    /// A rollback has no version to return to.
    #[error("no version of {0} served before the one that serves")]
    NoPreviousVersion(Name),
    /// The version that serves cannot be on trial beside itself.
    #[error("version {number} of {agent} is the one that serves")]
    AlreadyServing {
        /// The agent.
        agent: Name,
        /// The version that serves.
        number: u64,
    },
    /// There is no trial to end.
    #[error("no version of {0} is on trial")]
    NoTrial(Name),
    /// A deletion would make signals fail that were acknowledged.
    #[error("{waiting} signals wait for {agent}; deleting it lets them fail")]
    PendingDeliveries {
        /// The agent.
        agent: Name,
        /// How many deliveries are open.
        waiting: usize,
    },
    /// The version in the agents' directory cannot be loaded.
    #[error("the agents' directory has no usable version: {0}")]
    Directory(#[source] LoadVersionError),
    /// Another order decided which version serves while an upload was compiled.
    #[error(
        "another change decided which version of {0} serves while the upload was compiled, so nothing has changed"
    )]
    ChangedMeanwhile(Name),
    /// Who asked for the change may not make it any more.
    #[error(transparent)]
    PermitEnded(#[from] PermitEnded),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change could not be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The router could not take the version. The change is committed: the next start serves it.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// The version is kept, but not as it was uploaded.
    #[error("version {number} of {agent} cannot be read back: {source}")]
    CorruptVersion {
        /// The agent.
        agent: Name,
        /// The version.
        number: u64,
        /// What is wrong with it.
        source: StoredVersionError,
    },
}

impl AgentChangeError {
    /// Returns whether what was uploaded is at fault, and not the host or what it keeps.
    #[must_use]
    pub const fn is_upload_fault(&self) -> bool {
        matches!(
            self,
            Self::Manifest(_) | Self::NameMismatch { .. } | Self::Load(_) | Self::Heartbeat(_)
        )
    }
}
