//! The schema and its versions (`PRAGMA user_version`).

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::OpenError;
use super::quota::QuotaShares;
use super::secrets::{SecretError, SecretKey};

/// The n-th takes a database from version n to n + 1: its scripts, and what SQL alone cannot do, in the same transaction.
const MIGRATIONS: &[(&[&str], Option<MigrationStep>)] = &[
    (&[include_str!("schema.sql")], None),
    (&[include_str!("schema_v2.sql")], None),
    (
        &[include_str!("schema_v3.sql")],
        Some(super::history::migrate_state_history),
    ),
    (
        &[
            include_str!("schema_v4_approvals.sql"),
            include_str!("schema_v4_tokens.sql"),
            include_str!("schema_v4_policies.sql"),
            include_str!("schema_v4_agents.sql"),
            include_str!("schema_v4_fleet.sql"),
            include_str!("schema_v4_deliveries.sql"),
        ],
        None,
    ),
];

type MigrationStep = fn(&Connection, Option<&SecretKey>) -> Result<(), MigrationError>;

/// Why a migration cannot be made.
pub(super) enum MigrationError {
    Database(rusqlite::Error),
    Secret(SecretError),
}

impl From<rusqlite::Error> for MigrationError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<SecretError> for MigrationError {
    fn from(error: SecretError) -> Self {
        Self::Secret(error)
    }
}

/// The version this program writes.
pub(super) const SCHEMA_VERSION: u32 = 4;
/// From this version on policies' components and settings are kept.
pub(super) const WITH_POLICIES: u32 = 4;

/// Up to this size a database is checked whole when it is opened.
const QUICK_CHECK_BYTES: u64 = 32 * 1024 * 1024;

/// Opens the writing connection: WAL, every commit synced, schema brought up to date.
pub(super) fn open_writer(
    path: &Path,
    max_bytes: Option<u64>,
    secret: Option<&SecretKey>,
) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection
        .execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;
             PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;",
        )
        .map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(128);
    if let Some(max_bytes) = max_bytes {
        let page: u64 = connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .map_err(failed)?;
        let shares = QuotaShares::for_limit(max_bytes, page);
        let pages = shares.database_pages;
        connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .map_err(failed)?;
        let checkpoint = (shares.log_bytes / page.max(1) / 2).clamp(1, 4000);
        connection
            .query_row(
                &format!("PRAGMA wal_autocheckpoint = {checkpoint}"),
                [],
                |_| Ok(()),
            )
            .map_err(failed)?;
    }
    let found = read_version(&connection).map_err(failed)?;
    check_version(path, found)?;
    // Secrets that an earlier version kept in clear are not to stay in pages that a migration frees.
    connection
        .query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))
        .map_err(failed)?;
    for (index, (scripts, step)) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let transaction = connection.transaction().map_err(failed)?;
        for script in *scripts {
            transaction.execute_batch(script).map_err(failed)?;
        }
        if let Some(step) = step {
            step(&transaction, secret).map_err(|error| match error {
                MigrationError::Database(error) => failed(error),
                MigrationError::Secret(error) => OpenError::Secret {
                    path: path.to_owned(),
                    error,
                },
            })?;
        }
        transaction
            .execute_batch(&format!("PRAGMA user_version = {}", index + 1))
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    connection
        .query_row("PRAGMA secure_delete = OFF", [], |_| Ok(()))
        .map_err(failed)?;
    if found > 0 && found < SCHEMA_VERSION {
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(failed)?;
    }
    // A larger database would hold up the start for seconds; `PRAGMA quick_check` reads every page.
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes <= QUICK_CHECK_BYTES {
        let verdict: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(failed)?;
        if verdict != "ok" {
            return Err(OpenError::Broken {
                path: path.to_owned(),
                reason: verdict,
            });
        }
    }
    Ok(connection)
}

/// Opens a reading connection.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(failed)?;
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096;")
        .map_err(failed)?;
    check_version(path, read_version(&connection).map_err(failed)?)?;
    Ok(connection)
}

pub(super) fn read_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

pub(super) fn check_version(path: &Path, found: u32) -> Result<(), OpenError> {
    if found > SCHEMA_VERSION {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    Ok(())
}

/// A key that is not the one the secrets were encrypted with would mix two.
pub(super) fn check_secret_key(
    path: &Path,
    connection: &Connection,
    secret: Option<&SecretKey>,
) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    let ids: Vec<String> = connection
        .prepare("SELECT DISTINCT key_id FROM state_history WHERE key_id IS NOT NULL")
        .and_then(|mut statement| {
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })
        .map_err(failed)?;
    let Some(secret) = secret else {
        return Ok(());
    };
    match ids.into_iter().find(|id| id != secret.id()) {
        None => Ok(()),
        Some(needed) => Err(OpenError::OtherSecretKey {
            path: path.to_owned(),
            needed,
            given: secret.id().to_owned(),
        }),
    }
}
