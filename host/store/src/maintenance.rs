//! What is done to a store that no host runs on: each takes the lock of the data directory, and tells the audit log.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde_json::Value;

use ark_model::ids::{DecisionId, Digest, Millis};

use super::audit::{self, AuditEntry, AuditKind};
use super::error::{OpenError, ReadError};
use super::lock::{self, DirLock};
use super::secrets::{SecretError, SecretKey, SecretKeyError, StateAddress};
use super::{database_path, history, schema, session_log, verify};

/// Why something could not be done to a store.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database refused.
    #[error("the database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The key for secrets.
    #[error(transparent)]
    Key(#[from] SecretKeyError),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not as it must be; nothing was changed.
    #[error("{0}")]
    Refused(String),
}

impl MaintenanceError {
    pub(super) fn for_file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// A store that nobody else uses meanwhile.
pub(super) struct OfflineStore {
    pub(super) connection: Connection,
    pub(super) dir: PathBuf,
    _lock: DirLock,
}

impl OfflineStore {
    /// Takes the lock and opens the database, bringing its schema up to date.
    pub(super) fn open(dir: &Path, secret: Option<&SecretKey>) -> Result<Self, MaintenanceError> {
        let path = database_path(dir);
        if !path.is_file() {
            return Err(OpenError::Missing { path }.into());
        }
        let lock = DirLock::acquire(dir)?;
        lock::check_restore_finished(dir)?;
        Self::open_locked(dir, lock, secret)
    }

    /// As [`Closed::open`], with the lock already taken.
    pub(super) fn open_locked(
        dir: &Path,
        lock: DirLock,
        secret: Option<&SecretKey>,
    ) -> Result<Self, MaintenanceError> {
        let path = database_path(dir);
        let connection = schema::open_writer(&path, None, secret)?;
        // What is replaced or removed here is not to be found in the file afterwards.
        connection.query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))?;
        Ok(Self {
            connection,
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// Makes what was committed the database file's own, and anchors the chains.
    pub(super) fn finish(self) -> Result<(), MaintenanceError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let heads = (
            audit::read_audit_head(&self.connection)?,
            history::read_state_head(&self.connection)?,
        );
        verify::write_anchor(&self.dir, heads.0, heads.1)
            .map_err(MaintenanceError::for_file(&self.dir))
    }
}

/// Tells the audit log and the session log what was done; part of the caller's transaction.
pub(super) fn record_maintenance(
    connection: &Connection,
    action: &str,
    body: &Value,
) -> rusqlite::Result<()> {
    let entry = AuditEntry {
        kind: AuditKind::Control,
        id: DecisionId::fresh().to_string(),
        trace_id: None,
        agent: None,
        action_type: Some(action.to_owned()),
        outcome: None,
        at: Millis::now(),
        body: body.to_string(),
    };
    let mut head = audit::read_audit_head(connection)?;
    audit::append_entry(connection, &mut head, &entry)?;
    session_log::write_audit_line(connection, &entry)
}

/// Encrypts every secret, of every revision, with another key; all or none. How many.
///
/// # Errors
/// See [`MaintenanceError`]: a host runs, the old key is missing or another one, a secret does not decrypt. Nothing was changed.
pub fn rekey_secrets(
    dir: &Path,
    old: Option<&SecretKey>,
    new: &SecretKey,
) -> Result<u64, MaintenanceError> {
    let mut store = OfflineStore::open(dir, old)?;
    let transaction = store.connection.transaction()?;
    let mut count = 0;
    {
        let mut statement = transaction.prepare(
            "SELECT seq, agent, key, revision, value, key_id FROM state_history WHERE key_id IS NOT NULL ORDER BY seq",
        )?;
        let mut update = transaction
            .prepare("UPDATE state_history SET value = ?2, key_id = ?3 WHERE seq = ?1")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (agent, key): (String, String) = (row.get(1)?, row.get(2)?);
            let (value, key_id): (String, String) = (row.get(4)?, row.get(5)?);
            let old = old.ok_or_else(|| SecretError::NoKey { key: key.clone() })?;
            let place = StateAddress {
                agent: &agent,
                key: &key,
                revision: row.get(3)?,
            };
            let sealed = old.reseal_value(new, place, &key_id, &value)?;
            update.execute(params![row.get::<_, u64>(0)?, sealed.text, new.id()])?;
            count += 1;
        }
    }
    transaction.execute_batch(history::UPDATE_LIVE_SECRETS)?;
    let from = old.map(SecretKey::id);
    let body = serde_json::json!({"from_key": from, "to_key": new.id(), "secrets": count});
    record_maintenance(&transaction, "secrets.rekey", &body)?;
    transaction.commit()?;
    store.finish()?;
    Ok(count)
}

/// The SHA-256 and the size of a file.
pub(super) fn digest_file(path: &Path) -> Result<(Digest, u64), MaintenanceError> {
    use sha2::{Digest as _, Sha256};
    let failed = |source| MaintenanceError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer).map_err(failed)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            return Ok((Digest::from_bytes(hasher.finalize().into()), bytes));
        };
        hasher.update(part);
        bytes += part.len() as u64;
    }
}

/// Makes a directory's entries durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), MaintenanceError> {
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(MaintenanceError::for_file(dir))
}

/// The directory a path stands in.
pub(super) fn parent_dir(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
