//! What a start would find in a data directory, without taking its lock or changing anything. A host may run there.

use std::path::Path;
use std::time::SystemTime;

use ark_model::ids::Millis;

use crate::directory::{
    DatabaseEvidence, HostProcess, LockRecord, check_restore_finished, database_path,
    find_lock_holder, find_lock_process, read_lock_instance, read_lock_moment,
};
use crate::error::{OpenError, ReadError};
use crate::schema;

use super::read_only::ReadOnlyStore;

/// Returns the process id of the host that runs on a data directory, as far as it is known (`unknown`); `None`: none runs there.
#[must_use]
pub fn find_running_host(dir: &Path) -> Option<String> {
    find_lock_holder(dir)
}

/// Finds the process that has a data directory to itself: the host, or a command that works there while no host runs.
#[must_use]
pub fn find_host_process(dir: &Path) -> HostProcess {
    find_lock_process(dir)
}

/// Returns the name ([`crate::process_instance`]) of the process that has, or had last, a data directory to itself. `None`: none was there, it was of a
/// version that wrote none, or the file cannot be read.
#[must_use]
pub fn find_host_instance(dir: &Path) -> Option<String> {
    read_lock_instance(dir)
}

/// Returns when a process wrote last that it has a data directory to itself: at its start and, of a host, after each commit. So a later moment than
/// before says that a host was there since, also where it has ended. `None`: none ever was.
#[must_use]
pub fn last_host_moment(dir: &Path) -> Option<SystemTime> {
    read_lock_moment(dir)
}

/// Checks what a start checks before it uses the database of a data directory: that no restore was interrupted, that a database which was
/// there is there, that it has no later schema, and that it holds every row which is attested. Returns whether there is a database: a start
/// makes one where there never was one.
///
/// # Errors
/// What would end the start, see [`OpenError`].
pub fn check_directory(dir: &Path) -> Result<bool, OpenError> {
    check_restore_finished(dir)?;
    // What is attested is read before the database: a host that runs may add to both meanwhile.
    let lock = LockRecord::read(dir).map_err(|cause| OpenError::Directory {
        dir: dir.to_owned(),
        cause,
    })?;
    let evidence = DatabaseEvidence::collect(dir, lock)?;
    evidence.check_present()?;
    let path = database_path(dir);
    if !path.is_file() {
        return Ok(false);
    }
    let connection = schema::open_connection(&path)?;
    evidence.check_chains(&connection)?;
    schema::check_schema(&connection, &path)?;
    Ok(true)
}

impl ReadOnlyStore {
    /// Checks the pages of the database and its indexes (`PRAGMA integrity_check`). Returns the first finding; `None`: it is sound.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn check_pages(&self) -> Result<Option<String>, ReadError> {
        let finding: String = self.select_value("PRAGMA integrity_check(1)", [])?;
        Ok((finding != "ok").then_some(finding))
    }

    /// Returns what the schema has that changes no row, and that this program does not make, or lacks: unknown tables, missing indexes.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn schema_notes(&self) -> Result<Vec<String>, ReadError> {
        Ok(self.with_connection(schema::compare_schema)?.notes)
    }

    /// Returns when the first row of the audit log was recorded that is in the database; `None`: there is none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn first_recorded_at(&self) -> Result<Option<Millis>, ReadError> {
        let sql = "SELECT at FROM audit_log ORDER BY seq LIMIT 1";
        let first = self.select_row(sql, [], |row| row.get(0))?;
        Ok(first.map(Millis))
    }

    /// Returns the moment of the last row of the audit log; `None`: it has none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_recorded_at(&self) -> Result<Option<Millis>, ReadError> {
        let sql = "SELECT at FROM audit_log ORDER BY seq DESC LIMIT 1";
        let last = self.select_row(sql, [], |row| row.get(0))?;
        Ok(last.map(Millis))
    }

    /// Returns how the database keeps its journal, in lower case: `wal` for one that a host has opened.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn journal_mode(&self) -> Result<String, ReadError> {
        self.select_value("PRAGMA journal_mode", [])
    }
}
