//! The data directory: its files and what makes changes of it durable.
//!
//! [`lock`] keeps a second host away and attests how far the database got; [`evidence`] compares a database with what attests it before it
//! is used; [`open_files`] tells whether the paths still lead to the files that the host has open, which [`file_facts`] identifies;
//! [`ownership`] leaves nothing to root in another user's directory.

mod evidence;
mod file_facts;
mod lock;
mod lock_holders;
mod open_files;
mod ownership;

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ark_model::ids::Digest;

pub(crate) use evidence::{DatabaseEvidence, has_database};
pub(crate) use file_facts::FileFacts;
pub(crate) use lock::{
    AccessMarks, DatabaseAttestation, DirLock, LockRecord, find_lock_holder, find_lock_process,
    read_lock_instance, read_lock_moment,
};
pub use lock::{HostProcess, has_lock_record, has_open, process_instance};
pub(crate) use lock_holders::{READ_BYTES, WRITE_BYTES, name_holders};
pub(crate) use open_files::OpenFiles;
pub(crate) use ownership::no_follow;
pub use ownership::{give_made, give_to_owner};

use crate::error::OpenError;

/// The name of the database.
pub(crate) const DATABASE_FILE: &str = "ark.db";
/// A file of this name is in a data directory while a restore or a new beginning changes it.
pub(crate) const RESTORE_PENDING: &str = "restore.pending";
/// The directory of capsules, each of which an audit row attests.
pub(crate) const CAPSULES_DIR: &str = "capsules";
/// How the name of a directory begins that holds a copy of a database whose files were lost under a running host.
pub(crate) const RESCUED_PREFIX: &str = "rescued-";

/// The path of the database in a data directory.
pub(crate) fn database_path(dir: &Path) -> PathBuf {
    dir.join(DATABASE_FILE)
}

/// The path of the write-ahead log of the database in a data directory.
pub(crate) fn log_path(dir: &Path) -> PathBuf {
    dir.join("ark.db-wal")
}

/// Creates the data directory, with access for its owner alone, unless it exists.
pub(crate) fn create_dir(dir: &Path) -> std::result::Result<(), OpenError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|cause| OpenError::Directory {
            dir: dir.to_owned(),
            cause,
        })
}

/// Creates a directory that does not exist yet, with access for its owner alone.
pub(crate) fn create_new_dir(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(dir)
}

/// Refuses a directory in which a restore or a new beginning was interrupted: its database cannot be trusted.
pub(crate) fn check_restore_finished(dir: &Path) -> std::result::Result<(), OpenError> {
    if dir.join(RESTORE_PENDING).exists() {
        return Err(OpenError::RestoreInterrupted {
            dir: dir.to_owned(),
        });
    }
    Ok(())
}

/// Makes the content of a file, or the entries of a directory, durable.
pub(crate) fn sync_path(path: &Path) -> Result<()> {
    File::open(path)?.sync_all()
}

/// The directory that holds a path.
pub(crate) fn parent_dir(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The SHA-256 and the size of a file.
pub(crate) fn digest_file(path: &Path) -> Result<(Digest, u64)> {
    Digest::hash_reader(File::open(path)?)
}
