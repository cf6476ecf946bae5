//! Writing the write-ahead log back to the database, without waiting for whoever holds it.

use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::thread::Writer;

/// How far a checkpoint got, in frames.
pub(super) struct LogState {
    /// How many frames the log has.
    pub(super) frames: u64,
    /// How many of them are written back.
    pub(super) written_back: u64,
}

/// Writes back what can be written back now, and waits for nobody.
///
/// # Errors
/// The log or the database cannot be read or written.
pub(super) fn write_log_back(connection: &Connection) -> rusqlite::Result<LogState> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        // -1: there is no log.
        let frames = |column| -> rusqlite::Result<u64> {
            Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
        };
        Ok(LogState {
            frames: frames(1)?,
            written_back: frames(2)?,
        })
    })
}

impl Writer {
    /// Writes the log back when it has become long. The next transaction then begins it anew, unless somebody reads from it.
    pub(super) fn checkpoint_when_due(&self) {
        let frames = self.options.log_frames.load(Ordering::Acquire);
        if frames < self.options.checkpoint_frames {
            return;
        }
        match write_log_back(&self.connection) {
            Ok(state) if state.written_back < state.frames => tracing::debug!(
                frames = state.frames,
                written_back = state.written_back,
                "a reader keeps the write-ahead log from being written back"
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be written back"),
        }
    }
}
