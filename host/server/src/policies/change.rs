//! Changes of operator policies: what may be wanted, what came of it, and why one is refused.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::changes::Refusal;
use crate::hrm::HrmError;
use crate::hrm::chain::ChainSlot;
use ark_model::ids::{Digest, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::settings::Settings;
use ark_runtime::{LoadError, PolicyError, SettingsRefused, VectorFailure};
use ark_store::{IdempotencyRecord, PolicySlot, PolicyVersion, ReadError};

/// Why a component is not taken as an operator policy.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// It cannot be loaded.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// Its bytes are others than those that were meant.
    #[error(
        "its SHA-256 is {found}, {expected} was stated; if the change is meant, state the new one"
    )]
    DigestMismatch {
        /// As stated.
        expected: Digest,
        /// As it is.
        found: Digest,
    },
    /// It is another policy than it was said to be.
    #[error("its metadata says that it is {found}, not {expected}")]
    NameMismatch {
        /// What it was said to be.
        expected: Name,
        /// What it says.
        found: String,
    },
    /// The name is the Graveyard's.
    #[error("the name {0} is the Graveyard's own; give the policy another one")]
    ReservedName(String),
    /// It does not take its settings.
    #[error("{0}")]
    Settings(#[from] SettingsRefused),
    /// It fails its own test vectors.
    #[error("{0}")]
    Vectors(#[from] VectorFailure),
    /// It cannot judge a plain trade.
    #[error("asked about a plain trade in a scratch instance, it failed: {0}")]
    TestEvaluation(PolicyError),
    /// Its file cannot be read.
    #[error("{path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// Why a change was not made. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyChangeError {
    /// The component or its settings.
    #[error("the policy is refused: {0}")]
    Invalid(#[from] InvalidPolicy),
    /// There is no such policy.
    #[error("there is no operator policy {0}")]
    UnknownPolicy(Name),
    /// There is no such version.
    #[error("{policy} has no version {number}; there are: {}", kept.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))]
    UnknownVersion {
        /// Whose.
        policy: Name,
        /// Which.
        number: u64,
        /// Those there are.
        kept: Vec<u64>,
    },
    /// There is none to go back to.
    #[error("no version of {0} was enforced before the one that is")]
    NoPreviousVersion(Name),
    /// Nothing of it is on trial.
    #[error("no version of {0} is on trial")]
    NoShadow(Name),
    /// What is to be tried counts already.
    #[error(
        "this is version {number} of {policy}, which is enforced; putting it on trial would end that"
    )]
    AlreadyEnforced {
        /// Whose.
        policy: Name,
        /// Which.
        number: u64,
    },
    /// Somebody else has the say over the name.
    #[error("{policy} is set up by {}", owner.owner())]
    DeclaredInFile {
        /// Whose.
        policy: Name,
        /// By whom.
        owner: PolicySource,
    },
    /// It is at another revision.
    #[error("{policy} is at revision {current}, not {expected}")]
    RevisionMismatch {
        /// Whose.
        policy: Name,
        /// What was expected.
        expected: u64,
        /// As it is; 0: there is no such policy.
        current: u64,
    },
    /// There is no room.
    #[error("{0} operator policies are in force, as many as capacity.policies allows")]
    TooManyPolicies(usize),
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request; use a fresh key")]
    KeyReused,
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change could not be recorded.
    #[error("the change could not be recorded, so nothing has changed: {0}")]
    NotRecorded(HrmError),
    /// What is kept does not fit together.
    #[error("version {number} of {policy} cannot be loaded: {problem}")]
    CorruptVersion {
        /// Whose.
        policy: Name,
        /// Which.
        number: u64,
        /// What is wrong.
        problem: String,
    },
}

/// An upload.
#[derive(Debug, Clone)]
pub struct PolicyUpload {
    /// The component.
    pub component: Vec<u8>,
    /// The SHA-256 that was stated.
    pub sha256: Digest,
    /// Its settings.
    pub settings: Option<Settings>,
    /// Whether its verdicts are to count.
    pub mode: PolicyMode,
    /// Its place; `None`: as it was, or the last.
    pub order: Option<u32>,
}

/// Settings that take the place of others; `None`: the policy gets none.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct SettingsReplacement(pub Option<Settings>);

/// What is to be different of a policy whose component stays. What is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct PolicyRevision {
    /// Its settings.
    pub settings: Option<SettingsReplacement>,
    /// Whether its verdicts are to count.
    pub mode: Option<PolicyMode>,
    /// Its place.
    pub order: Option<u32>,
}

/// On which state, and under which key, a change is made.
#[derive(Debug, Clone, Default)]
pub struct ChangeConditions {
    /// The revision it must be at; 0: there must be none; `None`: any.
    pub expected_revision: Option<u64>,
    /// Under which key it is answered once only. The answer is filled in.
    pub idempotency: Option<IdempotencyRecord>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[schema(as = PolicyChanged)]
pub struct PolicyChangeReceipt {
    /// Whose.
    pub policy: Name,
    /// The version it is about; `None`: it is about none, or about the policy as a whole.
    pub number: Option<u64>,
    /// SHA-256 of that version's component.
    pub sha256: Option<Digest>,
    /// SHA-256 of its settings.
    pub settings_sha256: Option<Digest>,
    /// How many test vectors it carries, all of which it passed.
    pub vectors: Option<u32>,
    /// The policy's place.
    pub order: u32,
    /// The version whose verdict counts now.
    pub enforced: Option<u64>,
    /// The version on trial now.
    pub shadow: Option<u64>,
    /// The version whose verdict counted before.
    pub previous: Option<u64>,
    /// The policy's revision now.
    pub revision: u64,
    /// What should be known of it, in words.
    pub remarks: Vec<String>,
}

/// What is kept of a policy.
#[derive(Clone)]
pub struct PolicyStatus {
    /// What is in force under its name, as it is kept.
    pub row: PolicySlot,
    /// Its versions, newest first.
    pub versions: Vec<PolicyVersion>,
    /// What judges; `None`: nothing.
    pub slot: Option<Arc<ChainSlot>>,
    /// The last refused change since the start.
    pub refused: Option<Refusal>,
}
