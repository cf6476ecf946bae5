//! What can go wrong with the store.

use std::path::PathBuf;

use ark_model::ids::Name;

use super::secrets::SecretError;
use super::state::RollbackTarget;
use super::unit::IdempotencyRecord;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another host runs on the directory.
    #[error("{dir} is in use by the host with process id {pid}; stop it, or give this one another data directory", dir = dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Whose lock it is.
        pid: String,
    },
    /// The directory cannot be made or written.
    #[error("the data directory {dir} cannot be used: {source}; give the user that runs the host write access to it", dir = dir.display())]
    Directory {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no database.
    #[error("there is no database at {path}; check --data-dir", path = path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// The database is of a later version.
    #[error("{path} has schema {found}, this program knows up to {known}; run a newer ark on it", path = path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest this program knows.
        known: u32,
    },
    /// The file is not a sound database.
    #[error("{path} is not a sound database: {reason}; move it away and restore a backup", path = path.display())]
    Broken {
        /// The database.
        path: PathBuf,
        /// What `SQLite` says.
        reason: String,
    },
    /// Its secrets are encrypted with another key.
    #[error("{path} holds secrets encrypted with the key {needed}, and the key given is {given}; give the key {needed}", path = path.display())]
    OtherSecretKey {
        /// The database.
        path: PathBuf,
        /// The id of the key it needs.
        needed: String,
        /// The id of the key that was given.
        given: String,
    },
    /// Its secrets cannot be encrypted or read.
    #[error("{path}: {error}", path = path.display())]
    Secret {
        /// The database.
        path: PathBuf,
        /// Why.
        error: SecretError,
    },
    /// A restore did not come to its end.
    #[error("a restore into {dir} was interrupted; run `ark state restore` again", dir = dir.display())]
    RestoreInterrupted {
        /// The data directory.
        dir: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{path} cannot be opened: {reason}; check free space and permissions", path = path.display())]
    Io {
        /// The database.
        path: PathBuf,
        /// What `SQLite` says.
        reason: String,
    },
}

impl OpenError {
    pub(super) fn from_sqlite(path: &std::path::Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(NotADatabase | DatabaseCorrupt) => Self::Broken { path, reason },
            _ => Self::Io { path, reason },
        }
    }
}

/// Why a unit was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too many units wait.
    #[error("too many writes are waiting")]
    Full,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a unit was not committed. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A key is at another revision than the unit expected.
    #[error("{agent}'s key {key:?} is at revision {current}, not {expected}")]
    Conflict {
        /// Whose state.
        agent: Name,
        /// Which key.
        key: String,
        /// The revision that was expected.
        expected: u64,
        /// The revision it is at; 0: there is none.
        current: u64,
    },
    /// A setting or a truth is at another revision than was expected.
    #[error("the {table} entry {key:?} is at revision {current}, not {expected}")]
    Stale {
        /// `config` or `truth`.
        table: &'static str,
        /// Which key.
        key: String,
        /// The revision that was expected.
        expected: u64,
        /// The revision it is at; 0: there is none.
        current: u64,
    },
    /// There is no such revision to go back to.
    #[error("{key:?} has no revision {}; its last is {current}", describe_target(*target, *current))]
    NoSuchRevision {
        /// Which key.
        key: String,
        /// What was asked for.
        target: RollbackTarget,
        /// The revision it is at; 0: there is none.
        current: u64,
    },
    /// What is to be deleted is not there.
    #[error("{0}")]
    NotFound(String),
    /// A secret cannot be written.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A token cannot be made.
    #[error(transparent)]
    Token(#[from] super::tokens::TokenRefusal),
    /// The delivery the unit settles is not pending.
    #[error("the delivery to {agent} is not pending")]
    DeliveryNotPending {
        /// The receiver.
        agent: Name,
    },
    /// The idempotency key was seen before: what it came with, and the answer.
    #[error("the idempotency key {:?} was used before", .0.key)]
    AlreadyAnswered(IdempotencyRecord),
    /// The idempotency key came with another request before.
    #[error("the idempotency key {key:?} was used for another request")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// Its deadline was over before it could be committed.
    #[error("the deadline was over before it could be committed")]
    DeadlineExceeded,
    /// The database could not be written, or the unit stood on one that was not.
    #[error("the database cannot be written: {0}")]
    Storage(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

fn describe_target(target: RollbackTarget, current: u64) -> String {
    match target {
        RollbackTarget::Revision(revision) => revision.to_string(),
        RollbackTarget::Steps(steps) => format!("{steps} steps before {current}"),
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the database cannot be read: {0}")]
pub struct ReadError(pub String);

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}
