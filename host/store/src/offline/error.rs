//! The errors of maintenance.

use std::io;
use std::path::{Path, PathBuf};

use crate::chain::ChainFault;
use crate::error::{CommitError, OpenError, ReadError, WriteError};
use crate::query::is_damage;
use crate::secrets::SecretError;

/// Why maintenance of a store failed. What changes a store does so in one transaction, or says what it has done when it failed.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database reports a failure.
    #[error("the database: {0}")]
    Database(rusqlite::Error),
    /// A secret cannot be decrypted or encrypted.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file cannot be read or written.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        cause: io::Error,
    },
    /// No secret is encrypted with the key that is said to be lost.
    #[error("no secret is encrypted with the key {key:?}; {}", if present.is_empty() { "no secret needs a key".to_owned() } else { format!("secrets need: {present}") })]
    NoSecretsOfKey {
        /// The id that was given.
        key: String,
        /// The ids of the keys that secrets are encrypted with.
        present: String,
    },
    /// A change is refused.
    #[error(transparent)]
    Refused(CommitError),
    /// The token that keeps the host closed cannot be made.
    #[error("the administrator's token cannot be made: {0}")]
    Token(String),
    /// There is nothing that a new beginning would replace.
    #[error("{dir} holds no database and no trace of one; `ark serve` begins there by itself", dir = dir.display())]
    NothingToReplace {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory of a new snapshot exists.
    #[error("{path} exists; name a new directory", path = path.display())]
    SnapshotExists {
        /// The directory.
        path: PathBuf,
    },
    /// Another process makes a snapshot under the same name.
    #[error("another process is making a snapshot there ({path}); wait for its end, or name a new directory", path = path.display())]
    SnapshotInUse {
        /// The directory in which it is made.
        path: PathBuf,
    },
    /// The database was busy for as long as the snapshot could wait.
    #[error("the database was busy for too long; try again")]
    Busy,
    /// There is no snapshot where one is named.
    #[error("there is no snapshot at {path}: {}; name a directory that `ark state snapshot` made", if *.is_dir { "the directory holds no manifest.json" } else { "there is no such directory" }, path = path.display())]
    NoSnapshot {
        /// What was named.
        path: PathBuf,
        /// Whether it is a directory.
        is_dir: bool,
    },
    /// A snapshot is not complete and as it was taken.
    #[error("the snapshot {path}: {problem}; use another one", path = path.display())]
    InvalidSnapshot {
        /// The snapshot.
        path: PathBuf,
        /// What is wrong with it.
        problem: SnapshotProblem,
    },
    /// The database in a snapshot was copied from one whose schema somebody had changed.
    #[error("the snapshot {path} has another schema than this program makes: {findings}; {}", describe_snapshot_remedy(path, *can_drop), path = path.display())]
    ForeignSnapshot {
        /// The snapshot.
        path: PathBuf,
        /// What differs, each with its name.
        findings: String,
        /// Whether all of it was added, so that a restore can leave it out.
        can_drop: bool,
    },
    /// The snapshot is of a schema in which this program cannot write what a restore records.
    #[error("the snapshot {path} has schema {schema}, and this program restores one as it is from schema {first} on; use a later one, or restore it by hand with the `ark` of its version (`ark state restore --replace`)", path = path.display())]
    TooEarlySchema {
        /// The snapshot.
        path: PathBuf,
        /// Its schema.
        schema: u32,
        /// The first schema of which it can be.
        first: u32,
    },
    /// The data directory has a database, and the restore may not replace it.
    #[error("{dir} has a database; with --replace it is moved aside and replaced", dir = dir.display())]
    DatabaseExists {
        /// The data directory.
        dir: PathBuf,
    },
    /// Rows that the host still needs would be archived.
    #[error("rows of the last 60 s stay in the database; give an earlier moment")]
    TooRecent,
    /// The audit log has a fault.
    #[error("the audit log is not whole: row {} {}; nothing was archived", .0.seq, .0.problem)]
    BrokenLog(ChainFault),
    /// Signals that a sender may repeat would be pruned.
    #[error("signals of the last day stay in the database; give an earlier moment")]
    TooRecentToPrune,
    /// No row is old enough to be archived.
    #[error("there are no rows before that moment")]
    NothingToArchive,
    /// No row can be archived because a position is live.
    #[error("{}", live_position(*.first))]
    LivePosition {
        /// The row of the decision that approved the position.
        first: u64,
    },
    /// The archive that was just written cannot be read back as it should.
    #[error("the file just written: row {} {}", .0.seq, .0.problem)]
    BrokenArchive(ChainFault),
}

impl MaintenanceError {
    /// As [`OpenError::find_damage`], also of a database that could be opened and not be read to its end.
    #[must_use]
    pub fn find_damage(&self) -> Option<String> {
        match self {
            Self::Open(error) => error.find_damage(),
            Self::Database(error) | Self::Read(ReadError::Database(error)) if is_damage(error) => {
                Some(error.to_string())
            }
            _ => None,
        }
    }

    /// Makes the error of a file from what the system reports.
    pub(super) fn for_file(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::File {
            path: path.clone(),
            cause,
        }
    }
}

impl From<WriteError> for MaintenanceError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => Self::Refused(refusal),
            WriteError::Storage(error) => Self::Database(error),
        }
    }
}

impl From<rusqlite::Error> for MaintenanceError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// What to do about a snapshot whose schema somebody has changed. Its files stay as they are: they have checksums.
fn describe_snapshot_remedy(path: &Path, can_drop: bool) -> String {
    let other = "find out who wrote to the database, and use a snapshot of before";
    if !can_drop {
        return other.to_owned();
    }
    format!(
        "`ark state restore {} --drop-added` restores it without what was added, and loses no decision of it; or {other}",
        path.display()
    )
}

/// Why rows from this one on are not archived.
pub(super) fn live_position(first: u64) -> String {
    format!("rows from {first} on stay: the position of that decision is still live")
}

/// The format of a snapshot.
pub(super) const SNAPSHOT_FORMAT: &str = "ark-snapshot/1";

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotProblem {
    /// The manifest is not what it should be.
    #[error("manifest.json: {0}")]
    Manifest(serde_json::Error),
    /// The snapshot has another format.
    #[error("its format is {0:?}, not {expected}", expected = SNAPSHOT_FORMAT)]
    Format(String),
    /// A file does not have the size and the digest of the manifest.
    #[error("{0} does not match its checksum")]
    Checksum(&'static str),
    /// The audit log has a fault.
    #[error("audit row {} {}", .0.seq, .0.problem)]
    Audit(ChainFault),
    /// The audit log does not have the head of the manifest.
    #[error("its audit log ends elsewhere than the manifest says")]
    AuditHead,
    /// The state has a fault.
    #[error("revision {} of the state {}", .0.seq, .0.problem)]
    State(ChainFault),
    /// The state's history does not have the head of the manifest.
    #[error("its state ends elsewhere than the manifest says")]
    StateHead,
}
