//! Why a component is no valid operator policy, and why a change is refused.

use std::path::PathBuf;

use crate::changes::{
    ComponentFileError, PermitEnded, StoredVersionError, UnsignedError, describe_kept_versions,
};
use crate::hrm::HrmError;
use ark_model::ids::{Digest, Name};
use ark_model::policy::PolicySource;
use ark_runtime::{LoadError, PolicyError, SettingsRefused, VectorFailure};
use ark_store::{CommitError, ReadError};

/// Why a component is refused as an operator policy.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// The component cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The bytes are not those that were stated.
    #[error(
        "its SHA-256 is {found}, {expected} was stated; if the change is meant, state the new one"
    )]
    DigestMismatch {
        /// The stated digest.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The operator demands a signature, and the component has none that counts.
    #[error(transparent)]
    Unsigned(#[from] UnsignedError),
    /// The component's metadata names another policy.
    #[error("its metadata says that it is {found}, not {expected}")]
    NameMismatch {
        /// The name it was uploaded or declared under.
        expected: Name,
        /// The name in its metadata.
        found: String,
    },
    /// The component's name is the Graveyard's.
    #[error("the name {0} is the Graveyard's own; give the policy another one")]
    ReservedName(String),
    /// The component refuses its settings.
    #[error(transparent)]
    Settings(#[from] SettingsRefused),
    /// The component fails one of its test vectors.
    #[error(transparent)]
    Vectors(#[from] VectorFailure),
    /// The component cannot judge a plain trade.
    #[error("asked about a plain trade in a scratch instance, it failed: {0}")]
    TestEvaluation(#[source] PolicyError),
    /// The component's file cannot be read.
    #[error(transparent)]
    File(ComponentFileError),
}

impl From<ComponentFileError> for InvalidPolicy {
    fn from(error: ComponentFileError) -> Self {
        match error {
            ComponentFileError::TooLarge(error) => Self::Load(error),
            unreadable @ ComponentFileError::Unreadable { .. } => Self::File(unreadable),
        }
    }
}

/// Why a stored version of a policy cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum StoredPolicyError {
    /// The stored bytes or settings cannot be used.
    #[error(transparent)]
    Stored(#[from] StoredVersionError),
    /// The policy is refused now, under this engine and this configuration.
    #[error(transparent)]
    Invalid(#[from] InvalidPolicy),
}

/// Why a change was not made. What was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyChangeError {
    /// The component or its settings are refused.
    #[error("the policy is refused: {0}")]
    Invalid(#[from] InvalidPolicy),
    /// No policy of this name is in force or kept.
    #[error("there is no operator policy {0}")]
    UnknownPolicy(Name),
    /// The policy has no version of this number.
    #[error("{policy} has no version {number}; {}", describe_kept_versions(.kept))]
    UnknownVersion {
        /// The policy.
        policy: Name,
        /// The number that was asked for.
        number: u64,
        /// The numbers of the versions that are kept.
        kept: Vec<u64>,
    },
    /// A rollback has no version to return to.
    #[error("no version of {0} was enforced before the one that is")]
    NoPreviousVersion(Name),
    /// There is no trial to end.
    #[error("no version of {0} is on trial")]
    NoShadow(Name),
    /// The version that is to be on trial is enforced.
    #[error(
        "this is version {number} of {policy}, which is enforced; putting it on trial would end that"
    )]
    AlreadyEnforced {
        /// The policy.
        policy: Name,
        /// The version.
        number: u64,
    },
    /// The name is declared in a file.
    #[error("{policy} is set up by {}", owner.owner())]
    DeclaredInFile {
        /// The policy.
        policy: Name,
        /// Which kind of file declares it.
        owner: PolicySource,
    },
    /// The policy was changed since the caller read it.
    #[error("{policy} is at revision {current}, not {expected}")]
    RevisionMismatch {
        /// The policy.
        policy: Name,
        /// The revision that the request expects.
        expected: u64,
        /// The present revision; 0: there is no such policy.
        current: u64,
    },
    /// Another order changed the policy while an upload was compiled.
    #[error("another change changed {0} while the upload was compiled, so nothing has changed")]
    ChangedMeanwhile(Name),
    /// Who asked for the change may not make it any more.
    #[error(transparent)]
    PermitEnded(#[from] PermitEnded),
    /// `capacity.policies` is reached.
    #[error("{0} operator policies are in force, as many as capacity.policies allows")]
    TooManyPolicies(usize),
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request; use a fresh key")]
    KeyReused,
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change could not be committed.
    #[error("the change could not be recorded, so nothing has changed: {0}")]
    NotRecorded(#[source] HrmError),
    /// The version is kept, but cannot be put in force.
    #[error("version {number} of {policy} cannot be loaded: {source}")]
    CorruptVersion {
        /// The policy.
        policy: Name,
        /// The version.
        number: u64,
        /// What is wrong with it.
        source: StoredPolicyError,
    },
}

/// Why a start ends: the operator policies cannot be put in force. A host that went on without one of them would approve what its operator
/// forbids.
#[derive(Debug, thiserror::Error)]
pub enum LoadPoliciesError {
    /// A declared policy is refused.
    #[error("operator policy {file}: {problem}", file = file.display())]
    Declared {
        /// The manifest, or the component.
        file: PathBuf,
        /// Why it is refused.
        problem: String,
    },
    /// More policies are to be in force than `capacity.policies` allows.
    #[error(
        "{found} operator policies are to be in force; capacity.policies allows {max_policies}: raise it, or take some out"
    )]
    TooMany {
        /// How many are to be in force.
        found: usize,
        /// How many may be.
        max_policies: usize,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is new cannot be committed.
    #[error("the operator policies cannot be recorded: {0}")]
    Commit(#[from] CommitError),
}
