//! Whether the paths in the data directory still lead to the files that the host has open.
//!
//! A file that is removed or replaced stays open: the host could go on writing into it, and all of it would be gone when the host ends.

use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::FileLoss;

use super::file_facts::FileFacts;
use super::lock::DirLock;
use super::{database_path, log_path};

struct FileIdentity {
    path: PathBuf,
    /// What it was when it was opened.
    opened: FileFacts,
}

impl FileIdentity {
    fn read(path: PathBuf) -> Result<Self> {
        let opened = FileFacts::read(&path)?;
        Ok(Self { path, opened })
    }

    /// Returns the file's length in bytes.
    fn check(&self) -> std::result::Result<u64, FileLoss> {
        let path = || self.path.clone();
        match FileFacts::read(&self.path) {
            Ok(found) if found.is_same_file(&self.opened) => Ok(found.bytes),
            Ok(_) => Err(FileLoss::Replaced { path: path() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(FileLoss::Removed { path: path() })
            }
            Err(error) => Err(FileLoss::Hidden {
                path: path(),
                problem: error.to_string(),
            }),
        }
    }
}

/// The files of an open database, as they were when it was opened.
pub(crate) struct OpenFiles {
    database: FileIdentity,
    log: FileIdentity,
    others: [FileIdentity; 2],
    /// The most bytes that the database was seen with. It never shrinks while a host runs.
    database_bytes: AtomicU64,
}

impl OpenFiles {
    /// Notes the files of a database that has just been opened in a locked data directory.
    ///
    /// # Errors
    /// A file is not there.
    pub(crate) fn identify(dir: &Path, lock: &DirLock) -> Result<Self> {
        Ok(Self {
            database: FileIdentity::read(database_path(dir))?,
            log: FileIdentity::read(log_path(dir))?,
            others: [
                FileIdentity::read(dir.join("ark.db-shm"))?,
                FileIdentity {
                    path: lock.path().to_owned(),
                    opened: lock.read_facts()?,
                },
            ],
            database_bytes: AtomicU64::new(0),
        })
    }

    /// Checks that every path leads to the file that is open. Returns the length of the write-ahead log in bytes.
    ///
    /// # Errors
    /// The first loss found.
    pub(crate) fn check(&self) -> std::result::Result<u64, FileLoss> {
        let found = self.database.check()?;
        let expected = self.database_bytes.fetch_max(found, Ordering::Relaxed);
        if found < expected {
            return Err(FileLoss::Truncated {
                path: self.database.path.clone(),
                expected,
                found,
            });
        }
        for file in &self.others {
            file.check()?;
        }
        self.check_log()
    }

    /// As [`OpenFiles::check`], of the write-ahead log alone.
    ///
    /// # Errors
    /// The log is lost.
    pub(crate) fn check_log(&self) -> std::result::Result<u64, FileLoss> {
        self.log.check()
    }

    /// The inode of the log's index, on which locks are held.
    pub(crate) const fn index_inode(&self) -> u64 {
        self.others[0].opened.inode
    }

    /// The loss of a log that has fewer bytes than were written into it.
    pub(crate) fn truncated_log(&self, expected: u64, found: u64) -> FileLoss {
        FileLoss::Truncated {
            path: self.log.path.clone(),
            expected,
            found,
        }
    }
}
