//! Snapshots: a copy of the database at one moment. A host may run meanwhile.
//!
//! A snapshot is a directory: `ark.db`, `anchors.jsonl` (up to that moment) and `manifest.json` with the schema, the heads of both chains,
//! sizes and SHA-256 digests. It appears under its name only when it is complete and on disk. Secrets in it are encrypted as in the database.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ark_model::ids::{Digest, Millis};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::anchors::{ANCHORS_FILE, Anchor, read_anchors};
use crate::chain::ChainHead;
use crate::directory::{
    DATABASE_FILE, RESCUED_PREFIX, create_dir, create_new_dir, database_path, digest_file,
    give_to_owner, parent_dir, sync_path,
};
use crate::error::OpenError;
use crate::schema::{
    STATE_CHAIN_SINCE, check_schema, check_version, current_schema, open_any_schema,
    open_connection, read_version,
};
use crate::secrets::SecretKey;
use crate::tables::audit::read_audit_head;
use crate::tables::state::read_state_head;

use super::error::{MaintenanceError, SNAPSHOT_FORMAT, SnapshotProblem};
use super::read_only::ReadOnlyStore;

const MANIFEST_FILE: &str = "manifest.json";
/// The files that the manifest lists.
const FILES: [&str; 2] = [DATABASE_FILE, ANCHORS_FILE];
/// How often a copy that is disturbed by a checkpoint is tried again, with pauses of 10 ms.
const MAX_BUSY_TRIES: u32 = 1000;

/// The manifest of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotManifest {
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
    /// The name.
    pub name: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The SHA-256.
    pub sha256: Digest,
}

impl SnapshotFile {
    fn describe(snapshot: &Path, name: &str) -> Result<Self, MaintenanceError> {
        let path = snapshot.join(name);
        let (sha256, bytes) = digest_file(&path).map_err(MaintenanceError::for_file(&path))?;
        Ok(Self {
            name: name.to_owned(),
            bytes,
            sha256,
        })
    }
}

/// Takes a snapshot of a data directory into a new directory. A host may run on the data directory, also one of a later schema; only its
/// program can restore such a snapshot.
///
/// The directory around it is made too where that alone is missing, for its owner only: the root of a volume of an orchestrator belongs to a
/// group, which must not change snapshots, and the image of a host has no shell to make another.
///
/// # Errors
/// See [`MaintenanceError`]. After an error there is no snapshot.
pub fn create_snapshot(dir: &Path, to: &Path) -> Result<SnapshotManifest, MaintenanceError> {
    if to.exists() {
        return Err(MaintenanceError::SnapshotExists {
            path: to.to_owned(),
        });
    }
    let source = database_path(dir);
    if !source.is_file() {
        return Err(OpenError::Missing { path: source }.into());
    }
    create_surrounding(to)?;
    let partial = to.with_extension("partial");
    let _lock = begin_partial(&partial)?;
    let made = write_snapshot(dir, &partial).and_then(|manifest| {
        std::fs::rename(&partial, to).map_err(MaintenanceError::for_file(to))?;
        sync_directory(parent_dir(to))?;
        Ok(manifest)
    });
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    made
}

/// Makes the directory in which a snapshot is to be, unless it exists. Where that around it is missing too, the path is taken for a wrong one.
fn create_surrounding(snapshot: &Path) -> Result<(), MaintenanceError> {
    let dir = parent_dir(snapshot);
    match create_new_dir(dir) {
        Ok(()) => sync_directory(parent_dir(dir)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Whatever else is wrong with one that exists is said by what is done in it.
        Err(_) if dir.exists() => Ok(()),
        Err(error) => Err(MaintenanceError::for_file(dir)(error)),
    }
}

fn write_snapshot(dir: &Path, partial: &Path) -> Result<SnapshotManifest, MaintenanceError> {
    let source = database_path(dir);
    copy_into_snapshot(&open_any_schema(&source)?, read_anchors(dir)?, partial)
}

/// Makes the directory in which a snapshot is written, in place of what a killed process left there. Returns the lock on it, by which another process
/// tells whether this one lives; `None`: the file system has no such locks, and nothing is removed there.
fn begin_partial(partial: &Path) -> Result<Option<File>, MaintenanceError> {
    let failed = MaintenanceError::for_file(partial);
    let in_use = || MaintenanceError::SnapshotInUse {
        path: partial.to_owned(),
    };
    let lock_directory = || -> Result<Option<File>, MaintenanceError> {
        let dir = File::open(partial).map_err(&failed)?;
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(dir)),
            Err(Errno::WOULDBLOCK) => Err(in_use()),
            Err(_) => Ok(None),
        }
    };
    let left = match create_new_dir(partial) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let left = lock_directory()?.ok_or_else(in_use)?;
            std::fs::remove_dir_all(partial).map_err(&failed)?;
            create_new_dir(partial).map_err(&failed)?;
            Some(left)
        }
        made => {
            made.map_err(&failed)?;
            None
        }
    };
    let lock = lock_directory()?;
    // Held until the new directory has its own.
    drop(left);
    if let Some(dir) = &lock {
        // Between the two another process may have taken it for one that was left.
        let own = dir.metadata().map_err(&failed)?.ino();
        if !std::fs::metadata(partial).is_ok_and(|found| found.ino() == own) {
            return Err(in_use());
        }
    }
    Ok(lock)
}

/// Makes a snapshot of a database that is open and whose files are lost, in a new directory in the data directory, which is created again
/// if it is gone too. Returns the snapshot's directory.
///
/// # Errors
/// See [`MaintenanceError`]. After an error there is no snapshot.
pub(crate) fn rescue_database(
    connection: &Connection,
    dir: &Path,
) -> Result<PathBuf, MaintenanceError> {
    create_dir(dir)?;
    let to = dir.join(format!("{RESCUED_PREFIX}{}", Millis::now().0));
    let partial = to.with_extension("partial");
    create_new_dir(&partial).map_err(MaintenanceError::for_file(&partial))?;
    // The anchors may be lost too; the snapshot is checked without them.
    let anchors = read_anchors(dir).unwrap_or_default();
    let made = copy_into_snapshot(connection, anchors, &partial).and_then(|_| {
        // The host may be root's; who owns the directory restores from the copy.
        give_to_owner(&partial, dir).map_err(MaintenanceError::for_file(&partial))?;
        std::fs::rename(&partial, &to).map_err(MaintenanceError::for_file(&to))?;
        sync_directory(dir)
    });
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    made.map(|()| to)
}

fn copy_into_snapshot(
    source: &Connection,
    anchors: Vec<Anchor>,
    partial: &Path,
) -> Result<SnapshotManifest, MaintenanceError> {
    let target = database_path(partial);
    let copy = copy_database(source, &target)?;
    check_integrity(&copy, &target)?;
    let schema = read_version(&copy)?;
    if schema == 0 {
        return Err(OpenError::for_no_schema(&target).into());
    }
    let audit = read_audit_head(&copy)?;
    let state = (schema >= STATE_CHAIN_SINCE)
        .then(|| read_state_head(&copy))
        .transpose()?;
    drop(copy);
    sync_directory(&target)?;
    write_anchors(anchors, partial, audit, state)?;
    let manifest = SnapshotManifest {
        format: SNAPSHOT_FORMAT.to_owned(),
        schema,
        made_at_ms: Millis::now(),
        audit,
        state,
        files: FILES
            .iter()
            .map(|name| SnapshotFile::describe(partial, name))
            .collect::<Result<_, _>>()?,
    };
    let path = partial.join(MANIFEST_FILE);
    serde_json::to_vec_pretty(&manifest)
        .map_err(std::io::Error::other)
        .and_then(|text| std::fs::write(&path, text))
        .map_err(MaintenanceError::for_file(&path))?;
    sync_directory(&path)?;
    sync_directory(partial)?;
    Ok(manifest)
}

/// Copies a database into one file, without a write-ahead log beside it.
fn copy_database(from: &Connection, target: &Path) -> Result<Connection, MaintenanceError> {
    let mut to = Connection::open(target)?;
    let backup = Backup::new(from, &mut to)?;
    let mut tries = 0;
    // In one step, so that all pages are of one moment.
    while backup.step(-1)? != StepResult::Done {
        tries += 1;
        if tries > MAX_BUSY_TRIES {
            return Err(MaintenanceError::Busy);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(backup);
    to.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    Ok(to)
}

/// Copies the anchors that were written up to the moment of the snapshot.
fn write_anchors(
    anchors: Vec<Anchor>,
    partial: &Path,
    audit: ChainHead,
    state: Option<ChainHead>,
) -> Result<(), MaintenanceError> {
    let last_state = state.map_or(0, |state| state.seq);
    let path = partial.join(ANCHORS_FILE);
    let failed = MaintenanceError::for_file(&path);
    let mut file = std::fs::File::create(&path).map_err(&failed)?;
    for anchor in anchors {
        if anchor.seq <= audit.seq && anchor.state.is_none_or(|state| state.seq <= last_state) {
            serde_json::to_string(&anchor)
                .map_err(std::io::Error::other)
                .and_then(|line| writeln!(file, "{line}"))
                .map_err(&failed)?;
        }
    }
    file.sync_all().map_err(&failed)
}

pub(super) fn sync_directory(path: &Path) -> Result<(), MaintenanceError> {
    sync_path(path).map_err(MaintenanceError::for_file(path))
}

fn check_integrity(connection: &Connection, path: &Path) -> Result<(), MaintenanceError> {
    let finding: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged {
        path: path.to_owned(),
        finding,
    }
    .into())
}

/// What is done with triggers and constraints of a snapshot that this program does not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddedObjects {
    /// The snapshot is refused.
    Refuse,
    /// They are left out of what is restored.
    Drop,
}

/// Checks a snapshot: manifest, checksums, schema, pages, both chains.
///
/// # Errors
/// The first problem found, see [`MaintenanceError`].
pub fn check_snapshot(
    snapshot: &Path,
    secret_key: Option<&SecretKey>,
) -> Result<SnapshotManifest, MaintenanceError> {
    let (manifest, _) = check_snapshot_for(snapshot, secret_key, AddedObjects::Refuse)?;
    Ok(manifest)
}

/// As [`check_snapshot`]. Returns also the statements that take out of the database what was added, where that is to be dropped.
pub(super) fn check_snapshot_for(
    snapshot: &Path,
    secret_key: Option<&SecretKey>,
    added: AddedObjects,
) -> Result<(SnapshotManifest, Vec<String>), MaintenanceError> {
    let invalid = |problem| MaintenanceError::InvalidSnapshot {
        path: snapshot.to_owned(),
        problem,
    };
    let path = snapshot.join(MANIFEST_FILE);
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => MaintenanceError::NoSnapshot {
            path: snapshot.to_owned(),
            is_dir: snapshot.is_dir(),
        },
        _ => MaintenanceError::for_file(&path)(error),
    })?;
    let manifest: SnapshotManifest =
        serde_json::from_slice(&text).map_err(|error| invalid(SnapshotProblem::Manifest(error)))?;
    if manifest.format != SNAPSHOT_FORMAT {
        return Err(invalid(SnapshotProblem::Format(manifest.format)));
    }
    let database = database_path(snapshot);
    check_version(&database, manifest.schema)?;
    for name in FILES {
        let file = SnapshotFile::describe(snapshot, name)?;
        if !manifest.files.contains(&file) {
            return Err(invalid(SnapshotProblem::Checksum(name)));
        }
    }
    let connection = open_connection(&database)?;
    check_integrity(&connection, &database)?;
    let removals = match check_schema(&connection, &database) {
        Ok(()) => Vec::new(),
        Err(OpenError::ForeignSchema { removals, .. })
            if added == AddedObjects::Drop && !removals.is_empty() =>
        {
            removals
        }
        Err(OpenError::ForeignSchema {
            findings, removals, ..
        }) => {
            return Err(MaintenanceError::ForeignSnapshot {
                path: snapshot.to_owned(),
                findings,
                can_drop: !removals.is_empty(),
            });
        }
        Err(error) => return Err(error.into()),
    };
    match check_chains(snapshot, &manifest, secret_key)? {
        None => Ok((manifest, removals)),
        Some(problem) => Err(invalid(problem)),
    }
}

/// Verifies both chains of a snapshot and compares their heads with the manifest's.
fn check_chains(
    snapshot: &Path,
    manifest: &SnapshotManifest,
    secret_key: Option<&SecretKey>,
) -> Result<Option<SnapshotProblem>, MaintenanceError> {
    let store = ReadOnlyStore::open(snapshot)?;
    let report = store.verify_audit_log()?;
    if let Some(fault) = report.fault {
        return Ok(Some(SnapshotProblem::Audit(fault)));
    }
    if (report.rows, report.head) != (manifest.audit.seq, manifest.audit.hash) {
        return Ok(Some(SnapshotProblem::AuditHead));
    }
    // The state of an earlier schema cannot be checked before it is migrated.
    let Some(state) = manifest
        .state
        .filter(|_| manifest.schema == current_schema())
    else {
        return Ok(None);
    };
    let report = store.check_state_history(secret_key)?;
    if let Some(fault) = report.fault {
        return Ok(Some(SnapshotProblem::State(fault)));
    }
    if (report.revisions, report.head) != (state.seq, state.hash) {
        return Ok(Some(SnapshotProblem::StateHead));
    }
    Ok(None)
}
