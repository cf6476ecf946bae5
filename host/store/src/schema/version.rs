//! The version of the schema (`PRAGMA user_version`).

use std::path::Path;

use rusqlite::Connection;

use crate::error::OpenError;

/// The version this program writes.
pub(crate) const SCHEMA_VERSION: u32 = 16;
/// The version from which on the state's history is a chain of hashes.
pub(crate) const STATE_CHAIN_SINCE: u32 = 3;
/// The version from which on audit rows can be archived.
pub(crate) const AUDIT_ARCHIVES_SINCE: u32 = 3;
/// The version from which on the components and settings of policies are kept.
pub(crate) const POLICY_COMPONENTS_SINCE: u32 = 4;
/// The version from which on the bodies of decisions are packed.
pub(crate) const PACKED_BODIES_SINCE: u32 = 12;
/// The version from which on the rows that are derived from the audit log may be written later than it.
pub(crate) const LATER_DERIVED_ROWS_SINCE: u32 = 13;
/// The version from which on the indices of decisions and of traces may be written later than the session log.
pub(crate) const LATER_INDEX_SINCE: u32 = 14;
/// The version from which on the ids of the audit log have an index that may be written later.
pub(crate) const LATER_IDS_SINCE: u32 = 15;
/// The first version in which this program writes what a restore records: the tables of that are the same from then on.
pub(crate) const RESTORABLE_AS_IT_IS_SINCE: u32 = 5;

/// The version of the schema that this program writes. A start migrates a database of an earlier one, and refuses one of a later.
#[must_use]
pub fn current_schema() -> u32 {
    SCHEMA_VERSION + count_test_versions()
}

/// How many versions beyond its own a debug build pretends to have: one where `TEST_ARK_LATER_SCHEMA` is set, so that tests of upgrades and
/// rollbacks have a program of a later schema. That version has the tables of the one before it.
#[cfg(debug_assertions)]
fn count_test_versions() -> u32 {
    use std::sync::OnceLock;
    static VERSIONS: OnceLock<u32> = OnceLock::new();
    *VERSIONS.get_or_init(|| u32::from(std::env::var_os("TEST_ARK_LATER_SCHEMA").is_some()))
}

#[cfg(not(debug_assertions))]
const fn count_test_versions() -> u32 {
    0
}

/// Reads the version of a database; 0 when the database is empty.
pub(crate) fn read_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Refuses a version that a later program wrote.
pub(crate) fn check_version(path: &Path, found: u32) -> Result<(), OpenError> {
    let known = current_schema();
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}
