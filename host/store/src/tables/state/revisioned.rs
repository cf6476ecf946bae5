//! What the truth map and the system configuration have in common: entries under keys, each with a revision, and a second table with every
//! revision of them.
//!
//! Revisions of an entry are contiguous, from 1; deletions count.

use rusqlite::{Connection, Row, params};

use crate::error::{CommitError, ReadError, WriteError};
use crate::query::{MAX_SEQ, select_row};
use crate::reader::Reader;

/// A revision of an entry, and the tables it is kept in.
pub(super) trait Revisioned: Sized {
    /// The name of the entries in error messages.
    const KIND: &'static str;
    /// The table of the last revisions.
    const ENTRIES: &'static str;
    /// The table of all revisions.
    const HISTORY: &'static str;
    /// The columns that [`Revisioned::read`] reads; both tables have them.
    const COLUMNS: &'static str;
    /// The SQL condition of entries that exist, and were not deleted.
    const LIVE: &'static str;

    /// Reads a row of [`Revisioned::COLUMNS`].
    fn read(row: &Row<'_>) -> rusqlite::Result<Self>;

    /// The number of the revision.
    fn revision(&self) -> u64;

    /// Whether the entry exists at this revision, and was not deleted.
    fn is_live(&self) -> bool;
}

/// The last revision of an entry.
pub(super) fn find_entry<T: Revisioned>(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<T>> {
    let sql = format!("SELECT {} FROM {} WHERE key = ?1", T::COLUMNS, T::ENTRIES);
    select_row(connection, &sql, [key], T::read)
}

/// Compares the current revision of an entry with the expected one, if there is one. A caller that expects revision 0 accepts a deleted
/// entry too. Returns the number of the next revision.
pub(super) fn next_revision<T: Revisioned>(
    key: &str,
    current: Option<&T>,
    expected: Option<u64>,
) -> Result<u64, WriteError> {
    let revision = current.map_or(0, T::revision);
    let live = current.is_some_and(T::is_live);
    match expected {
        Some(expected) if expected != revision && (expected != 0 || live) => {
            Err(WriteError::refuse(CommitError::Stale {
                table: T::KIND,
                key: key.to_owned(),
                expected,
                current: revision,
            }))
        }
        _ => Ok(revision + 1),
    }
}

/// The entries that exist and whose keys start with `prefix`, in order, behind the key `after` when it is given, at most `limit`.
pub(super) fn entries_page<T: Revisioned>(
    reader: &Reader,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<T>, ReadError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE key >= ?1 AND key > ?2 AND substr(key, 1, length(?1)) = ?1 AND {}
         ORDER BY key LIMIT ?3",
        T::COLUMNS,
        T::ENTRIES,
        T::LIVE
    );
    reader.select_rows(&sql, params![prefix, after.unwrap_or(""), limit], T::read)
}

/// The revisions of an entry, newest first, before the revision `before` when it is given, at most `limit`.
pub(super) fn entry_history<T: Revisioned>(
    reader: &Reader,
    key: &str,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<T>, ReadError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE key = ?1 AND revision < ?2 ORDER BY revision DESC LIMIT ?3",
        T::COLUMNS,
        T::HISTORY
    );
    reader.select_rows(
        &sql,
        params![key, before.unwrap_or(MAX_SEQ), limit],
        T::read,
    )
}
