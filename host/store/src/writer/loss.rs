//! What the writer does when the files of the database are lost while it has them open: it writes nothing more that would be acknowledged,
//! says so, and has what was acknowledged copied out of the files that are still open.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::error::{FileLoss, StorageError};
use crate::health::StoreHealth;
use crate::offline::rescue_database;

use super::alerts::DATABASE_LOST;
use super::thread::Writer;

/// The bytes of a write-ahead log before its first frame, and of a frame before its page.
const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

impl Writer {
    /// Checks that the paths lead to the files that are open, and that none of these was cut. To be called outside a transaction.
    ///
    /// # Errors
    /// The first loss found, now or before.
    pub(super) fn check_files(&self) -> Result<(), FileLoss> {
        if let Some(loss) = self.options.health.loss() {
            return Err(loss.clone());
        }
        let log_bytes = self.options.files.check()?;
        self.check_log_bytes(log_bytes)
    }

    /// As [`Writer::check_files`], but of the log alone: before a transaction, whose commit comes after a check of every path. To be called outside a
    /// transaction.
    ///
    /// # Errors
    /// The loss found, now or before.
    pub(super) fn check_log(&self) -> Result<(), FileLoss> {
        if let Some(loss) = self.options.health.loss() {
            return Err(loss.clone());
        }
        let log_bytes = self.options.files.check_log()?;
        self.check_log_bytes(log_bytes)
    }

    /// Finds why a transaction failed: reading and writing also fail where files were lost.
    pub(super) fn find_cause(&self, cause: StorageError) -> StorageError {
        if matches!(cause, StorageError::FilesLost(_)) {
            return cause;
        }
        match self.options.files.check() {
            Ok(_) => cause,
            Err(loss) => StorageError::FilesLost(loss),
        }
    }

    /// Checks that the log has what was written into it.
    fn check_log_bytes(&self, log_bytes: u64) -> Result<(), FileLoss> {
        let expected = self.log_bytes(self.options.log_frames.load(Ordering::Acquire));
        if log_bytes >= expected {
            return Ok(());
        }
        // Another process may have written the log back and emptied it, which loses nothing: then its index says so.
        let state = self.write_log_back();
        let expected = state
            .as_ref()
            .map_or(expected, |state| self.log_bytes(state.frames));
        if state.is_ok() && log_bytes >= expected {
            return Ok(());
        }
        Err(self.options.files.truncated_log(expected, log_bytes))
    }

    /// The bytes of a log with so many frames.
    const fn log_bytes(&self, frames: u64) -> u64 {
        match frames {
            0 => 0,
            frames => LOG_HEADER_BYTES + frames * (FRAME_HEADER_BYTES + self.options.page_bytes),
        }
    }

    /// Ends writing for good: attests what was acknowledged, raises the alert, and starts the copy.
    pub(super) fn record_loss(&mut self, loss: FileLoss) {
        let message = loss.to_string();
        if !self.options.health.record_loss(loss) {
            return;
        }
        tracing::error!(
            problem = message,
            "the files of the database were lost: nothing is approved any more; GET /readyz says what to do"
        );
        self.anchor_heads();
        // It lands in the lost files: readers of this host and the copy have it.
        let message = format!("{message}; GET /readyz says what to do");
        self.raise_alert(DATABASE_LOST, message, None);
        self.start_rescue();
    }

    /// Copies the database on a thread of its own, since a large one takes minutes.
    fn start_rescue(&mut self) {
        let Some(connection) = self.rescue_connection.take() else {
            return;
        };
        let health = Arc::clone(&self.options.health);
        let dir = self.options.dir.clone();
        let copying = std::thread::Builder::new()
            .name("ark-rescue".to_owned())
            .spawn(move || rescue_lost_database(&connection, &dir, &health));
        match copying {
            Ok(thread) => self.rescue_thread = Some(thread),
            Err(error) => self.options.health.record_rescue(Err(error.to_string())),
        }
    }

    /// Waits until the copy of lost files is complete, if one is being made.
    pub(super) fn finish_rescue(&mut self) {
        if self
            .rescue_thread
            .take()
            .map(JoinHandle::join)
            .is_some_and(|end| end.is_err())
        {
            tracing::error!("the copy of the lost files ended in a panic");
        }
    }
}

fn rescue_lost_database(connection: &Connection, dir: &std::path::Path, health: &StoreHealth) {
    let made = rescue_database(connection, dir);
    match &made {
        Ok(copy) => {
            tracing::error!(copy = %copy.display(), "what was acknowledged before the files were lost is copied");
        }
        Err(error) => {
            tracing::error!(%error, "what was acknowledged before the files were lost cannot be copied");
        }
    }
    health.record_rescue(made.map_err(|error| error.to_string()));
}
