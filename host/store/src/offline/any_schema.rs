//! What can be read of a database of any schema, also one that a later program wrote: for what goes back to an earlier program.

use std::path::Path;

use rusqlite::Connection;

use crate::directory::{RESTORE_PENDING, database_path};
use crate::error::OpenError;
use crate::schema::{open_any_schema, read_version};
use crate::tables::audit::AuditKind;

/// Returns the schema of the database of a data directory. A host may run there.
///
/// # Errors
/// There is no database, or it cannot be read.
pub fn read_schema(dir: &Path) -> Result<u32, OpenError> {
    read_any_schema(dir, read_version)
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
