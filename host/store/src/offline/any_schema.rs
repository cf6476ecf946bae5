//! What can be read of a database of any schema, also one that a later program wrote: for what goes back to an earlier program.

use std::path::Path;

use rusqlite::Connection;

use crate::chain::ChainHead;
use crate::directory::{RESTORE_PENDING, database_path};
use crate::error::OpenError;
use crate::query::{digest_column, select_row};
use crate::schema::{check_schema, current_schema, open_any_schema, read_version};
use crate::tables::audit::{AuditKind, archived_head, read_audit_head};

/// Whose a snapshot is, by its audit log and that of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOrigin {
    /// The data directory has its last row: it is an earlier state of the database there.
    Own,
    /// It has the last row of the data directory, and more: that has lost rows, or was restored from an earlier snapshot.
    Ahead,
    /// Neither has the last row of the other: it is of another host, or of a database that another one took the place of.
    Foreign,
    /// The row that would be compared is in an archive.
    Archived,
}

/// Returns the schema of the database of a data directory. A host may run there.
///
/// # Errors
/// There is no database, it is damaged or was emptied ([`OpenError::find_damage`] says so), or it cannot be read.
pub fn read_schema(dir: &Path) -> Result<u32, OpenError> {
    match read_any_schema(dir, read_version)? {
        0 => Err(OpenError::for_no_schema(&database_path(dir))),
        found => Ok(found),
    }
}

/// Refuses a data directory whose database has another schema than its version makes: each start refuses it, so whatever stops a host asks before. A
/// host may run there. A database of a later version cannot be compared, and is not refused.
///
/// # Errors
/// [`OpenError::ForeignSchema`]. Others: there is no database, or it cannot be read.
pub fn check_known_schema(dir: &Path) -> Result<(), OpenError> {
    let path = database_path(dir);
    if !path.is_file() {
        return Err(OpenError::Missing { path });
    }
    let connection = open_any_schema(&path)?;
    let found = read_version(&connection).map_err(|error| OpenError::from_sqlite(&path, error))?;
    if found > current_schema() {
        return Ok(());
    }
    check_schema(&connection, &path)
}

/// Returns how many decisions the audit log has after a row. A host may run there.
///
/// # Errors
/// There is no database, or it cannot be read.
pub fn count_decisions_after(dir: &Path, seq: u64) -> Result<u64, OpenError> {
    let sql = "SELECT count(*) FROM audit_log WHERE seq > ?1 AND kind = ?2";
    let kind = AuditKind::Decision.as_str();
    read_any_schema(dir, |connection| {
        connection.query_row(sql, (seq, kind), |row| row.get(0))
    })
}

/// Compares a snapshot, whose audit log ends with `head`, with a data directory. A host may run there.
///
/// # Errors
/// One of the databases is not there, or cannot be read.
pub fn find_origin(
    dir: &Path,
    snapshot: &Path,
    head: ChainHead,
) -> Result<SnapshotOrigin, OpenError> {
    let own = read_any_schema(dir, read_audit_head)?;
    let (other, row, same) = if head.seq <= own.seq {
        (dir, head, SnapshotOrigin::Own)
    } else {
        (snapshot, own, SnapshotOrigin::Ahead)
    };
    Ok(match has_row(other, row)? {
        Some(true) => same,
        Some(false) => SnapshotOrigin::Foreign,
        None => SnapshotOrigin::Archived,
    })
}

/// Whether an audit log has this row, with all before it; `None`: it is in an archive.
fn has_row(dir: &Path, row: ChainHead) -> Result<Option<bool>, OpenError> {
    read_any_schema(dir, |connection| {
        let base = archived_head(connection)?;
        if row.seq <= base.seq {
            return Ok((row.seq == base.seq).then_some(row.hash == base.hash));
        }
        let sql = "SELECT hash FROM audit_log WHERE seq = ?1";
        let found = select_row(connection, sql, [row.seq], |row| digest_column(row, 0))?;
        Ok(Some(found == Some(row.hash)))
    })
}

/// Whether a restore into a data directory was begun and has not ended: no host starts there.
#[must_use]
pub fn is_restore_pending(dir: &Path) -> bool {
    dir.join(RESTORE_PENDING).exists()
}

fn read_any_schema<T>(
    dir: &Path,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, OpenError> {
    let path = database_path(dir);
    if !path.is_file() {
        return Err(OpenError::Missing { path });
    }
    read(&open_any_schema(&path)?).map_err(|error| OpenError::from_sqlite(&path, error))
}
