//! The write-ahead log: having it written back to the database, and keeping it within its part of the limit, beside processes that read it.
//!
//! A process that reads from the log keeps it from being written back and restarted; the log then grows with every commit. It is named in an
//! alert. Where the log has a limit, what has no room in it is refused: after a short wait, since most readers, those of this host among them, come and go,
//! and then at once until the log could be emptied.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::directory::{READ_BYTES, name_holders};
use crate::error::{CommitError, StorageError};

use super::alerts::{DISK_FULL, LOG_HELD};
use super::checkpointer::{LogState, Pass, write_log_back};
use super::thread::{LOCK_PATIENCE, LOCK_PAUSE, QueuedUnit, Writer};

/// So many frames the writer writes back itself: that takes it about as long as a commit.
const LAST_FRAMES: u64 = 1024;

/// For how long a reader may keep a long log from being written back before that is an alert: readers come and go.
const HELD_PATIENCE: Duration = Duration::from_millis(500);

impl Writer {
    /// Writes the log back when it has become long: most of it by the checkpointer, the rest here. The next transaction then restarts it,
    /// unless somebody reads from it.
    pub(super) fn checkpoint_when_due(&mut self) {
        let due = self.options.checkpoint_frames;
        let frames = self.options.log_frames.load(Ordering::Acquire);
        if frames < due {
            self.checkpointer.forget_pass();
            self.held = None;
            return;
        }
        let left = match self.checkpointer.last_pass() {
            Pass::Running if !self.checkpointer.has_ended() => return,
            Pass::None => return self.checkpointer.request_pass(),
            Pass::Ended(Some(state)) => {
                self.note_held(state);
                frames.saturating_sub(state.written_back)
            }
            // The checkpointer cannot write the log back: the failure of the same here is told like any other of the database.
            Pass::Running | Pass::Ended(None) => 0,
        };
        if left > LAST_FRAMES {
            return self.checkpointer.request_pass();
        }
        match self.write_log_back() {
            // A process that reads from the end of the log keeps it from being restarted; the next commits try again.
            Ok(state) => {
                self.note_held(state);
                self.checkpointer.set_last_pass(state);
            }
            Err(error) => {
                tracing::warn!(%error, "the write-ahead log could not be written back");
                self.checkpointer.request_pass();
            }
        }
    }

    /// Raises the alert when what somebody reads has kept a long log from being written back for a while. Readers that come and go let it
    /// be written back a little further each time, which is no alert.
    fn note_held(&mut self, state: LogState) {
        if state.written_back >= state.frames {
            self.held = None;
            return;
        }
        let since = match self.held {
            Some((written_back, since)) if written_back == state.written_back => since,
            _ => Instant::now(),
        };
        self.held = Some((state.written_back, since));
        let due = self.options.checkpoint_frames;
        if state.frames >= due + due / 2 && since.elapsed() >= HELD_PATIENCE {
            self.alert_log_held(state.frames.saturating_mul(self.options.page_bytes));
        }
    }

    /// Writes back what can be written back now, after the pass that the checkpointer may be making.
    ///
    /// # Errors
    /// The log or the database cannot be read or written.
    pub(super) fn write_log_back(&self) -> rusqlite::Result<LogState> {
        let _turn = self.checkpointer.take_turn();
        write_log_back(&self.connection)
    }

    /// Whether the log has room for the next transaction, after it was emptied if it had outgrown its part. Who reads from the log is waited for so long.
    pub(super) fn make_room(&self, patience: Duration) -> bool {
        if self.has_room_in_log(false) {
            return true;
        }
        // A pass of the checkpointer, which reads from the log too, is waited for.
        let _turn = self.checkpointer.take_turn();
        let started = Instant::now();
        loop {
            let emptied = self
                .connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            if let Err(error) = &emptied {
                tracing::warn!(%error, "the write-ahead log could not be emptied");
            }
            if self.has_room_in_log(false) {
                return true;
            }
            if emptied.is_err() || started.elapsed() >= patience {
                return false;
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }

    /// Refuses what has no room in the log, and returns what has: everything, or orders that halt or quarantine alone.
    pub(super) fn refuse_without_room(&mut self, units: Vec<QueuedUnit>) -> Vec<QueuedUnit> {
        let is_order_alone = units.iter().all(|queued| queued.unit.tightens());
        if is_order_alone && !self.has_room_in_log(false) && self.has_room_in_log(true) {
            // It may use the log beyond its part, so it waits for no reader.
            return units;
        }
        let patience = if self.options.health.is_writable() {
            LOCK_PATIENCE
        } else {
            Duration::ZERO
        };
        self.log_is_full = !self.make_room(patience);
        let Some(database_limit) = self
            .options
            .database_limit
            .as_ref()
            .filter(|_| self.log_is_full)
        else {
            return units;
        };
        let bytes = database_limit.log_size();
        let has_room_for_orders = self.has_room_in_log(true);
        let cause = StorageError::LogFull {
            bytes,
            holder: self.name_readers(),
        };
        self.alert_log_held(bytes);
        let (orders, refused): (Vec<_>, Vec<_>) = units
            .into_iter()
            .partition(|queued| has_room_for_orders && queued.unit.tightens());
        if !refused.is_empty() {
            self.fail_commit(&cause, refused.len());
            self.attest_orders(&refused);
            for queued in refused {
                (queued.done)(Err(CommitError::Storage(cause.clone())));
            }
        }
        orders
    }

    /// Notes that units were not written: chained ones are refused until the HRM has recovered.
    pub(super) fn fail_commit(&mut self, cause: &StorageError, units: usize) {
        let problem = cause.to_string();
        self.failures.record(&problem, units, Instant::now());
        let is_full = matches!(
            cause,
            StorageError::Full(_) | StorageError::ReserveOnly | StorageError::LogFull { .. }
        );
        if is_full {
            let dir = self.options.dir.display();
            let message = format!(
                "{problem}: nothing is approved until there is room in {dir}; archive the audit log (`ark audit archive`), free space or raise capacity.max_database_bytes"
            );
            self.raise_alert(DISK_FULL, message, None);
        }
        self.options.health.record_failure(problem, is_full);
        self.failed_commit = Some(Arc::new(cause.clone()));
        self.options.meters.failed_commits.increment();
    }

    /// Whether the log has room for the next transaction as it is. `for_orders`: for one that halts or quarantines.
    fn has_room_in_log(&self, for_orders: bool) -> bool {
        let database_limit = self.options.database_limit.as_ref();
        database_limit.is_none_or(|limit| limit.has_room(for_orders))
    }

    fn alert_log_held(&mut self, bytes: u64) {
        let holder = self.name_readers();
        let message = format!(
            "the write-ahead log has {bytes} bytes and cannot be written back, since {holder} reads from it: end that, or its transaction; with capacity.max_database_bytes, writes are refused when the log has used up its part"
        );
        self.raise_alert(LOG_HELD, message, Some(bytes));
    }

    fn name_readers(&self) -> String {
        name_holders(self.options.files.index_inode(), &READ_BYTES)
    }
}
