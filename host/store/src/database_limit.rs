//! The limit of the database's size, its write-ahead log included.
//!
//! A sixteenth (256 MiB at most) is a reserve: only units that may use it are written from there on.
//!
//! A part of the limit is set aside for the log; the database file gets the rest (`PRAGMA max_page_count`). When the log has outgrown its
//! part it is written back and emptied before the next transaction. Where that does not help, because a reader holds the log, the
//! transaction is refused as on a full disk; orders that halt or quarantine may use as much again. While a transaction lasts, the log can
//! exceed its part by what the transaction writes.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::directory::FileFacts;
use crate::query::select_value;

/// The part of the limit, as a divisor, that only the host may use.
const RESERVE_PART: u64 = 16;
/// The largest reserve: what some hundred thousand decisions take.
const MAX_RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// What the log holds between two checkpoints without a limit. Its share of a limit is no larger, unless
/// a sixteenth of the limit is larger: a long snapshot or another reader must not stop a host that has room.
const LOG_BYTES: u64 = 32 * 1024 * 1024;
/// The part of a large limit, as a divisor, that is set aside for the log.
const LOG_PART: u64 = 16;

/// How the limit is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DatabaseLimitShares {
    /// The pages of the database file.
    pub(crate) database_pages: u64,
    /// The bytes of the write-ahead log.
    pub(crate) log_bytes: u64,
}

impl DatabaseLimitShares {
    /// Sets a quarter of the limit aside for the log, but at most [`LOG_BYTES`] or a sixteenth of the limit, whichever is more.
    pub(crate) fn for_limit(max_bytes: u64, page_bytes: u64) -> Self {
        let log_bytes = (max_bytes / 4).min(LOG_BYTES.max(max_bytes / LOG_PART));
        Self {
            database_pages: ((max_bytes - log_bytes) / page_bytes.max(1)).max(1),
            log_bytes,
        }
    }
}

/// After how many frames in the log a checkpoint is due: half of the log's part, and never more than [`LOG_BYTES`].
pub(crate) fn checkpoint_frames(max_bytes: Option<u64>, page_bytes: u64) -> u64 {
    let bytes = max_bytes.map_or(LOG_BYTES, |max_bytes| {
        (DatabaseLimitShares::for_limit(max_bytes, page_bytes).log_bytes / 2).min(LOG_BYTES)
    });
    (bytes / page_bytes.max(1)).max(1)
}

/// Keeps the log of one database within its part.
pub(crate) struct DatabaseLimit {
    log: PathBuf,
    log_bytes: u64,
    max_bytes: u64,
}

impl DatabaseLimit {
    pub(crate) fn new(database: &Path, max_bytes: u64) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Self {
            log: log.into(),
            max_bytes,
            // The share does not depend on the size of a page.
            log_bytes: DatabaseLimitShares::for_limit(max_bytes, 1).log_bytes,
        }
    }

    /// Whether the log has room for the next transaction. `for_orders`: for one that halts or quarantines, which may use twice the part.
    pub(crate) fn has_room(&self, for_orders: bool) -> bool {
        let part = if for_orders {
            self.log_bytes.saturating_mul(2)
        } else {
            self.log_bytes
        };
        self.log_size() <= part
    }

    /// Returns whether the database, whose pages have `page_bytes`, has grown to the reserve. Pages that are free in it do not count.
    ///
    /// # Errors
    /// The size cannot be read.
    pub(crate) fn is_only_reserve_left(
        &self,
        connection: &Connection,
        page_bytes: u64,
    ) -> rusqlite::Result<bool> {
        let read = |pragma: &str| select_value::<u64>(connection, pragma, []);
        let used = read("PRAGMA page_count")?.saturating_sub(read("PRAGMA freelist_count")?);
        let reserve = (self.max_bytes / RESERVE_PART).min(MAX_RESERVE_BYTES);
        let shares = DatabaseLimitShares::for_limit(self.max_bytes, page_bytes);
        let share = shares
            .database_pages
            .saturating_sub(reserve.div_ceil(page_bytes.max(1)));
        Ok(used >= share)
    }

    /// The bytes of the log.
    pub(crate) fn log_size(&self) -> u64 {
        FileFacts::read(&self.log).map_or(0, |facts| facts.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn the_log_has_its_part_of_every_limit() {
        for (limit, log) in [
            (4 * MIB, MIB),
            (128 * MIB, 32 * MIB),
            (512 * MIB, 32 * MIB),
            (1024 * MIB, 64 * MIB),
            (64 * 1024 * MIB, 4096 * MIB),
        ] {
            for page in [4096, 8192] {
                let shares = DatabaseLimitShares::for_limit(limit, page);
                assert_eq!(shares.log_bytes, log, "{limit}");
                assert_eq!(shares.database_pages * page, limit - log, "{limit}");
                let due = checkpoint_frames(Some(limit), page) * page;
                assert_eq!(due, (log / 2).min(LOG_BYTES), "{limit}");
            }
        }
    }
}
