//! The data directory and its lock: two hosts on one directory would each believe to be the only writer.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::OpenError;

/// Makes the directory, readable by its owner alone, unless it is there.
pub(super) fn create_dir(dir: &Path) -> Result<(), OpenError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| OpenError::Directory {
            dir: dir.to_owned(),
            source,
        })
}

/// Stands in a data directory while a restore changes it.
pub(super) const RESTORE_PENDING: &str = "restore.pending";

/// Makes a directory that must not be there yet, readable by its owner alone.
pub(super) fn create_new_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(dir)
}

/// A directory in which a restore stopped halfway has no database one could trust.
pub(super) fn check_restore_finished(dir: &Path) -> Result<(), OpenError> {
    if dir.join(RESTORE_PENDING).exists() {
        return Err(OpenError::RestoreInterrupted {
            dir: dir.to_owned(),
        });
    }
    Ok(())
}

/// The lock; released when it is dropped or its process ends, however it ends.
pub(super) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(super) fn acquire(dir: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory {
            dir: dir.to_owned(),
            source,
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
            let pid = if pid.trim().is_empty() {
                "unknown".to_owned()
            } else {
                pid.trim().to_owned()
            };
            return Err(OpenError::Locked {
                dir: dir.to_owned(),
                pid,
            });
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
