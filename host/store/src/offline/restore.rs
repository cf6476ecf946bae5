//! The restore of a snapshot.
//!
//! A restore changes nothing before the snapshot was found complete: checksums, `integrity_check`, both chains. A database that is there is
//! moved aside, not deleted. While the restore runs, the file `restore.pending` keeps a host from starting on half of it. A token that was
//! revoked since the snapshot stays revoked, as far as the database that is replaced can be read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ark_model::ids::{Millis, Name};
use serde::Serialize;
use serde_json::json;

use crate::anchors::ANCHORS_FILE;
use crate::directory::{
    DATABASE_FILE, DirLock, RESTORE_PENDING, create_dir, create_new_dir, database_path,
};
use crate::secrets::SecretKey;

use super::error::MaintenanceError;
use super::exclusive::{OfflineStore, keep_closed, make_admin_token, record_maintenance};
use super::revocations::{EarlierTokens, has_live_admin};
use super::snapshot::{SnapshotManifest, check_snapshot, sync_directory};

/// The files of a database. The database itself is moved last: while it is there, nothing was given up.
pub(super) const DATABASE_FILES: [&str; 4] =
    ["ark.db-wal", "ark.db-shm", ANCHORS_FILE, DATABASE_FILE];
/// Who is recorded as having kept a host closed over a restore.
const RESTORER: &str = "restore";

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// The manifest of the snapshot.
    pub manifest: SnapshotManifest,
    /// The directory that the earlier database was moved to.
    pub moved_aside: Option<PathBuf>,
    /// The secret of an administrator's token, made since the earlier database had tokens and the snapshot has none, or none of an
    /// administrator that is still live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The tokens that are live in the snapshot and were revoked or gone in the earlier database: they are revoked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revoked_tokens: Vec<Name>,
    /// The tokens of the snapshot that are live, where the earlier database does not tell which were revoked since: there was none, it could
    /// not be read, or it was not the latest. An operator revokes again what was revoked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub live_tokens: Vec<Name>,
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
    restore_snapshot_keeping(snapshot, dir, replace, secret_key, &mut |_| Ok(()))
}

/// As [`restore_snapshot`]. `keep_token` is given the secret of a token that is made, before the restore is committed: what is kept then is there
/// whenever the token counts.
///
/// # Errors
/// As [`restore_snapshot`]; the error of `keep_token`, after which the restore is to be repeated.
pub fn restore_snapshot_keeping(
    snapshot: &Path,
    dir: &Path,
    replace: bool,
    secret_key: Option<&SecretKey>,
    keep_token: &mut dyn FnMut(&str) -> Result<(), MaintenanceError>,
) -> Result<RestoreReport, MaintenanceError> {
    let manifest = check_snapshot(snapshot, secret_key)?;
    create_dir(dir)?;
    let lock = DirLock::acquire(dir)?;
    // A directory without a host before it is as closed as the snapshot.
    let access = lock.found_access().unwrap_or_default();
    let database = database_path(dir);
    let pending = dir.join(RESTORE_PENDING);
    let repeated = pending.exists();
    if database.exists() && !replace && !repeated {
        return Err(MaintenanceError::DatabaseExists {
            dir: dir.to_owned(),
        });
    }
    // Where a restore was interrupted, the database that is here may be half of this snapshot.
    let kept = EarlierTokens::read_kept(&pending).filter(|_| repeated);
    let earlier = if let Some(kept) = kept {
        kept
    } else {
        let attested = lock.found_heads().map(|(audit, _)| audit.seq);
        let earlier = EarlierTokens::read(&database, attested);
        write_file(&pending, json!(earlier).to_string().as_bytes())?;
        earlier
    };
    sync_directory(dir)?;
    let moved_aside = move_aside(dir, "before-restore", &DATABASE_FILES)?;
    copy_file(&snapshot.join(ANCHORS_FILE), &dir.join(ANCHORS_FILE))?;
    copy_file(&database_path(snapshot), &database)?;
    sync_directory(dir)?;
    let mut store = OfflineStore::open_locked(dir, lock, secret_key)?;
    let transaction = store.connection.transaction()?;
    let now = Millis::now();
    let revoked_tokens = earlier.carry_over(&transaction, RESTORER, now)?;
    let live_tokens = earlier.list_doubtful(&transaction, now)?;
    let body = json!({
        "made_at_ms": manifest.made_at_ms,
        "audit": manifest.audit,
        "state": manifest.state,
        "revoked_tokens": revoked_tokens,
    });
    record_maintenance(&transaction, "state.restore", &body)?;
    let reason = "it was so before a snapshot was restored";
    let mut token = keep_closed(&transaction, Some(access), RESTORER, reason)?;
    if !revoked_tokens.is_empty() && !has_live_admin(&transaction, now)? {
        let reason = "the administrators' tokens of the snapshot were revoked after it was made";
        token = Some(make_admin_token(&transaction, RESTORER, reason)?);
    }
    if let Some(token) = &token {
        keep_token(token)?;
    }
    transaction.commit()?;
    store.finish()?;
    std::fs::remove_file(&pending).map_err(MaintenanceError::for_file(&pending))?;
    sync_directory(dir)?;
    Ok(RestoreReport {
        manifest,
        moved_aside,
        token,
        revoked_tokens,
        live_tokens,
    })
}

/// Moves files of the data directory into a new directory in it. Returns that directory; `None`: there was none of them.
///
/// The log and its index go with the database, whatever its state: a log that stayed would be read into the next one.
pub(super) fn move_aside(
    dir: &Path,
    prefix: &str,
    names: &[&str],
) -> Result<Option<PathBuf>, MaintenanceError> {
    let mut present = names
        .iter()
        .filter(|name| dir.join(name).symlink_metadata().is_ok())
        .peekable();
    if present.peek().is_none() {
        return Ok(None);
    }
    let aside = dir.join(format!("{prefix}-{}", Millis::now().0));
    create_new_dir(&aside).map_err(MaintenanceError::for_file(&aside))?;
    for name in present {
        let from = dir.join(name);
        std::fs::rename(&from, aside.join(name)).map_err(MaintenanceError::for_file(&from))?;
    }
    sync_directory(&aside)?;
    sync_directory(dir)?;
    Ok(Some(aside))
}

/// Copies a file to a path of the data directory, synced. See [`make_new`].
fn copy_file(from: &Path, to: &Path) -> Result<(), MaintenanceError> {
    let mut source = File::open(from).map_err(MaintenanceError::for_file(from))?;
    make_new(to, |made| io::copy(&mut source, made).map(drop))
}

/// Writes a file of the data directory, synced. See [`make_new`].
fn write_file(path: &Path, content: &[u8]) -> Result<(), MaintenanceError> {
    make_new(path, |made| made.write_all(content))
}

/// Makes a file beside its path and moves it there, so that it is there whole or not at all. No symbolic link is followed: root may do this in the
/// directory of another user, who could lead it to any file of the machine.
fn make_new(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), MaintenanceError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let made = || -> io::Result<()> {
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        write(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    made().map_err(MaintenanceError::for_file(path))
}
