//! What is written to a journal: entries, each on disk before the step that it announces, and the room that is reserved for them.
//!
//! Invariant: an entry that could not be written leaves nothing behind.

use std::io::{Seek, SeekFrom, Write};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use serde::Serialize;

use super::Journal;
use super::error::{JournalError, MAX_JOURNAL};

impl Journal {
    /// Reserves room on disk behind the last entry, so that so many bytes of further ones need none. It stays reserved when the journal is closed and
    /// opened again, until [`Self::release_room`] or [`Self::clear_entries`]. A file system that reserves nothing is no error.
    ///
    /// # Errors
    /// [`JournalError::File`]: there is no such room.
    pub(crate) fn reserve_room(&self, bytes: u64) -> Result<(), JournalError> {
        let reserved = self.file.metadata().and_then(|found| {
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, found.len(), bytes) {
                Ok(()) => self.file.sync_all(),
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
        reserved.map_err(|cause| self.make_error(cause))
    }

    /// Gives back the room that is reserved and was not needed. What cannot be given back is no error.
    pub(crate) fn release_room(&self) {
        let _released = self
            .file
            .metadata()
            .and_then(|found| self.file.set_len(found.len()));
    }

    /// Adds an entry, which is on disk when this returns.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn record_entry(&mut self, entry: &impl Serialize) -> Result<(), JournalError> {
        let header = if self.is_empty { &self.header } else { "" };
        let entry = serde_json::to_string(entry).map_err(|cause| self.make_error(cause.into()))?;
        let line = format!("{header}{entry}\n");
        let end = self.file.stream_position();
        let end = end.map_err(|cause| self.make_error(cause))?;
        if end.saturating_add(line.len() as u64) > MAX_JOURNAL {
            return Err(JournalError::Full {
                path: self.path.clone(),
            });
        }
        self.append_line(&line, end)
            .map_err(|cause| self.make_error(cause))
    }

    fn append_line(&mut self, line: &str, end: u64) -> std::io::Result<()> {
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            // The next entry must not be joined to a part of this one.
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::End(0))?;
        } else {
            self.is_empty = false;
        }
        written
    }

    /// Forgets everything: all that was begun is undone.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn clear_entries(&mut self) -> Result<(), JournalError> {
        let emptied = self.file.set_len(0);
        emptied.map_err(|cause| self.make_error(cause))?;
        self.is_empty = true;
        let cleared = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.sync_data());
        cleared.map_err(|cause| self.make_error(cause))
    }
}
