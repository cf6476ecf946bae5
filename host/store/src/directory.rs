//! The data directory: its files, its lock, and what makes changes of it durable.
//!
//! The lock is there because two hosts on one directory would each believe that it is the only writer.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ark_model::ids::Digest;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::error::OpenError;

/// The name of the database.
pub(crate) const DATABASE_FILE: &str = "ark.db";
/// A file of this name is in a data directory while a restore changes it.
pub(crate) const RESTORE_PENDING: &str = "restore.pending";

/// The path of the database in a data directory.
pub(crate) fn database_path(dir: &Path) -> PathBuf {
    dir.join(DATABASE_FILE)
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

/// Refuses a directory in which a restore was interrupted: its database cannot be trusted.
pub(crate) fn check_restore_finished(dir: &Path) -> std::result::Result<(), OpenError> {
    if dir.join(RESTORE_PENDING).exists() {
        return Err(OpenError::RestoreInterrupted {
            dir: dir.to_owned(),
        });
    }
    Ok(())
}

/// The lock of a data directory. It is released when it is dropped or when its process ends, however that happens.
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock, and writes the process id into its file for whoever is refused.
    pub(crate) fn acquire(dir: &Path) -> std::result::Result<Self, OpenError> {
        let failed = |cause| OpenError::Directory {
            dir: dir.to_owned(),
            cause,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("ark.lock"))
            .map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = match pid.trim() {
                "" => "unknown",
                pid => pid,
            };
            return Err(OpenError::Locked {
                dir: dir.to_owned(),
                pid: pid.to_owned(),
            });
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
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
    let mut hasher = Sha256::new();
    let bytes = std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok((Digest::from_bytes(hasher.finalize().into()), bytes))
}
