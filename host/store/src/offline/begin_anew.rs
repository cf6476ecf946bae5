//! A new beginning: the order to give up what a database held, where it is lost and no snapshot brings it back.
//!
//! What is left of it is kept aside. The new database is halted, since positions and limits of the old one are not known, and calls need a
//! token, unless it is attested that they needed none. The order is the first row of the new audit log.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use crate::anchors::ANCHORS_FILE;
use crate::directory::{
    CAPSULES_DIR, DATABASE_FILE, DatabaseEvidence, DirLock, RESTORE_PENDING, create_dir,
    database_path,
};
use crate::secrets::SecretKey;

use super::error::MaintenanceError;
use super::exclusive::{OfflineStore, OpenedSchema, begin_halt, keep_closed, record_maintenance};
use super::replacing::{move_aside, write_file};
use super::snapshot::sync_directory;

/// What a new beginning moves aside, the database last.
const EARLIER_FILES: [&str; 9] = [
    "ark.db.restoring",
    "ark.db.new",
    "anchors.jsonl.new",
    "restore.pending.new",
    "ark.db-wal",
    "ark.db-shm",
    CAPSULES_DIR,
    ANCHORS_FILE,
    DATABASE_FILE,
];

/// What a new beginning did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewBeginning {
    /// The directory that what was there was moved to.
    pub moved_aside: Option<PathBuf>,
    /// The secret of the administrator's token; absent: the earlier host needed none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Gives up the database of a data directory, and begins a new one.
///
/// # Errors
/// See [`MaintenanceError`]: a host runs on the directory, or there is nothing to give up. After an interruption no host starts on the
/// directory until the call is repeated.
pub fn begin_anew(
    dir: &Path,
    by: &str,
    reason: &str,
    secret_key: Option<&SecretKey>,
) -> Result<NewBeginning, MaintenanceError> {
    create_dir(dir)?;
    let lock = DirLock::acquire(dir)?;
    let pending = dir.join(RESTORE_PENDING);
    let has_database = database_path(dir).symlink_metadata().is_ok();
    // Anchors that cannot be read are given up too.
    let is_traced =
        DatabaseEvidence::collect(dir, lock.found()).map_or(true, |evidence| !evidence.is_empty());
    if !has_database && !is_traced && !pending.exists() {
        return Err(MaintenanceError::NothingToReplace {
            dir: dir.to_owned(),
        });
    }
    let (attested, access) = (lock.found_heads(), lock.found_access());
    write_file(&pending, b"")?;
    sync_directory(dir)?;
    let moved_aside = move_aside(dir, "before-anew", &EARLIER_FILES)?;
    let mut store = OfflineStore::open_locked(dir, lock, OpenedSchema::Current, secret_key)?;
    let transaction = store.connection.transaction()?;
    let body = json!({
        "by": by,
        "reason": reason,
        "moved_aside": moved_aside,
        "audit": attested.map(|(audit, _)| audit),
        "state": attested.map(|(_, state)| state),
    });
    record_maintenance(&transaction, "state.begin_anew", &body)?;
    let halt = format!(
        "the data was given up ({reason}): check positions, lists, quarantines and tokens, then resume"
    );
    begin_halt(&transaction, by, &halt)?;
    let token = keep_closed(&transaction, access, by, reason)?;
    transaction.commit()?;
    store.finish()?;
    std::fs::remove_file(&pending).map_err(MaintenanceError::for_file(&pending))?;
    sync_directory(dir)?;
    Ok(NewBeginning { moved_aside, token })
}
