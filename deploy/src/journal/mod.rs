//! A journal on disk: what a command has begun on a host and not undone yet, so that the next run can undo it after a kill at any point.
//!
//! The first line says whose journal it is: the command and the host. An entry is a line of JSON, on disk before the step that it announces. A
//! line that a kill cut off announces a step that was never taken.
//!
//! Invariant: a file that is not the journal of this command and this host is not changed.
//!
//! Reading order: this file (a journal is opened, locked and read), [`format`] (its lines), [`write`] (entries, and room for them), [`error`].

mod error;
mod format;
mod write;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;

use crate::durable::{make_directory, sync_entry};

pub use error::JournalError;
pub use format::JournalOwner;

use error::MAX_JOURNAL;
use format::{ForeignOwner, check_size, read_lines};

/// The room that an exchange reserves in its journal before the host is stopped, in bytes: its entries from there on have a few hundred bytes each,
/// one that begins a rollback has a few thousand.
pub(crate) const EXCHANGE_ROOM: u64 = 128 << 10;

/// The option by which a command names its own journal.
pub(crate) const OWN_JOURNAL: Option<&str> = Some("--journal");

/// A journal that this process alone writes to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// The first line, with its end.
    header: String,
    is_empty: bool,
    /// The option that names it.
    option: Option<&'static str>,
}

impl Journal {
    /// Opens a journal, or makes one. Returns the entries that an earlier run left in it, in their order.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open<E: DeserializeOwned>(
        path: &Path,
        owner: &JournalOwner,
    ) -> Result<(Self, Vec<E>), JournalError> {
        let failed = |cause| JournalError::File {
            path: path.to_owned(),
            option: owner.option,
            cause,
        };
        let foreign = || JournalError::Foreign {
            path: path.to_owned(),
            option: owner.option,
            command: owner.command.to_owned(),
            host: owner.host.clone(),
        };
        // What is no file is not opened: a pipe would block, and a device may act.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(foreign());
        }
        let header = serde_json::to_string(owner).map_err(|error| failed(error.into()))? + "\n";
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            make_directory(dir).map_err(failed)?;
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
                option: owner.option,
            });
        }
        let mut text = Vec::new();
        (&mut file)
            .take(MAX_JOURNAL + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        let found = owner
            .find_entries(&header, &text)
            .map_err(|ForeignOwner| foreign())?;
        check_size(path, &text)?;
        let begin = found.unwrap_or(text.len());
        let (entries, whole) = read_lines(path, text.get(begin..).unwrap_or_default())?;
        let is_empty = found.is_none();
        if is_empty {
            // It may be new.
            sync_entry(path).map_err(failed)?;
        }
        // What comes next must not be joined to a line that was cut off.
        let kept = found.map_or(0, |begin| begin + whole);
        let length = file.metadata().map_err(failed)?.len();
        if length != kept as u64 {
            file.set_len(kept as u64).map_err(failed)?;
        }
        // Room that is reserved behind the end would be given up by a change of the length.
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let journal = Self {
            path: path.to_owned(),
            file,
            header,
            is_empty,
            option: owner.option,
        };
        Ok((journal, entries))
    }

    /// The entries of a journal, which another process may use; none if there is no journal.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn read_entries<E: DeserializeOwned>(
        path: &Path,
        owner: &JournalOwner,
    ) -> Result<Vec<E>, JournalError> {
        let failed = |cause| JournalError::File {
            path: path.to_owned(),
            option: owner.option,
            cause,
        };
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file
                .take(MAX_JOURNAL + 1)
                .read_to_end(&mut text)
                .map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        check_size(path, &text)?;
        let header = serde_json::to_string(owner).map_err(|error| failed(error.into()))? + "\n";
        let Ok(found) = owner.find_entries(&header, &text) else {
            return Err(JournalError::Foreign {
                path: path.to_owned(),
                option: owner.option,
                command: owner.command.to_owned(),
                host: owner.host.clone(),
            });
        };
        let Some(entries) = found.and_then(|begin| text.get(begin..)) else {
            return Ok(Vec::new());
        };
        // The last line may be one that is being written.
        read_lines(path, entries).map(|(entries, _)| entries)
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that keeps the journal in use until it is closed, also when this process has ended.
    ///
    /// # Errors
    /// [`JournalError::File`]: the system gives none.
    pub(crate) fn share_lock(&self) -> Result<File, JournalError> {
        self.file
            .try_clone()
            .map_err(|cause| self.make_error(cause))
    }

    fn make_error(&self, cause: std::io::Error) -> JournalError {
        JournalError::File {
            path: self.path.clone(),
            option: self.option,
            cause,
        }
    }
}

#[cfg(test)]
mod tests;
