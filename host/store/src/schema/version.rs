//! The version of the schema (`PRAGMA user_version`).

use std::path::Path;

use rusqlite::Connection;

use crate::error::OpenError;

/// The version this program writes.
pub(crate) const SCHEMA_VERSION: u32 = 11;
/// The version from which on the state's history is a chain of hashes.
pub(crate) const STATE_CHAIN_SINCE: u32 = 3;
/// The version from which on audit rows can be archived.
pub(crate) const AUDIT_ARCHIVES_SINCE: u32 = 3;
/// The version from which on the components and settings of policies are kept.
pub(crate) const POLICY_COMPONENTS_SINCE: u32 = 4;

/// The version of the schema that this program writes. A start migrates a database of an earlier one, and refuses one of a later.
#[must_use]
pub const fn current_schema() -> u32 {
    SCHEMA_VERSION
}

/// Reads the version of a database; 0 when the database is empty.
pub(crate) fn read_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Refuses a version that a later program wrote.
pub(crate) fn check_version(path: &Path, found: u32) -> Result<(), OpenError> {
    if found > SCHEMA_VERSION {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok(())
}
