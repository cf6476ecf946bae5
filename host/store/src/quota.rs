//! The size the database may grow to, its write-ahead log included.
//!
//! A part of the limit is set aside for the log; the database file gets the rest (`PRAGMA max_page_count`). When the log has outgrown its
//! part it is written back and emptied before the next transaction; where that does not help (a reader holds it), the
//! transaction is refused as on a full disk. The log can pass its part by what one transaction writes, for as long as it lasts.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// The largest part set aside for the log: what it holds between two checkpoints without a limit.
const MAX_LOG_BYTES: u64 = 32 * 1024 * 1024;

/// How the limit is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotaShares {
    pub(super) database_pages: u64,
    pub(super) log_bytes: u64,
}

impl QuotaShares {
    /// A quarter for the log, the rest for the database.
    pub(super) fn for_limit(max_bytes: u64, page_bytes: u64) -> Self {
        let log_bytes = (max_bytes / 4).min(MAX_LOG_BYTES);
        Self {
            database_pages: ((max_bytes - log_bytes) / page_bytes.max(1)).max(1),
            log_bytes,
        }
    }
}

/// Watches the log of one database.
pub(super) struct Quota {
    log: PathBuf,
    log_bytes: u64,
}

impl Quota {
    pub(super) fn new(database: &Path, max_bytes: u64) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Self {
            log: log.into(),
            // The share does not depend on the size of a page.
            log_bytes: QuotaShares::for_limit(max_bytes, 1).log_bytes,
        }
    }

    /// Makes room in the log if it has outgrown its part.
    ///
    /// # Errors
    /// `DiskFull`: there is no room and none can be made now.
    pub(super) fn make_room(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.log_size() <= self.log_bytes {
            return Ok(());
        }
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        if self.log_size() <= self.log_bytes {
            return Ok(());
        }
        Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
            Some("the write-ahead log has outgrown its part of max_database_bytes".to_owned()),
        ))
    }

    fn log_size(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }
}
