//! A store that nobody else uses, for maintenance that changes it.

use std::path::{Path, PathBuf};

use ark_model::ids::{AuditId, Millis};
use rusqlite::Connection;
use serde_json::Value;

use crate::anchors::write_anchor;
use crate::directory::{DirLock, check_restore_finished, database_path};
use crate::error::OpenError;
use crate::schema;
use crate::secrets::SecretKey;
use crate::tables::audit::{
    AuditEntry, AuditKind, append_entry, read_audit_head, write_audit_line,
};
use crate::tables::state::read_state_head;

use super::error::MaintenanceError;

/// A database whose data directory is locked, so that no host runs on it.
pub(super) struct OfflineStore {
    pub(super) connection: Connection,
    dir: PathBuf,
    _lock: DirLock,
}

impl OfflineStore {
    /// Takes the lock and opens the database, with its schema brought up to date.
    pub(super) fn open(
        dir: &Path,
        secret_key: Option<&SecretKey>,
    ) -> Result<Self, MaintenanceError> {
        let path = database_path(dir);
        if !path.is_file() {
            return Err(OpenError::Missing { path }.into());
        }
        let lock = DirLock::acquire(dir)?;
        check_restore_finished(dir)?;
        Self::open_locked(dir, lock, secret_key)
    }

    /// As [`OfflineStore::open`], with a lock that the caller has taken.
    pub(super) fn open_locked(
        dir: &Path,
        lock: DirLock,
        secret_key: Option<&SecretKey>,
    ) -> Result<Self, MaintenanceError> {
        let connection = schema::open_writer(&database_path(dir), None, secret_key)?;
        // What is replaced or deleted must not be found in the file afterwards.
        connection.query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))?;
        Ok(Self {
            connection,
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// Writes the write-ahead log back to the database file, and anchors the chains.
    pub(super) fn finish(self) -> Result<(), MaintenanceError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let audit = read_audit_head(&self.connection)?;
        let state = read_state_head(&self.connection)?;
        write_anchor(&self.dir, audit, state).map_err(MaintenanceError::for_file(&self.dir))
    }
}

/// Records in the audit log and the session log what was done, within the caller's transaction.
pub(super) fn record_maintenance(
    connection: &Connection,
    action: &str,
    body: &Value,
) -> rusqlite::Result<()> {
    let entry = AuditEntry {
        kind: AuditKind::Control,
        id: AuditId::fresh(),
        trace_id: None,
        agent: None,
        action_type: Some(action.to_owned()),
        outcome: None,
        at: Millis::now(),
        body: body.to_string(),
    };
    let mut head = read_audit_head(connection)?;
    append_entry(connection, &mut head, &entry)?;
    write_audit_line(connection, &entry)
}
