//! A journal on disk: what a command has begun on a host and not undone yet, so that the next run can undo it after a kill at any point.
//!
//! An entry is a line of JSON, on disk before the step that it announces. A line that a kill cut off announces a step that was never taken.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal {path}: {cause}; give another place with --journal", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// Another run uses it.
    #[error("another run uses the journal {path}; wait for its end, or give another one with --journal", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

/// A journal that this process alone writes to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens a journal, or makes one. Returns the entries that an earlier run left in it, in their order.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open<E: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<E>), JournalError> {
        let failed = |cause| JournalError::File {
            path: path.to_owned(),
            cause,
        };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(JournalError::InUse {
                path: path.to_owned(),
            });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        // What comes next must not be joined to a line that was cut off.
        file.set_len(whole as u64)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(failed)?;
        let lines = text[..whole].lines();
        let entries = lines.filter_map(|line| serde_json::from_str(line).ok());
        let journal = Self {
            path: path.to_owned(),
            file,
        };
        Ok((journal, entries.collect()))
    }

    /// Adds an entry, which is on disk when this returns.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn record(&mut self, entry: &impl Serialize) -> Result<(), JournalError> {
        let written = serde_json::to_string(entry)
            .map_err(std::io::Error::other)
            .and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()))
            .and_then(|()| self.file.sync_data());
        written.map_err(|cause| JournalError::File {
            path: self.path.clone(),
            cause,
        })
    }

    /// Forgets everything: all that was begun is undone.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn clear(&mut self) -> Result<(), JournalError> {
        let cleared = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.sync_data());
        cleared.map_err(|cause| JournalError::File {
            path: self.path.clone(),
            cause,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_there_after_a_kill_and_a_cut_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/journal");
        let (mut journal, found) = Journal::open::<u32>(&path).unwrap();
        assert!(found.is_empty());
        journal.record(&1).unwrap();
        journal.record(&2).unwrap();
        assert!(matches!(
            Journal::open::<u32>(&path),
            Err(JournalError::InUse { .. })
        ));
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"3").unwrap();
        drop(file);
        let (mut journal, found) = Journal::open::<u32>(&path).unwrap();
        assert_eq!(found, [1, 2]);
        journal.record(&4).unwrap();
        drop(journal);
        let (mut journal, found) = Journal::open::<u32>(&path).unwrap();
        assert_eq!(found, [1, 2, 4]);
        journal.clear().unwrap();
        drop(journal);
        assert!(Journal::open::<u32>(&path).unwrap().1.is_empty());
    }
}
