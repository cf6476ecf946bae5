//! Snapshots: a copy of the database at one moment, taken while a host runs or not, and its restore.
//!
//! A snapshot is a directory: `ark.db`, `anchors.jsonl` (up to that moment) and `manifest.json` with schema, heads of both chains, sizes and
//! SHA-256 digests. It appears under its name only when it is whole and on disk. Secrets in it are encrypted as in the database.
//!
//! A restore changes nothing before the snapshot was found whole: checksums, `integrity_check`, both chains. What was there is moved
//! aside, not deleted. While it runs, the file `restore.pending` keeps a host from starting on half of it.

use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde::{Deserialize, Serialize};
use serde_json::json;

use ark_model::ids::{Digest, Millis};

use super::audit::{self, ChainHead};
use super::error::OpenError;
use super::lock::{self, DirLock, RESTORE_PENDING};
use super::maintenance::{
    MaintenanceError, OfflineStore, digest_file, parent_dir, record_maintenance, sync_dir,
};
use super::secrets::SecretKey;
use super::{ReadOnlyStore, database_path, history, schema, verify};

const MANIFEST_FILE: &str = "manifest.json";
const SNAPSHOT_FORMAT: &str = "ark-snapshot/1";
/// How often a copy that a checkpoint got in the way of is tried again, 10 ms apart.
const MAX_BUSY_TRIES: u32 = 1000;

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of the snapshot.
    pub format: String,
    /// The schema of its database.
    pub schema: u32,
    /// When it was taken.
    pub made_at_ms: Millis,
    /// The head of the audit log.
    pub audit: ChainHead,
    /// The head of the state's history; absent before schema 3.
    pub state: Option<ChainHead>,
    /// Its files.
    pub files: Vec<SnapshotFile>,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// The snapshot.
    pub manifest: Manifest,
    /// Where what was there before has been moved.
    pub moved_aside: Option<PathBuf>,
}

/// Takes a snapshot of a data directory into a new directory. A host may run on it.
///
/// # Errors
/// See [`MaintenanceError`]; then there is no snapshot.
pub fn create_snapshot(dir: &Path, to: &Path) -> Result<Manifest, MaintenanceError> {
    if to.exists() {
        return Err(MaintenanceError::Refused(format!(
            "{} exists; name a new directory",
            to.display()
        )));
    }
    let partial = to.with_extension("partial");
    let made = write_snapshot(dir, &partial).and_then(|manifest| {
        std::fs::rename(&partial, to).map_err(MaintenanceError::for_file(to))?;
        sync_dir(parent_dir(to))?;
        Ok(manifest)
    });
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    made
}

fn write_snapshot(dir: &Path, partial: &Path) -> Result<Manifest, MaintenanceError> {
    let source = database_path(dir);
    if !source.is_file() {
        return Err(OpenError::Missing { path: source }.into());
    }
    lock::create_new_dir(partial).map_err(MaintenanceError::for_file(partial))?;
    let target = database_path(partial);
    let from = schema::open_reader(&source)?;
    let mut to = Connection::open(&target)?;
    {
        let backup = Backup::new(&from, &mut to)?;
        let mut tries = 0;
        // In one step, so that all pages are of one moment.
        while backup.step(-1)? != StepResult::Done {
            tries += 1;
            if tries > MAX_BUSY_TRIES {
                let reason = "the database was busy for too long; try again";
                return Err(MaintenanceError::Refused(reason.to_owned()));
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    // One file, without a log beside it.
    to.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    check_integrity(&to, &target)?;
    let schema = schema::read_version(&to)?;
    let audit = audit::read_audit_head(&to)?;
    let state = (schema >= 3)
        .then(|| history::read_state_head(&to))
        .transpose()?;
    let state = state.map(|head| ChainHead {
        seq: head.seq,
        hash: head.hash,
    });
    drop(to);
    sync_file(&target)?;
    let anchors = verify::read_anchors(dir).map_err(MaintenanceError::for_file(dir))?;
    let path = partial.join(verify::ANCHORS_FILE);
    let mut file = std::fs::File::create(&path).map_err(MaintenanceError::for_file(&path))?;
    for anchor in anchors.iter().filter(|anchor| {
        let state = state.map_or(0, |state| state.seq);
        anchor.seq <= audit.seq && anchor.state.is_none_or(|anchor| anchor.seq <= state)
    }) {
        let line = serde_json::to_string(anchor).map_err(std::io::Error::other);
        line.and_then(|line| writeln!(file, "{line}"))
            .map_err(MaintenanceError::for_file(&path))?;
    }
    file.sync_all().map_err(MaintenanceError::for_file(&path))?;
    let mut files = Vec::new();
    for name in ["ark.db", verify::ANCHORS_FILE] {
        let (sha256, bytes) = digest_file(&partial.join(name))?;
        files.push(SnapshotFile {
            name: name.to_owned(),
            bytes,
            sha256,
        });
    }
    let manifest = Manifest {
        format: SNAPSHOT_FORMAT.to_owned(),
        schema,
        made_at_ms: Millis::now(),
        audit: ChainHead {
            seq: audit.seq,
            hash: audit.hash,
        },
        state,
        files,
    };
    let path = partial.join(MANIFEST_FILE);
    let text = serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::other);
    text.and_then(|text| std::fs::write(&path, text))
        .map_err(MaintenanceError::for_file(&path))?;
    sync_file(&path)?;
    sync_dir(partial)?;
    Ok(manifest)
}

fn sync_file(path: &Path) -> Result<(), MaintenanceError> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(MaintenanceError::for_file(path))
}

fn check_integrity(connection: &Connection, path: &Path) -> Result<(), MaintenanceError> {
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(OpenError::Broken {
        path: path.to_owned(),
        reason: verdict,
    }
    .into())
}

/// Checks a snapshot whole: manifest, checksums, schema, pages, both chains.
///
/// # Errors
/// What is wrong with it.
pub fn check_snapshot(
    snapshot: &Path,
    secret: Option<&SecretKey>,
) -> Result<Manifest, MaintenanceError> {
    let refused = |reason: String| {
        MaintenanceError::Refused(format!(
            "the snapshot {}: {reason}; use another one",
            snapshot.display()
        ))
    };
    let path = snapshot.join(MANIFEST_FILE);
    let text = std::fs::read(&path).map_err(MaintenanceError::for_file(&path))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| refused(format!("{MANIFEST_FILE}: {error}")))?;
    if manifest.format != SNAPSHOT_FORMAT {
        return Err(refused(format!(
            "its format is {:?}, not {SNAPSHOT_FORMAT}",
            manifest.format
        )));
    }
    schema::check_version(&database_path(snapshot), manifest.schema)?;
    for name in ["ark.db", verify::ANCHORS_FILE] {
        let (sha256, bytes) = digest_file(&snapshot.join(name))?;
        let said = manifest.files.iter().find(|file| file.name == name);
        if said.is_none_or(|file| file.sha256 != sha256 || file.bytes != bytes) {
            return Err(refused(format!("{name} does not match its checksum")));
        }
    }
    let database = database_path(snapshot);
    let connection = schema::open_reader(&database)?;
    check_integrity(&connection, &database)?;
    drop(connection);
    let archive = ReadOnlyStore::open(snapshot)?;
    let report = archive.verify_audit_log()?;
    if let Some(fault) = report.fault {
        return Err(refused(format!(
            "audit row {} {}",
            fault.seq, fault.problem
        )));
    }
    if (report.rows, report.head) != (manifest.audit.seq, manifest.audit.hash) {
        return Err(refused(
            "its audit log ends elsewhere than the manifest says".to_owned(),
        ));
    }
    if let Some(state) = manifest
        .state
        .filter(|_| manifest.schema == schema::SCHEMA_VERSION)
    {
        let report = archive.check_state(secret)?;
        if let Some(fault) = report.fault {
            return Err(refused(format!(
                "revision {} of the state {}",
                fault.seq, fault.problem
            )));
        }
        if (report.revisions, report.head) != (state.seq, state.hash) {
            return Err(refused(
                "its state ends elsewhere than the manifest says".to_owned(),
            ));
        }
    }
    Ok(manifest)
}

/// Restores a snapshot into a data directory. With `replace`, a database that is there is moved aside.
///
/// # Errors
/// See [`MaintenanceError`]. Before anything is changed: the snapshot is not whole or of a newer schema, a host runs on the directory,
/// there is a database and `replace` is not set.
pub fn restore_snapshot(
    snapshot: &Path,
    dir: &Path,
    replace: bool,
    secret: Option<&SecretKey>,
) -> Result<RestoreReport, MaintenanceError> {
    let manifest = check_snapshot(snapshot, secret)?;
    lock::create_dir(dir)?;
    let lock = DirLock::acquire(dir)?;
    let database = database_path(dir);
    let pending = dir.join(RESTORE_PENDING);
    let again = pending.exists();
    if database.exists() && !replace && !again {
        return Err(MaintenanceError::Refused(format!(
            "{} has a database; with --replace it is moved aside and replaced",
            dir.display()
        )));
    }
    std::fs::write(&pending, b"").map_err(MaintenanceError::for_file(&pending))?;
    sync_dir(dir)?;
    let moved_aside = if database.exists() {
        Some(move_aside(dir)?)
    } else {
        None
    };
    let fresh = dir.join("ark.db.restoring");
    std::fs::copy(database_path(snapshot), &fresh).map_err(MaintenanceError::for_file(&fresh))?;
    make_owner_only(&fresh)?;
    sync_file(&fresh)?;
    let anchors = dir.join(verify::ANCHORS_FILE);
    std::fs::copy(snapshot.join(verify::ANCHORS_FILE), &anchors)
        .map_err(MaintenanceError::for_file(&anchors))?;
    make_owner_only(&anchors)?;
    sync_file(&anchors)?;
    std::fs::rename(&fresh, &database).map_err(MaintenanceError::for_file(&database))?;
    sync_dir(dir)?;
    let mut store = OfflineStore::open_locked(dir, lock, secret)?;
    let transaction = store.connection.transaction()?;
    let body = json!({"made_at_ms": manifest.made_at_ms, "audit": manifest.audit, "state": manifest.state});
    record_maintenance(&transaction, "state.restore", &body)?;
    transaction.commit()?;
    store.finish()?;
    std::fs::remove_file(&pending).map_err(MaintenanceError::for_file(&pending))?;
    sync_dir(dir)?;
    Ok(RestoreReport {
        manifest,
        moved_aside,
    })
}

/// Moves the database and its companions into a directory beside it, with what its log holds brought into it where that is possible.
fn move_aside(dir: &Path) -> Result<PathBuf, MaintenanceError> {
    if let Ok(old) = Connection::open(database_path(dir)) {
        // A broken database cannot be checkpointed; its log is moved with it.
        let _ = old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    let aside = dir.join(format!("before-restore-{}", Millis::now().0));
    lock::create_new_dir(&aside).map_err(MaintenanceError::for_file(&aside))?;
    for name in ["ark.db-wal", "ark.db-shm", verify::ANCHORS_FILE, "ark.db"] {
        let from = dir.join(name);
        if from.exists() {
            std::fs::rename(&from, aside.join(name)).map_err(MaintenanceError::for_file(&from))?;
        }
    }
    sync_dir(&aside)?;
    sync_dir(dir)?;
    Ok(aside)
}

/// A snapshot may have been made read-only.
fn make_owner_only(path: &Path) -> Result<(), MaintenanceError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(MaintenanceError::for_file(path))
}
