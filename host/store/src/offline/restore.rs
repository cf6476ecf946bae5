//! The restore of a snapshot.
//!
//! A restore changes nothing before the snapshot was found complete: checksums, `integrity_check`, both chains. A database that is there is
//! moved aside, not deleted. While the restore runs, the file `restore.pending` keeps a host from starting on half of it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ark_model::ids::Millis;
use rusqlite::Connection;
use serde::Serialize;
use serde_json::json;

use crate::anchors::ANCHORS_FILE;
use crate::directory::{
    DATABASE_FILE, DirLock, RESTORE_PENDING, create_dir, create_new_dir, database_path,
};
use crate::secrets::SecretKey;

use super::error::MaintenanceError;
use super::exclusive::{OfflineStore, record_maintenance};
use super::snapshot::{SnapshotManifest, check_snapshot, sync};

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// The manifest of the snapshot.
    pub manifest: SnapshotManifest,
    /// The directory that the earlier database was moved to.
    pub moved_aside: Option<PathBuf>,
}

/// Restores a snapshot into a data directory. With `replace`, a database that is there is moved aside.
///
/// # Errors
/// See [`MaintenanceError`]. Nothing was changed when the snapshot is not complete or of a later schema, when a host runs on the directory,
/// or when there is a database and `replace` is not set.
pub fn restore_snapshot(
    snapshot: &Path,
    dir: &Path,
    replace: bool,
    secret_key: Option<&SecretKey>,
) -> Result<RestoreReport, MaintenanceError> {
    let manifest = check_snapshot(snapshot, secret_key)?;
    create_dir(dir)?;
    let lock = DirLock::acquire(dir)?;
    let database = database_path(dir);
    let pending = dir.join(RESTORE_PENDING);
    let repeated = pending.exists();
    if database.exists() && !replace && !repeated {
        return Err(MaintenanceError::DatabaseExists {
            dir: dir.to_owned(),
        });
    }
    std::fs::write(&pending, b"").map_err(MaintenanceError::for_file(&pending))?;
    sync(dir)?;
    let moved_aside = if database.exists() {
        Some(move_aside(dir)?)
    } else {
        None
    };
    let fresh = dir.join("ark.db.restoring");
    copy_file(&database_path(snapshot), &fresh)?;
    copy_file(&snapshot.join(ANCHORS_FILE), &dir.join(ANCHORS_FILE))?;
    std::fs::rename(&fresh, &database).map_err(MaintenanceError::for_file(&database))?;
    sync(dir)?;
    let mut store = OfflineStore::open_locked(dir, lock, secret_key)?;
    let transaction = store.connection.transaction()?;
    let body = json!({"made_at_ms": manifest.made_at_ms, "audit": manifest.audit, "state": manifest.state});
    record_maintenance(&transaction, "state.restore", &body)?;
    transaction.commit()?;
    store.finish()?;
    std::fs::remove_file(&pending).map_err(MaintenanceError::for_file(&pending))?;
    sync(dir)?;
    Ok(RestoreReport {
        manifest,
        moved_aside,
    })
}

/// Moves the database and the files beside it into a new directory in the data directory. Returns that directory.
fn move_aside(dir: &Path) -> Result<PathBuf, MaintenanceError> {
    if let Ok(old) = Connection::open(database_path(dir)) {
        // The log of a broken database cannot be written back; it is moved with the database.
        let _ = old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    let aside = dir.join(format!("before-restore-{}", Millis::now().0));
    create_new_dir(&aside).map_err(MaintenanceError::for_file(&aside))?;
    for name in ["ark.db-wal", "ark.db-shm", ANCHORS_FILE, DATABASE_FILE] {
        let from = dir.join(name);
        if from.exists() {
            std::fs::rename(&from, aside.join(name)).map_err(MaintenanceError::for_file(&from))?;
        }
    }
    sync(&aside)?;
    sync(dir)?;
    Ok(aside)
}

/// Copies a file of a snapshot, which may be read-only, and makes the copy writable for its owner alone.
fn copy_file(from: &Path, to: &Path) -> Result<(), MaintenanceError> {
    std::fs::copy(from, to)
        .and_then(|_| std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600)))
        .map_err(MaintenanceError::for_file(to))?;
    sync(to)
}
