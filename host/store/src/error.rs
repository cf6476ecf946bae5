//! The errors of the store.
//!
//! A message is complete by itself: where an error has a cause, the cause is kept as a value and its text is part of the message, so
//! [`std::error::Error::source`] does not repeat it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ark_model::check::FieldError;
use ark_model::ids::{DecisionId, Digest, Name, SignalId};

use crate::idempotency::IdempotencyRecord;
use crate::query::is_damage;
use crate::revision::RollbackTarget;
use crate::secrets::SecretError;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another host runs on the directory.
    #[error("{dir} is in use by the host with process id {pid}; stop it, or give this one another data directory", dir = dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The process id in the lock file, or `unknown`.
        pid: String,
    },
    /// The directory cannot be created or written.
    #[error("the data directory {dir} cannot be used: {cause}; give the user that runs the host write access to it", dir = dir.display())]
    Directory {
        /// The data directory.
        dir: PathBuf,
        /// What the system reports.
        cause: io::Error,
    },
    /// The directory holds no database.
    #[error("there is no database at {path}; check --data-dir", path = path.display())]
    Missing {
        /// Where the database would be.
        path: PathBuf,
    },
    /// The database was written by a later version of the program.
    #[error("{path} has schema {found}, this program knows up to {known}; run a newer ark on it", path = path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The schema of the database.
        found: u32,
        /// The latest schema this program knows.
        known: u32,
    },
    /// The file is no `SQLite` database, or `SQLite` cannot read it as one.
    #[error("{path} is not a sound database: {cause}; restore a snapshot with `ark state restore SNAPSHOT --replace --data-dir {}`, which moves it aside", data_dir(path).display(), path = path.display())]
    NotADatabase {
        /// The database.
        path: PathBuf,
        /// What `SQLite` reports.
        cause: rusqlite::Error,
    },
    /// A check of the database's pages or of the recent rows found damage.
    #[error("{path} is not a sound database: {finding}; restore a snapshot with `ark state restore SNAPSHOT --replace --data-dir {}`, which moves it aside", data_dir(path).display(), path = path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong: the first line of what `SQLite`'s check reports, or the row of a chain that is not what was written.
        finding: String,
    },
    /// The database has a trigger or a constraint that this program does not make, or lacks one.
    #[error("{path} has another schema than this program makes: {findings}; somebody has changed it: {}", describe_schema_remedy(path, removals), path = path.display())]
    ForeignSchema {
        /// The database.
        path: PathBuf,
        /// What differs, each with its name.
        findings: String,
        /// The statements that take out everything that differs; empty: something is missing or another one, which no statement gives back.
        removals: Vec<String>,
    },
    /// The database holds secrets that another key has encrypted.
    #[error("{path} holds secrets encrypted with the key {needed}, and the key given is {given}; give the key {needed}, or, if it is lost, give up its secrets with `ark state give-up-secrets`", path = path.display())]
    OtherSecretKey {
        /// The database.
        path: PathBuf,
        /// The id of the key it needs.
        needed: String,
        /// The id of the key that was given.
        given: String,
    },
    /// A migration cannot encrypt or read the database's secrets.
    #[error("{path}: {cause}", path = path.display())]
    Secret {
        /// The database.
        path: PathBuf,
        /// What is wrong with the secret or the key.
        cause: SecretError,
    },
    /// A restore into the directory, or a new beginning of it, did not finish.
    #[error("a restore into {dir} (or a new beginning) was interrupted; run `ark state restore` (or `ark state reinitialize`) again", dir = dir.display())]
    RestoreInterrupted {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is no database, and the directory shows that there was one.
    #[error("{path} is missing or empty, and {traces} beside it shows that there was a database: put it back, or restore a snapshot with `ark state restore`; if what it held is given up, order that with `ark state reinitialize`", path = path.display())]
    DatabaseGone {
        /// Where the database should be.
        path: PathBuf,
        /// The names of what shows that there was one.
        traces: String,
    },
    /// There is no database, and the configuration says that there must be one.
    #[error("there is no database in {dir}, and require_database is set: mount its disk, or restore a snapshot with `ark state restore`; for a host's first start, make it by its first token: `ark token create --role admin --name NAME --data-dir {dir}`", dir = dir.display())]
    DatabaseRequired {
        /// The data directory.
        dir: PathBuf,
    },
    /// The database lacks a row that is attested.
    #[error("{path} is not the database that was here last: {attested_by} attests row {row} of its {chain}, and this one has {found} rows or another one in that place; put the latest one back, or restore the latest snapshot with `ark state restore --replace` (to go on with this one, take a snapshot of it with `ark state snapshot` and restore that)", path = path.display(), attested_by = attested_by.display())]
    DatabaseBehind {
        /// The database.
        path: PathBuf,
        /// The chain that lacks the row, in words.
        chain: &'static str,
        /// The file that attests the row.
        attested_by: PathBuf,
        /// The number of the row.
        row: u64,
        /// How many rows the chain has.
        found: u64,
    },
    /// What attests the database cannot be read.
    #[error("{path} cannot be read, so the database beside it cannot be compared with it: {cause}; put back the file from a backup, or move it away if `ark audit verify` finds no other fault", path = path.display())]
    Evidence {
        /// The file.
        path: PathBuf,
        /// What the system reports, or what is wrong with its last line.
        cause: io::Error,
    },
    /// The database cannot be read or written.
    #[error("{path} cannot be opened: {cause}; check free space and permissions", path = path.display())]
    Inaccessible {
        /// The database.
        path: PathBuf,
        /// What `SQLite` reports.
        cause: rusqlite::Error,
    },
}

impl OpenError {
    /// Sorts what `SQLite` reports into a broken file and one that cannot be accessed.
    pub(crate) fn from_sqlite(path: &Path, cause: rusqlite::Error) -> Self {
        let path = path.to_owned();
        if is_damage(&cause) {
            Self::NotADatabase { path, cause }
        } else {
            Self::Inaccessible { path, cause }
        }
    }

    /// Makes the error of a database without a schema. `SQLite` reads a file that was emptied as a new database, and each one that a host has opened has
    /// a schema.
    pub(crate) fn for_no_schema(path: &Path) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            finding: "it has no schema: it was emptied, or another program wrote it".to_owned(),
        }
    }

    /// Returns what is wrong with the database itself: the file is no database, or a check found damage, so that a snapshot may take its place. `None`: the
    /// reason is another one, e.g. a lock, a missing right or a failure of the disk, and the database may be sound.
    #[must_use]
    pub fn find_damage(&self) -> Option<String> {
        match self {
            Self::NotADatabase { cause, .. } => Some(cause.to_string()),
            Self::Damaged { finding, .. } => Some(finding.clone()),
            _ => None,
        }
    }
}

/// What happened to a file that the host has open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileLoss {
    /// The path leads nowhere.
    #[error("{path} was removed while the host was running", path = path.display())]
    Removed {
        /// The path.
        path: PathBuf,
    },
    /// The path leads to another file.
    #[error("{path} was replaced by another file while the host was running", path = path.display())]
    Replaced {
        /// The path.
        path: PathBuf,
    },
    /// The file is shorter than what the host wrote into it.
    #[error("{path} was cut to {found} bytes while the host was running; it had {expected}", path = path.display())]
    Truncated {
        /// The path.
        path: PathBuf,
        /// How many bytes it must have at least.
        expected: u64,
        /// How many bytes it has.
        found: u64,
    },
    /// The path cannot be looked at.
    #[error("{path} cannot be looked at any more: {problem}", path = path.display())]
    Hidden {
        /// The path.
        path: PathBuf,
        /// What the system reports.
        problem: String,
    },
}

/// Why the queue did not take a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("too many writes are waiting")]
    Full,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a unit was not committed. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommitError {
    /// A key of an agent's state is at another revision than the unit expected.
    #[error("{agent}'s key {key:?} is at revision {current}, not {expected}")]
    Conflict {
        /// The agent.
        agent: Name,
        /// The key.
        key: String,
        /// The revision the unit expected.
        expected: u64,
        /// The revision the key is at; 0 when it does not exist.
        current: u64,
    },
    /// A configuration value or a truth is at another revision than the unit expected.
    #[error("the {table} entry {key:?} is at revision {current}, not {expected}")]
    Stale {
        /// `config` or `truth`.
        table: &'static str,
        /// The key.
        key: String,
        /// The revision the unit expected.
        expected: u64,
        /// The revision the entry is at; 0 when it does not exist.
        current: u64,
    },
    /// A rollback names a revision that does not exist.
    #[error("{key:?} has no revision {}; its last is {current}", describe_target(*target, *current))]
    NoSuchRevision {
        /// The key.
        key: String,
        /// The revision that was asked for.
        target: RollbackTarget,
        /// The revision the key is at; 0 when it does not exist.
        current: u64,
    },
    /// The unit changes or deletes something that does not exist.
    #[error(transparent)]
    NotFound(#[from] MissingItem),
    /// A secret cannot be written.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A token cannot be created.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// The delivery the unit completes is not pending.
    #[error("the delivery to {agent} is not pending")]
    DeliveryNotPending {
        /// The receiver.
        agent: Name,
    },
    /// The delivery that the unit makes pending again has not failed.
    #[error("the delivery of {signal} to {agent} has not failed")]
    DeliveryNotFailed {
        /// The receiver.
        agent: Name,
        /// The signal.
        signal: SignalId,
    },
    /// The idempotency key was used before. The record says with which request, and what answered it.
    #[error("the idempotency key {:?} was used before", .0.key)]
    AlreadyAnswered(IdempotencyRecord),
    /// The idempotency key was used before with another request.
    #[error("the idempotency key {key:?} was used for another request")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The unit's deadline passed before it could be committed.
    #[error("its deadline passed before it could be committed")]
    DeadlineExceeded,
    /// The database cannot be written.
    #[error("the database cannot be written: {0}")]
    Storage(StorageError),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl From<SubmitError> for CommitError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full => Self::Storage(StorageError::QueueFull),
            SubmitError::Closed => Self::Closed,
        }
    }
}

/// What to do about a database whose schema somebody has changed. What was added can be taken out without the loss of a row.
#[must_use]
pub fn describe_schema_remedy(database: &Path, removals: &[String]) -> String {
    let dir = data_dir(database).display();
    let restore = format!("`ark state restore SNAPSHOT --replace --data-dir {dir}`");
    let evidence = "with the host stopped, keep a copy of the directory as evidence and find out who wrote to the file";
    if removals.is_empty() {
        return format!("{evidence}; then restore a snapshot of before with {restore}");
    }
    format!(
        "{evidence}; then take out what was added, which loses no decision: `sqlite3 {} '{}'`, or, without sqlite3, a snapshot that is taken now and restored with `--drop-added`; then see with `ark state check --data-dir {dir}` what it has changed. A snapshot of before ({restore}) loses what was decided since",
        database.display(),
        removals.join("; ")
    )
}

/// The directory of the database.
fn data_dir(database: &Path) -> &Path {
    database.parent().unwrap_or(Path::new("."))
}

fn describe_target(target: RollbackTarget, current: u64) -> String {
    match target {
        RollbackTarget::Revision(revision) => revision.to_string(),
        RollbackTarget::Steps(steps) => format!("{steps} steps before {current}"),
    }
}

/// Why the database cannot be written. Every unit of a failed transaction gets the same cause, so it is shared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StorageError {
    /// The disk is full, or the database has reached its limit of size.
    #[error("the disk (or the database's own limit) is full; free some space")]
    Full(Arc<rusqlite::Error>),
    /// The database has grown to the reserve of its limit of size, which only the host may use.
    #[error(
        "the database is full: what is left of capacity.max_database_bytes is reserved for orders and for what reduces risk; archive the audit log (`ark audit archive`) or raise the limit"
    )]
    ReserveOnly,
    /// A file of the database, or the file system that it is on, may not be written to by this process.
    #[error(
        "the database may not be written to ({0}): its file system is mounted read-only, or ark.db, ark.db-wal or ark.db-shm is not writable for the user that runs the host; remount it for writing, or give the files to that user (chown, chmod 0600)"
    )]
    ReadOnly(Arc<rusqlite::Error>),
    /// Another process holds the database's lock for writing.
    #[error("another process holds the database's lock ({holder}); end it, or its transaction")]
    Locked {
        /// Which process, if the system tells.
        holder: String,
    },
    /// The write-ahead log has outgrown its part of the limit of size, and cannot be emptied.
    #[error(
        "the disk (or the database's own limit) is full: the write-ahead log has {bytes} bytes and cannot be emptied, since {holder} reads from it; end that, or its transaction"
    )]
    LogFull {
        /// The size of the log.
        bytes: u64,
        /// Which process, if the system tells.
        holder: String,
    },
    /// The files of the database were lost while the host was running.
    #[error("{0}; GET /readyz says what to do")]
    FilesLost(FileLoss),
    /// Another failure of the database.
    #[error("{0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// The unit is chained to one whose commit failed.
    #[error("a commit it was made on top of has failed: {0}")]
    Predecessor(Arc<StorageError>),
    /// Another unit has carried out the outbox row already.
    #[error("outbox row {0} was taken before")]
    OutboxRowTaken(i64),
    /// The queue was full, so the unit did not reach the writer.
    #[error("too many writes are waiting")]
    QueueFull,
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let cause = Arc::new(error);
        match code {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full(cause),
            Some(rusqlite::ErrorCode::ReadOnly) => Self::ReadOnly(cause),
            _ => Self::Sqlite(cause),
        }
    }
}

/// An item that a change needs and that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissingItem {
    /// A key of an agent's state.
    #[error("{agent} has no key {key:?}")]
    StateKey {
        /// The agent.
        agent: Name,
        /// The key.
        key: String,
    },
    /// A memory of an agent.
    #[error("{agent} has no memory {id}")]
    Memory {
        /// The agent.
        agent: Name,
        /// The memory's id.
        id: i64,
    },
    /// A configuration value.
    #[error("there is no configuration value {key:?}")]
    ConfigEntry {
        /// The key.
        key: String,
    },
    /// A token.
    #[error("there is no token {name}")]
    Token {
        /// The token's name.
        name: Name,
    },
    /// An entry of an operator's list that was made over the API.
    #[error(
        "{key:?} was not put on the list {list} over the API; entries of the configuration are changed there"
    )]
    ListEntry {
        /// The list.
        list: &'static str,
        /// The entry's key.
        key: String,
    },
    /// An approval that is open.
    #[error("the approval {id} is not open")]
    OpenApproval {
        /// The approval's id.
        id: DecisionId,
    },
}

/// Why a token cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// A token had the name before.
    #[error(
        "there is or was a token {0}; names are not given twice, since the audit log knows tokens by them"
    )]
    NameTaken(Name),
    /// The caller showed no token, which is accepted for the first token only.
    #[error("this host has tokens already; make others with an administrator's")]
    NotFirst,
    /// The first token has another role than `admin`, so nobody could create the others.
    #[error("the first token must have the role admin: the others are made with it")]
    FirstMustBeAdmin,
    /// The limit of tokens is reached.
    #[error("there are {limit} tokens, revoked ones included, and no more are kept")]
    TooMany {
        /// How many tokens the store keeps at most.
        limit: u64,
    },
}

/// Why a step of a unit cannot be written.
pub(crate) enum WriteError {
    /// The unit itself cannot be committed; the other units of the transaction can.
    Refused(CommitError),
    /// The database failed, and with it the whole transaction.
    Storage(rusqlite::Error),
}

impl WriteError {
    /// Refuses the unit.
    pub(crate) fn refuse(reason: impl Into<CommitError>) -> Self {
        Self::Refused(reason.into())
    }
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error)
    }
}

/// Why the database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// `SQLite` reports a failure, or a column holds a value that the program does not write.
    #[error("the database cannot be read: {0}")]
    Database(rusqlite::Error),
    /// A secret cannot be decrypted.
    #[error("the database cannot be read: {0}")]
    Secret(SecretError),
    /// The file with the anchors cannot be read.
    #[error("{path} cannot be read: {cause}", path = path.display())]
    Anchors {
        /// The file.
        path: PathBuf,
        /// What the system reports, or what is wrong with a line.
        cause: io::Error,
    },
    /// The database has an earlier schema, which lacks the table that is asked for.
    #[error(
        "the database cannot be read: it has schema {found}, this program's is {current}; start the host on it once"
    )]
    EarlierSchema {
        /// The schema of the database.
        found: u32,
        /// The schema of this program.
        current: u32,
    },
    /// The settings that a policy judged with are not in the database.
    #[error("the database cannot be read: it lacks the settings {0} that a policy judged with")]
    MissingSettings(Digest),
    /// The settings that a policy judged with are not valid settings.
    #[error("the database cannot be read: the settings {digest}: {cause}")]
    InvalidSettings {
        /// The SHA-256 of the settings.
        digest: Digest,
        /// What is wrong with them.
        cause: FieldError,
    },
    /// The store is closed.
    #[error("the database cannot be read: the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<SecretError> for ReadError {
    fn from(error: SecretError) -> Self {
        Self::Secret(error)
    }
}
