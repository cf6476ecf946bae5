//! Changes of agents' versions: who wants one, what came of it, and why one is refused.

use serde::{Deserialize, Serialize};

use crate::changes::Refusal;
use crate::router::RouterError;
use ark_model::ids::{Digest, Name};
use ark_runtime::{InvocationFailure, LoadError};
use ark_store::{AgentVersion, CommitError, ReadError, Rollout, Trial};

/// Why a change was not made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum AgentChangeError {
    /// The manifest makes no sense.
    #[error("the manifest is refused: {0}")]
    Manifest(String),
    /// The manifest is another agent's.
    #[error("the manifest is that of {found}, not of {expected}")]
    NameMismatch {
        /// Whose version it was to be.
        expected: Name,
        /// Whose it is.
        found: Name,
    },
    /// The component.
    #[error("the component is refused: {0}")]
    Load(#[from] LoadError),
    /// It is not well.
    #[error("the component is refused: its heartbeat in a scratch instance failed: {0}")]
    Heartbeat(InvocationFailure),
    /// There is no such agent.
    #[error("there is no agent {0}")]
    UnknownAgent(Name),
    /// There is no such version.
    #[error("{agent} has no version {number}{}", numbers(.kept))]
    UnknownVersion {
        /// Whose.
        agent: Name,
        /// Which.
        number: u64,
        /// Those there are.
        kept: Vec<u64>,
    },
    /// There is none to go back to.
    #[error("no version of {0} served before the one that serves")]
    NoPreviousVersion(Name),
    /// It cannot be tried out beside itself.
    #[error("version {number} of {agent} is the one that serves")]
    AlreadyServing {
        /// Whose.
        agent: Name,
        /// Which.
        number: u64,
    },
    /// None is on trial.
    #[error("no version of {0} is on trial")]
    NoTrial(Name),
    /// Signals wait for it.
    #[error("{waiting} signals wait for {agent}; deleting it lets them fail")]
    PendingDeliveries {
        /// For whom.
        agent: Name,
        /// How many.
        waiting: usize,
    },
    /// The agents' directory.
    #[error("the agents' directory has no usable version: {0}")]
    Directory(String),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change could not be recorded.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The router.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// What is kept does not fit together.
    #[error("version {number} of {agent} cannot be read back: {problem}")]
    CorruptVersion {
        /// Whose.
        agent: Name,
        /// Which.
        number: u64,
        /// What is wrong.
        problem: String,
    },
}

fn numbers(kept: &[u64]) -> String {
    let numbers: Vec<String> = kept.iter().map(u64::to_string).collect();
    if numbers.is_empty() {
        return "; none was uploaded".to_owned();
    }
    format!("; there are: {}", numbers.join(", "))
}

impl AgentChangeError {
    /// Whether what was sent is at fault, and not the host or what it holds.
    #[must_use]
    pub const fn is_upload_fault(&self) -> bool {
        matches!(
            self,
            Self::Manifest(_) | Self::NameMismatch { .. } | Self::Load(_) | Self::Heartbeat(_)
        )
    }
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentChangeReceipt {
    /// Whose.
    pub agent: Name,
    /// The version it is about.
    pub number: u64,
    /// SHA-256 of its component.
    pub sha256: Digest,
    /// The version that serves now; 0: that of the agents' directory.
    pub serving: Option<u64>,
    /// The one that served before.
    pub previous: Option<u64>,
    /// The version on trial now, and its part of the signals.
    pub canary: Option<Trial>,
    /// Whether everything that the version before had under way has ended; false, too, in an answer that is given again.
    pub drained: bool,
}

/// What is kept of an agent.
#[derive(Debug, Clone)]
pub struct AgentStatus {
    /// Its uploaded versions, newest first.
    pub versions: Vec<AgentVersion>,
    /// Which serves; `None`: nothing was ever said, the directory's does if there is one.
    pub rollout: Option<Rollout>,
    /// The last refused upload since the start.
    pub refused: Option<Refusal>,
}
