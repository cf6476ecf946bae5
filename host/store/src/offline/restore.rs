//! The restore of a snapshot.
//!
//! A restore changes nothing before the snapshot was found complete: checksums, `integrity_check`, both chains. A database that is there is
//! moved aside, not deleted; one that is repeated after an interruption has it in the same place. The restore of a way back ([`restore_snapshot_keeping`]) leaves the schema
//! as it is, whichever version runs it: the version that goes on with the snapshot may be an earlier one. While the restore runs, the file `restore.pending` keeps a host from starting on half of it. A token that was
//! revoked since the snapshot stays revoked, as far as the database that is replaced can be read.

use std::path::{Path, PathBuf};

use ark_model::ids::{Millis, Name};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::json;

use crate::anchors::ANCHORS_FILE;
use crate::directory::{DirLock, RESTORE_PENDING, create_dir, database_path};
use crate::schema::RESTORABLE_AS_IT_IS_SINCE;
use crate::secrets::SecretKey;

use super::error::MaintenanceError;
use super::exclusive::{
    OfflineStore, OpenedSchema, keep_closed, make_admin_token, record_maintenance,
};
use super::replacing::{copy_file, write_file};
use super::restore_note::RestoreNote;
use super::revocations::{EarlierTokens, has_live_admin};
use super::snapshot::{AddedObjects, SnapshotManifest, check_snapshot_for, sync_directory};

/// Who is recorded as having kept a host closed over a restore.
const RESTORER: &str = "restore";

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// The manifest of the snapshot.
    pub manifest: SnapshotManifest,
    /// The directory that the earlier database was moved to.
    pub moved_aside: Option<PathBuf>,
    /// The statements that took triggers and constraints out which were in the snapshot and are none of ARK's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
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

/// Restores a snapshot into a data directory, with its schema brought up to date. With `replace`, a database that is there is moved aside.
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
    restore_current(snapshot, dir, replace, secret_key, AddedObjects::Refuse)
}

/// As [`restore_snapshot`], also a snapshot of a database to which somebody has added triggers or constraints: what is restored is without them. What they
/// have changed until the snapshot was made stays changed.
///
/// # Errors
/// As [`restore_snapshot`]; something of the schema is missing in the snapshot, or is another one.
pub fn restore_snapshot_dropping(
    snapshot: &Path,
    dir: &Path,
    replace: bool,
    secret_key: Option<&SecretKey>,
) -> Result<RestoreReport, MaintenanceError> {
    restore_current(snapshot, dir, replace, secret_key, AddedObjects::Drop)
}

fn restore_current(
    snapshot: &Path,
    dir: &Path,
    replace: bool,
    secret_key: Option<&SecretKey>,
    added: AddedObjects,
) -> Result<RestoreReport, MaintenanceError> {
    let mut how = RestoreWay {
        schema: OpenedSchema::Current,
        added,
        label: "",
        keep_token: &mut |_| Ok(()),
    };
    restore(snapshot, dir, replace, secret_key, &mut how)
}

/// As [`restore_snapshot`], but the schema stays that of the snapshot, so that the version which wrote it can open it, also where a later one restores
/// it. `label` is a name by which [`find_finished_restore`](super::find_finished_restore) finds it once it has ended; empty: none. `keep_token` is given the secret of a token that is made, before the restore is committed: what is kept then is there
/// whenever the token counts.
///
/// # Errors
/// As [`restore_snapshot`]; the schema is one that [`check_restorable`] refuses; the error of `keep_token`, after which the restore is to be repeated.
pub fn restore_snapshot_keeping(
    snapshot: &Path,
    dir: &Path,
    replace: bool,
    secret_key: Option<&SecretKey>,
    label: &str,
    keep_token: &mut dyn FnMut(&str) -> Result<(), MaintenanceError>,
) -> Result<RestoreReport, MaintenanceError> {
    let mut how = RestoreWay {
        schema: OpenedSchema::Found,
        added: AddedObjects::Refuse,
        label,
        keep_token,
    };
    restore(snapshot, dir, replace, secret_key, &mut how)
}

/// Whether [`restore_snapshot_keeping`] restores a snapshot of this schema.
///
/// # Errors
/// The schema is so early that this program cannot write in it what a restore records.
pub fn check_restorable(snapshot: &Path, schema: u32) -> Result<(), MaintenanceError> {
    if schema >= RESTORABLE_AS_IT_IS_SINCE {
        return Ok(());
    }
    Err(MaintenanceError::TooEarlySchema {
        path: snapshot.to_owned(),
        schema,
        first: RESTORABLE_AS_IT_IS_SINCE,
    })
}

/// What distinguishes one restore from another.
struct RestoreWay<'a> {
    schema: OpenedSchema,
    added: AddedObjects,
    label: &'a str,
    keep_token: &'a mut dyn FnMut(&str) -> Result<(), MaintenanceError>,
}

fn restore(
    snapshot: &Path,
    dir: &Path,
    replace: bool,
    secret_key: Option<&SecretKey>,
    how: &mut RestoreWay<'_>,
) -> Result<RestoreReport, MaintenanceError> {
    let (manifest, dropped) = check_snapshot_for(snapshot, secret_key, how.added)?;
    if how.schema == OpenedSchema::Found {
        check_restorable(snapshot, manifest.schema)?;
    }
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
    let noted = RestoreNote::read(&pending)?;
    let is_new = noted.is_none();
    let mut note = noted.unwrap_or_else(|| {
        let attested = lock.found_heads().map(|(audit, _)| audit.seq);
        RestoreNote::of(EarlierTokens::read(&database, attested))
    });
    if note.complete(dir, how.label, is_new) {
        write_file(&pending, json!(note).to_string().as_bytes())?;
    }
    sync_directory(dir)?;
    let moved_aside = note.move_database(dir)?;
    let earlier = &note.earlier;
    copy_file(&snapshot.join(ANCHORS_FILE), &dir.join(ANCHORS_FILE))?;
    copy_file(&database_path(snapshot), &database)?;
    if !dropped.is_empty() {
        drop_added_objects(&database, &dropped)?;
    }
    sync_directory(dir)?;
    let mut store = OfflineStore::open_locked(dir, lock, how.schema, secret_key)?;
    let transaction = store.connection.transaction()?;
    let now = Millis::now();
    let revoked_tokens = earlier.carry_over(&transaction, RESTORER, now)?;
    let live_tokens = earlier.list_doubtful(&transaction, now)?;
    let body = json!({
        "made_at_ms": manifest.made_at_ms,
        "audit": manifest.audit,
        "state": manifest.state,
        "revoked_tokens": revoked_tokens,
        "dropped": dropped,
    });
    record_maintenance(&transaction, "state.restore", &body)?;
    let reason = "it was so before a snapshot was restored";
    let mut token = keep_closed(&transaction, Some(access), RESTORER, reason)?;
    if !revoked_tokens.is_empty() && !has_live_admin(&transaction, now)? {
        let reason = "the administrators' tokens of the snapshot were revoked after it was made";
        token = Some(make_admin_token(&transaction, RESTORER, reason)?);
    }
    if let Some(token) = &token {
        (how.keep_token)(token)?;
    }
    transaction.commit()?;
    store.finish()?;
    RestoreNote::finish(&pending, dir, moved_aside.as_deref())?;
    Ok(RestoreReport {
        manifest,
        moved_aside,
        dropped,
        token,
        revoked_tokens,
        live_tokens,
    })
}

/// Takes out of a database what was added to its schema, before anything else is done to it: a trigger acts on each write.
fn drop_added_objects(database: &Path, removals: &[String]) -> Result<(), MaintenanceError> {
    let connection = Connection::open(database)?;
    // A table that is dropped has its rows deleted first, of which a foreign key would make more.
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF;")?;
    connection.execute_batch(&format!("BEGIN; {}; COMMIT;", removals.join("; ")))?;
    Ok(())
}
