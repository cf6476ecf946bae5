//! Opens connections to the database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};

use crate::database_limit::DatabaseLimitShares;
use crate::error::OpenError;
use crate::query::{is_interrupted, limit_statements};
use crate::reader::Reader;
use crate::secrets::SecretKey;

use super::comparison::compare_schema;
use super::migrations::migrate_schema;
use super::version::{check_version, current_schema, read_version};

/// A database up to this size is checked as a whole when it is opened. `PRAGMA quick_check` reads every page: on a larger database it would
/// delay the start by seconds.
const QUICK_CHECK_BYTES: u64 = 32 * 1024 * 1024;
/// How long the pages of a larger database are checked when it is opened. The rest is checked beside serving.
const QUICK_CHECK_TIME: Duration = Duration::from_secs(1);

/// A writing connection whose schema may be an earlier one.
pub(crate) struct UnmigratedConnection {
    /// The connection, to look at the database before anything is changed.
    pub(crate) connection: Connection,
    found: u32,
}

/// Opens the writing connection (write-ahead log, every commit synced).
///
/// `max_bytes` limits the size of the database and its log together.
pub(crate) fn connect_writer(
    path: &Path,
    max_bytes: Option<u64>,
) -> Result<UnmigratedConnection, OpenError> {
    let failed = |error| OpenError::from_sqlite(path, error);
    let connection = Connection::open(path).map_err(failed)?;
    let found = configure_writer(&connection, max_bytes).map_err(failed)?;
    check_version(path, found)?;
    Ok(UnmigratedConnection { connection, found })
}

impl UnmigratedConnection {
    /// Brings the schema up to date, and checks the pages of a small database.
    pub(crate) fn migrate(
        self,
        path: &Path,
        secret_key: Option<&SecretKey>,
    ) -> Result<Connection, OpenError> {
        let failed = |error| OpenError::from_sqlite(path, error);
        let Self {
            mut connection,
            found,
        } = self;
        // Before the first write: a trigger acts on each.
        check_schema(&connection, path)?;
        // Secrets that an earlier version kept unencrypted must not stay in pages that a migration frees.
        set_pragma(&connection, "PRAGMA secure_delete = ON").map_err(failed)?;
        migrate_schema(&mut connection, path, found..current_schema(), secret_key)?;
        set_pragma(&connection, "PRAGMA secure_delete = OFF").map_err(failed)?;
        if found > 0 && found < current_schema() {
            set_pragma(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed)?;
        }
        check_pages(&mut connection, path)?;
        Ok(connection)
    }

    /// Leaves the schema as it is, for the version that wrote it, and checks the pages of a small database.
    pub(crate) fn keep_schema(self, path: &Path) -> Result<Connection, OpenError> {
        let mut connection = self.connection;
        check_schema(&connection, path)?;
        check_pages(&mut connection, path)?;
        Ok(connection)
    }
}

/// Refuses a database with a trigger or a constraint that this program's migrations do not make, or without one that they make.
pub(crate) fn check_schema(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let findings =
        compare_schema(connection).map_err(|error| OpenError::from_sqlite(path, error))?;
    if findings.faults.is_empty() {
        return Ok(());
    }
    Err(OpenError::ForeignSchema {
        path: path.to_owned(),
        findings: findings.faults.join("; "),
        removals: findings.removals().to_vec(),
    })
}

/// Checks the pages of a database: of a small one all, of a larger one as many as [`QUICK_CHECK_TIME`] allows.
fn check_pages(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::from_sqlite(path, error);
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let longest = (bytes > QUICK_CHECK_BYTES).then_some(QUICK_CHECK_TIME);
    limit_statements(connection, longest).map_err(failed)?;
    let finding = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    limit_statements(connection, None).map_err(failed)?;
    match finding {
        Ok(finding) if finding == "ok" => Ok(()),
        Ok(finding) => Err(OpenError::Damaged {
            path: path.to_owned(),
            finding,
        }),
        Err(error) if is_interrupted(&error) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Counts the frames in the write-ahead log after every commit. From then on the connection makes no checkpoint by itself.
/// Returns the bytes of a page.
pub(crate) fn count_log_frames(
    connection: &mut Connection,
    frames: Arc<AtomicU64>,
) -> rusqlite::Result<u64> {
    connection.wal_hook(Some(move |_: &mut Wal, pages| {
        frames.store(u64::try_from(pages).unwrap_or(0), Ordering::Release);
        Ok(())
    }))?;
    connection.query_row("PRAGMA page_size", [], |row| row.get(0))
}

/// Sets the pragmas of the writing connection. Returns the version of the schema.
///
/// The size of a page counts for a new database only. A commit writes each page that it touches as a whole, and it touches one or two of each table
/// and index: so small pages are what makes it small.
fn configure_writer(connection: &Connection, max_bytes: Option<u64>) -> rusqlite::Result<u32> {
    connection.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384;
         PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;",
    )?;
    // An insert of rows has a statement for each number of rows.
    connection.set_prepared_statement_cache_capacity(256);
    plan_without_values(connection)?;
    if let Some(max_bytes) = max_bytes {
        let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let shares = DatabaseLimitShares::for_limit(max_bytes, page);
        let pages = shares.database_pages;
        set_pragma(connection, &format!("PRAGMA max_page_count = {pages}"))?;
    }
    read_version(connection)
}

/// Has the plan of a statement chosen without looking at the values of its parameters (the query planner stability guarantee), so that what a guest or a
/// caller gives has no part in it. Otherwise a statement on whose plan a parameter might have a bearing (a limit, a comparison without an index) is prepared
/// anew each time it is taken from the cache of statements, which can take longer than all else of a lookup.
pub(super) fn plan_without_values(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

fn set_pragma(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.query_row(sql, [], |_| Ok(()))
}

/// Opens the connection that writes the log back to the database. It waits for nobody, and syncs the database before the log may be restarted.
pub(crate) fn connect_checkpoints(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::from_sqlite(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(Duration::ZERO).map_err(failed)?;
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -256; PRAGMA trusted_schema = OFF;")
        .map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(crate) fn open_connection(path: &Path) -> Result<Connection, OpenError> {
    let connection = open_any_schema(path)?;
    let found = read_version(&connection).map_err(|error| OpenError::from_sqlite(path, error))?;
    check_version(path, found)?;
    Ok(connection)
}

/// As [`open_connection`], also where a later program wrote the database: for what every schema has.
pub(crate) fn open_any_schema(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::from_sqlite(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(failed)?;
    connection
        .execute_batch(
            "PRAGMA query_only = ON; PRAGMA cache_size = -4096; PRAGMA trusted_schema = OFF;",
        )
        .map_err(failed)?;
    plan_without_values(&connection).map_err(failed)?;
    Ok(connection)
}

/// Opens `count` connections for a reader.
pub(crate) fn open_reader(
    path: &Path,
    count: usize,
    secret_key: Option<&SecretKey>,
) -> Result<Reader, OpenError> {
    let connections = (0..count)
        .map(|_| open_connection(path))
        .collect::<Result<Vec<_>, _>>()?;
    let schema = match connections.first() {
        Some(connection) => {
            read_version(connection).map_err(|error| OpenError::from_sqlite(path, error))?
        }
        None => current_schema(),
    };
    Ok(Reader::new(connections, schema, secret_key.cloned()))
}

/// Refuses an encryption key that is not the one the database's secrets were encrypted with: new secrets would need another key than old
/// ones.
pub(crate) fn check_secret_key(
    path: &Path,
    connection: &Connection,
    secret_key: Option<&SecretKey>,
) -> Result<(), OpenError> {
    let Some(secret_key) = secret_key else {
        return Ok(());
    };
    let ids = crate::query::select_rows(
        connection,
        "SELECT DISTINCT key_id FROM state_history WHERE key_id IS NOT NULL AND key_id NOT GLOB 'given-up:*'",
        [],
        |row| row.get::<_, String>(0),
    )
    .map_err(|error| OpenError::from_sqlite(path, error))?;
    match ids.into_iter().find(|id| id != secret_key.id()) {
        None => Ok(()),
        Some(needed) => Err(OpenError::OtherSecretKey {
            path: path.to_owned(),
            needed,
            given: secret_key.id().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{StatementStatus, params};

    #[test]
    fn a_statement_is_prepared_once_whatever_its_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ark.db");
        let writer = connect_writer(&path, None)
            .and_then(|connection| connection.migrate(&path, None))
            .unwrap();
        let reader = open_connection(&path).unwrap();
        let other = Connection::open(&path).unwrap();
        for sql in [
            "SELECT s.topic FROM deliveries d JOIN signals s ON s.id = d.signal_id
             WHERE d.signal_id = ?1 AND d.agent = ?2 AND d.status = 'pending'",
            "SELECT body FROM audit_log WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        ] {
            let count_preparations = |connection: &Connection| {
                for (one, other) in [("1", 1), ("2", 2), ("2", 2)] {
                    let mut statement = connection.prepare_cached(sql).unwrap();
                    assert!(!statement.exists(params![one, other]).unwrap());
                }
                let statement = connection.prepare_cached(sql).unwrap();
                statement.get_status(StatementStatus::RePrepare)
            };
            // Without the guarantee each use of the statement has it prepared anew.
            assert!(count_preparations(&other) >= 2, "{sql}");
            assert_eq!(count_preparations(&reader), 0, "{sql}");
            assert_eq!(count_preparations(&writer), 0, "{sql}");
        }
    }
}
