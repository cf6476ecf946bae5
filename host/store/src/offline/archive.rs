//! Archives: audit rows leave the database only into a file that can be verified without it.
//!
//! An archive file is JSON lines: a header (the row before its first one, its last row and their hashes), the policies that the rows name,
//! then the rows with their hashes. Beside it is `FILE.sha256`. The database keeps the last row's number and hash, the file's name and
//! digest, and a row of the audit log itself attests them: so a log that lost its beginning differs from an archived one.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::Path;

use ark_model::ids::{Digest, Millis};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::chain::{ChainFault, ChainHead};
use crate::directory::{digest_file, parent_dir};
use crate::query::select_value;
use crate::tables::audit::{
    ArchiveRow, AuditRow, archived_head, audit_columns, audit_row_hash, delete_decision_rows_until,
    delete_id_rows_until, delete_rows_until, delete_trace_rows_until, delete_unused_dictionaries,
    insert_archive, read_audit_row,
};
use crate::tables::versions::read_policy_records;

use super::error::{MaintenanceError, live_position};
use super::exclusive::{OfflineStore, record_maintenance};
use super::read_only::ReadOnlyStore;
use super::snapshot::sync_directory;

/// The format of an archive file.
pub const ARCHIVE_FORMAT: &str = "ark-audit-archive/1";
/// The action type of the audit row that attests an archive.
pub(super) const ARCHIVE_ACTION: &str = "audit.archive";
/// Rows younger than this, in milliseconds, stay: the host counts repeated actions over 60 s from them.
const MIN_ARCHIVE_AGE_MS: u64 = 60_000;

/// The first line of an archive file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveHeader {
    /// [`ARCHIVE_FORMAT`].
    pub format: String,
    /// The row before the first one: how many rows came before, and the hash of the last of them.
    pub after: ChainHead,
    /// The last row.
    pub last: ChainHead,
    /// When the archive was made.
    pub made_at_ms: Millis,
}

/// A line of an archive file behind the header.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ArchiveLine {
    Policy { digest: Digest, metadata: String },
    Row(Box<AuditRow>),
}

/// What was archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchivedRows {
    /// The first and the last row.
    pub rows: (u64, u64),
    /// The hash of the last row, which the log in the database begins behind.
    pub hash: Digest,
    /// The SHA-256 of the file.
    pub sha256: Digest,
    /// Why rows before the moment were kept, if any were.
    pub kept: Option<String>,
}

/// The result of a check of an archive file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveReport {
    /// The header of the file.
    pub header: ArchiveHeader,
    /// How many rows were checked.
    pub rows: u64,
    /// The SHA-256 of the file.
    pub sha256: Digest,
    /// The first fault; `None`: the file is as it was written.
    pub fault: Option<ChainFault>,
}

/// Moves the audit rows before a moment into a new file.
///
/// # Errors
/// See [`MaintenanceError`]: a host runs, the log has a fault, the file exists, or there are no such rows. No row was removed.
pub fn archive_audit(
    dir: &Path,
    before: Millis,
    to: &Path,
) -> Result<ArchivedRows, MaintenanceError> {
    if before.0.saturating_add(MIN_ARCHIVE_AGE_MS) > Millis::now().0 {
        return Err(MaintenanceError::TooRecent);
    }
    let mut store = OfflineStore::open(dir, None)?;
    if let Some(fault) = ReadOnlyStore::open(dir)?.verify_audit_log()?.fault {
        return Err(MaintenanceError::BrokenLog(fault));
    }
    let after = archived_head(&store.connection)?;
    let (last, live) = last_archivable(&store.connection, before)?;
    let Some(last) = last.filter(|last| *last > after.seq) else {
        return Err(live.map_or(MaintenanceError::NothingToArchive, |first| {
            MaintenanceError::LivePosition { first }
        }));
    };
    let sha256 = write_archive(&store.connection, after, last, to)?;
    // What is about to be the only copy is read back from the file.
    let check = check_archive(to)?;
    if let Some(fault) = check.fault {
        return Err(MaintenanceError::BrokenArchive(fault));
    }
    let last = check.header.last;
    let file = to
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let archive = ArchiveRow {
        first: after.seq + 1,
        last,
        file: &file,
        sha256,
    };
    let body = json!({"first": archive.first, "last": last.seq, "hash": last.hash, "file": file, "sha256": sha256});
    let transaction = store.connection.transaction()?;
    delete_id_rows_until(&transaction, last.seq)?;
    delete_trace_rows_until(&transaction, last.seq)?;
    delete_rows_until(&transaction, last.seq)?;
    delete_decision_rows_until(&transaction, last.seq)?;
    delete_unused_dictionaries(&transaction)?;
    insert_archive(&transaction, &archive)?;
    record_maintenance(&transaction, ARCHIVE_ACTION, &body)?;
    transaction.commit()?;
    store.finish()?;
    Ok(ArchivedRows {
        rows: (after.seq + 1, last.seq),
        hash: last.hash,
        sha256,
        kept: live.map(live_position),
    })
}

/// The last row that may be archived: before the moment, and before every decision whose position is live. The second number is the row of
/// the first such decision, if it is what ends the range.
fn last_archivable(
    connection: &Connection,
    before: Millis,
) -> rusqlite::Result<(Option<u64>, Option<u64>)> {
    let first_kept: Option<u64> = select_value(
        connection,
        "SELECT min(seq) FROM audit_log WHERE at >= ?1",
        [before.0],
    )?;
    let last = match first_kept {
        Some(kept) => kept.checked_sub(1),
        None => select_value(connection, "SELECT max(seq) FROM audit_log", [])?,
    };
    let live: Option<u64> = select_value(
        connection,
        // By the log alone: its index of ids is derived, and nothing vouches for it.
        "SELECT min(seq) FROM audit_log WHERE id IN (SELECT decision_id FROM orders)",
        [],
    )?;
    match (last, live) {
        (Some(last), Some(live)) if live <= last => Ok((live.checked_sub(1), Some(live))),
        (last, _) => Ok((last, None)),
    }
}

/// Writes the rows behind `after` up to `last` into a new file. Returns the SHA-256 of the file.
fn write_archive(
    connection: &Connection,
    after: ChainHead,
    last: u64,
    to: &Path,
) -> Result<Digest, MaintenanceError> {
    let failed = MaintenanceError::for_file(to);
    let last = connection.query_row(
        "SELECT seq, hash FROM audit_log WHERE seq = ?1",
        [last],
        ChainHead::from_row,
    )?;
    let header = ArchiveHeader {
        format: ARCHIVE_FORMAT.to_owned(),
        after,
        last,
        made_at_ms: Millis::now(),
    };
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(&failed)?;
    let mut out = std::io::BufWriter::new(file);
    let mut put = |line: serde_json::Result<String>| {
        line.map_err(std::io::Error::other)
            .and_then(|line| writeln!(out, "{line}"))
            .map_err(&failed)
    };
    put(serde_json::to_string(&header))?;
    for policy in read_policy_records(connection)? {
        put(serde_json::to_string(&ArchiveLine::Policy {
            digest: policy.digest,
            metadata: policy.metadata_json,
        }))?;
    }
    let columns = audit_columns(connection)?;
    let mut statement = connection.prepare(&format!(
        "SELECT {columns} FROM audit_log WHERE seq <= ?1 ORDER BY seq"
    ))?;
    let mut rows = statement.query([last.seq])?;
    while let Some(row) = rows.next()? {
        let row = Box::new(read_audit_row(row)?);
        put(serde_json::to_string(&ArchiveLine::Row(row)))?;
    }
    let file = out
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(&failed)?;
    let (sha256, _) = digest_file(to).map_err(&failed)?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    std::fs::write(checksum_path(to), format!("{sha256}  {name}\n")).map_err(&failed)?;
    sync_directory(parent_dir(to))?;
    Ok(sha256)
}

/// The file with the checksum of an archive file.
fn checksum_path(archive: &Path) -> OsString {
    let mut path = archive.as_os_str().to_owned();
    path.push(".sha256");
    path
}

/// Checks an archive file by itself: the checksum beside it, every row's hash, the first and the last row.
///
/// # Errors
/// The file cannot be read, or is no archive file. A row that is not as it was written is a fault, not an error.
pub fn check_archive(path: &Path) -> Result<ArchiveReport, MaintenanceError> {
    let failed = MaintenanceError::for_file(path);
    let mut lines = std::io::BufReader::new(std::fs::File::open(path).map_err(&failed)?).lines();
    let first = lines
        .next()
        .transpose()
        .map_err(&failed)?
        .unwrap_or_default();
    let header: ArchiveHeader = serde_json::from_str(&first)
        .map_err(|error| failed(std::io::Error::other(format!("no archive file: {error}"))))?;
    let (sha256, _) = digest_file(path).map_err(&failed)?;
    let mut head = header.after;
    let mut fault = None;
    for line in lines {
        fault = check_line(&mut head, &line.map_err(&failed)?);
        if fault.is_some() {
            break;
        }
    }
    if fault.is_none() && head != header.last {
        let problem = "is missing, or the last row is not the header's";
        fault = Some(ChainFault::new(head.seq + 1, problem));
    }
    if fault.is_none()
        && let Ok(text) = std::fs::read_to_string(checksum_path(path))
        && !text.starts_with(&sha256.to_string())
    {
        let problem = "begins a file that does not match its checksum";
        fault = Some(ChainFault::new(header.after.seq + 1, problem));
    }
    Ok(ArchiveReport {
        rows: head.seq - header.after.seq,
        header,
        sha256,
        fault,
    })
}

/// Checks the line of a row behind `head`, and moves `head` to it. Lines of policies pass unchecked.
fn check_line(head: &mut ChainHead, line: &str) -> Option<ChainFault> {
    let row = match serde_json::from_str(line) {
        Ok(ArchiveLine::Policy { .. }) => return None,
        Ok(ArchiveLine::Row(row)) => row,
        Err(error) => {
            let problem = format!("cannot be read: {error}");
            return Some(ChainFault::new(head.seq + 1, problem));
        }
    };
    if row.seq != head.seq + 1 {
        return Some(ChainFault::new(head.seq + 1, "is missing"));
    }
    if audit_row_hash(head.hash, &row) != row.hash {
        return Some(ChainFault::new(row.seq, ChainFault::CHANGED));
    }
    *head = ChainHead {
        seq: row.seq,
        hash: row.hash,
    };
    None
}
