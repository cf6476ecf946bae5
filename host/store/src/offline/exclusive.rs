//! A store that nobody else uses, for maintenance that changes it.

use std::path::{Path, PathBuf};

use ark_model::control::Halt;
use ark_model::ids::{AuditId, Millis, Name, ParseIdError};
use ark_model::principal::Role;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::anchors::write_anchor;
use crate::directory::{
    AccessMarks, DatabaseAttestation, DatabaseEvidence, DirLock, check_restore_finished,
    database_path, give_made,
};
use crate::error::OpenError;
use crate::operator_change::{NewToken, TokenChange};
use crate::schema::{self, UnmigratedConnection};
use crate::secrets::SecretKey;
use crate::tables::audit::{
    AuditEntry, AuditKind, append_entry, read_audit_head, write_missing_rows, write_rows_of_last,
};
use crate::tables::control::{
    ControlChange, TokenSecret, write_control_change, write_token_change,
};
use crate::tables::state::read_state_head;

use super::error::MaintenanceError;

/// Which schema a database has once it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenedSchema {
    /// That of this program.
    Current,
    /// The one that was found, for the version which wrote the database.
    Found,
}

/// A database whose data directory is locked, so that no host runs on it.
pub(super) struct OfflineStore {
    pub(super) connection: Connection,
    dir: PathBuf,
    lock: DirLock,
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
        let evidence = DatabaseEvidence::collect(dir, lock.found())?;
        evidence.check_present()?;
        let unmigrated = schema::connect_writer(&path, None)?;
        evidence.check_chains(&unmigrated.connection)?;
        Self::finish_opening(dir, lock, unmigrated, OpenedSchema::Current, secret_key)
    }

    /// As [`OfflineStore::open`], with a lock that the caller has taken, whatever is attested: for what replaces the database.
    pub(super) fn open_locked(
        dir: &Path,
        lock: DirLock,
        schema: OpenedSchema,
        secret_key: Option<&SecretKey>,
    ) -> Result<Self, MaintenanceError> {
        let unmigrated = schema::connect_writer(&database_path(dir), None)?;
        Self::finish_opening(dir, lock, unmigrated, schema, secret_key)
    }

    fn finish_opening(
        dir: &Path,
        lock: DirLock,
        unmigrated: UnmigratedConnection,
        schema: OpenedSchema,
        secret_key: Option<&SecretKey>,
    ) -> Result<Self, MaintenanceError> {
        let path = database_path(dir);
        let mut connection = match schema {
            OpenedSchema::Current => unmigrated.migrate(&path, secret_key)?,
            OpenedSchema::Found => unmigrated.keep_schema(&path)?,
        };
        write_missing_rows(&mut connection)?;
        // What is replaced or deleted must not be found in the file afterwards.
        connection.query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))?;
        Ok(Self {
            connection,
            dir: dir.to_owned(),
            lock,
        })
    }

    /// Writes the write-ahead log back to the database file, anchors the chains and attests them.
    pub(super) fn finish(self) -> Result<(), MaintenanceError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let audit = read_audit_head(&self.connection)?;
        let state = read_state_head(&self.connection)?;
        write_anchor(&self.dir, audit, state).map_err(MaintenanceError::for_file(&self.dir))?;
        let attestation = DatabaseAttestation {
            audit,
            state,
            access: AccessMarks::read(&self.connection)?,
        };
        self.lock
            .attest(&attestation)
            .map_err(MaintenanceError::for_file(self.lock.path()))?;
        give_made(&self.dir).map_err(MaintenanceError::for_file(&self.dir))
    }
}

/// Why a host is halted whose database has other quarantines than the one before.
const QUARANTINES_LOST: &str = "the agents in quarantine are not those of before: look for them in the database that was moved aside, quarantine again what must be, then resume";

/// Keeps a host as closed as the one before it, when its database is replaced by one that may be older or empty: a halt stays, there is one when
/// the agents in quarantine are not those of before, and where calls needed tokens they go on needing one. Returns the secret of the administrator's token that is made when there is none.
///
/// `before`: what kept the host closed; `None`: nobody attests it, so calls need a token. Within the caller's transaction.
pub(super) fn keep_closed(
    connection: &Connection,
    before: Option<AccessMarks>,
    by: &str,
    reason: &str,
) -> Result<Option<String>, MaintenanceError> {
    let marks = AccessMarks::read(connection)?;
    if before.is_some_and(|before| before.is_halted) && !marks.is_halted {
        begin_halt(connection, by, reason)?;
    } else if before.is_some_and(|before| before.loses_quarantines(&marks)) && !marks.is_halted {
        begin_halt(connection, by, QUARANTINES_LOST)?;
    }
    if marks.has_tokens || before.is_some_and(|before| !before.has_tokens) {
        return Ok(None);
    }
    make_admin_token(connection, by, reason).map(Some)
}

/// Makes an administrator's token, within the caller's transaction. Returns its secret.
pub(super) fn make_admin_token(
    connection: &Connection,
    by: &str,
    reason: &str,
) -> Result<String, MaintenanceError> {
    let now = Millis::now();
    let secret =
        TokenSecret::generate().map_err(|error| MaintenanceError::Token(error.to_string()))?;
    let name: Name = format!("admin-{}", now.0)
        .parse()
        .map_err(|error: ParseIdError| MaintenanceError::Token(error.to_string()))?;
    let token = NewToken {
        name: name.clone(),
        hash: secret.hash(),
        role: Role::Admin,
        agents: Vec::new(),
        actions: Vec::new(),
        expires_at: None,
        unproved: false,
    };
    write_token_change(connection, &TokenChange::Create(token), by, now)?;
    let body = json!({"by": by, "key": name, "role": Role::Admin.as_str(), "reason": reason});
    record_maintenance(connection, "state.first_token", &body)?;
    Ok(secret.reveal().to_owned())
}

/// Halts the host that starts next, within the caller's transaction.
pub(crate) fn begin_halt(connection: &Connection, by: &str, reason: &str) -> rusqlite::Result<()> {
    let halt = Halt {
        reason: reason.to_owned(),
        by: by.to_owned(),
        at_ms: Millis::now(),
    };
    write_control_change(connection, &ControlChange::Halt(halt))?;
    // Not an order: a fleet passes orders on, and this halt is about this host's data.
    record_maintenance(
        connection,
        "state.halt",
        &json!({"by": by, "reason": reason}),
    )
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
        subject: None,
    };
    let mut head = read_audit_head(connection)?;
    let seq = append_entry(connection, &mut head, &entry)?;
    write_rows_of_last(connection, seq, &entry)
}
