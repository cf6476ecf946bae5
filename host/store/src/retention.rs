//! Retention: audit rows leave the database only into an archive file that can be verified without it.
//!
//! An archive file is JSON lines: a header (the link before its first row, its last row and that row's hash), the policies that the rows
//! name, then the rows with their hashes. Beside it stands `FILE.sha256`. The database keeps the last link, the file's name and
//! digest, and a row of the audit log itself attests them, so that a log which merely lost its beginning is told from an archived one.

use std::io::{BufRead, Write};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use ark_model::ids::{Digest, Millis};

use super::ReadOnlyStore;
use super::audit::{
    AUDIT_COLUMNS, AuditRow, ChainFault, ChainHead, GENESIS, Head, audit_row_hash, digest_column,
    read_audit_row,
};
use super::maintenance::{
    MaintenanceError, OfflineStore, digest_file, parent_dir, record_maintenance, sync_dir,
};

/// The format of an archive file.
pub const ARCHIVE_FORMAT: &str = "ark-audit-archive/1";
/// The action type of the audit row that attests an archive.
pub(super) const ARCHIVE_ACTION: &str = "audit.archive";
/// Rows younger than this stay: the host counts repeated actions over 60 s from them.
pub const MIN_ARCHIVE_AGE_MS: u64 = 60_000;

/// The first line of an archive file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveHeader {
    /// [`ARCHIVE_FORMAT`].
    pub format: String,
    /// The link before the first row: how many rows came before, and the hash of the last of them.
    pub after: ChainHead,
    /// The last row's place and hash.
    pub last: ChainHead,
    /// When it was made.
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
    /// The first and last row.
    pub rows: (u64, u64),
    /// The last row's hash: what the log in the database begins behind.
    pub hash: Digest,
    /// The SHA-256 of the file.
    pub sha256: Digest,
    /// Why rows before the moment asked for were kept, if any were.
    pub kept: Option<String>,
}

/// Moves the audit rows before a moment into a new file.
///
/// # Errors
/// See [`MaintenanceError`]: a host runs, the log is not whole, the file exists, there are no such rows. Nothing was removed then.
pub fn archive_audit(
    dir: &Path,
    before: Millis,
    to: &Path,
) -> Result<ArchivedRows, MaintenanceError> {
    let refused = |reason: String| Err(MaintenanceError::Refused(reason));
    if before.0.saturating_add(MIN_ARCHIVE_AGE_MS) > Millis::now().0 {
        return refused(
            "rows of the last 60 s stay in the database; give an earlier moment".to_owned(),
        );
    }
    let mut store = OfflineStore::open(dir, None)?;
    if let Some(fault) = ReadOnlyStore::open(dir)?.verify_audit_log()?.fault {
        return refused(format!(
            "the audit log is not whole: row {} {}; nothing was archived",
            fault.seq, fault.problem
        ));
    }
    let after = archived_head(&store.connection)?.unwrap_or(GENESIS);
    let (wanted, kept) = last_archivable(&store.connection, before)?;
    let Some(last) = wanted.filter(|last| *last > after.seq) else {
        let why = kept.unwrap_or_else(|| "there are no rows before that moment".to_owned());
        return refused(why);
    };
    let sha256 = write_archive(&store.connection, after, last, to)?;
    // What is about to be the only copy is read back from the file.
    let check = check_archive(to)?;
    if let Some(fault) = check.fault {
        return refused(format!(
            "the file just written: row {} {}",
            fault.seq, fault.problem
        ));
    }
    let hash = check.header.last.hash;
    let name = to
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let transaction = store.connection.transaction()?;
    transaction.execute("DELETE FROM audit_log WHERE seq <= ?1", [last])?;
    transaction.execute(
        "INSERT INTO audit_archives (last_seq, first_seq, hash, file, sha256, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![last, after.seq + 1, hash.as_bytes(), name, sha256.as_bytes(), Millis::now().0],
    )?;
    let body =
        json!({"first": after.seq + 1, "last": last, "hash": hash, "file": name, "sha256": sha256});
    record_maintenance(&transaction, ARCHIVE_ACTION, &body)?;
    transaction.commit()?;
    store.finish()?;
    Ok(ArchivedRows {
        rows: (after.seq + 1, last),
        hash,
        sha256,
        kept,
    })
}

/// The link that the log in the database begins behind, if rows were archived.
pub(super) fn archived_head(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    if super::schema::read_version(connection)? < 3 {
        return Ok(None);
    }
    connection
        .query_row(
            "SELECT last_seq, hash FROM audit_archives ORDER BY last_seq DESC LIMIT 1",
            [],
            |row| {
                Ok(Head {
                    seq: row.get(0)?,
                    hash: digest_column(row, 1)?,
                })
            },
        )
        .optional()
}

/// The last row that may go: before the moment, before every decision whose position is still live, and never the log's last row.
fn last_archivable(
    connection: &Connection,
    before: Millis,
) -> rusqlite::Result<(Option<u64>, Option<String>)> {
    let first_kept: Option<u64> = connection.query_row(
        "SELECT min(seq) FROM audit_log WHERE at >= ?1",
        [before.0],
        |row| row.get(0),
    )?;
    let end: Option<u64> =
        connection.query_row("SELECT max(seq) FROM audit_log", [], |row| row.get(0))?;
    let last = match (first_kept, end) {
        (Some(kept), _) => kept.checked_sub(1),
        (None, end) => end,
    };
    let live: Option<u64> = connection.query_row(
        "SELECT min(a.seq) FROM positions p JOIN audit_log a ON a.id = p.decision_id WHERE p.status IN ('reserved', 'open')",
        [],
        |row| row.get(0),
    )?;
    match (last, live) {
        (Some(last), Some(live)) if live <= last => Ok((
            live.checked_sub(1),
            Some(format!(
                "rows from {live} on stay: the position of that decision is still live"
            )),
        )),
        (last, _) => Ok((last, None)),
    }
}

fn write_archive(
    connection: &Connection,
    after: Head,
    last: u64,
    to: &Path,
) -> Result<Digest, MaintenanceError> {
    let failed = |source| MaintenanceError::File {
        path: to.to_owned(),
        source,
    };
    let hash: Digest =
        connection.query_row("SELECT hash FROM audit_log WHERE seq = ?1", [last], |row| {
            digest_column(row, 0)
        })?;
    let header = ArchiveHeader {
        format: ARCHIVE_FORMAT.to_owned(),
        after: ChainHead {
            seq: after.seq,
            hash: after.hash,
        },
        last: ChainHead { seq: last, hash },
        made_at_ms: Millis::now(),
    };
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(failed)?;
    let mut out = std::io::BufWriter::new(file);
    let mut put = |line: serde_json::Result<String>| {
        line.map_err(std::io::Error::other)
            .and_then(|line| writeln!(out, "{line}"))
            .map_err(failed)
    };
    put(serde_json::to_string(&header))?;
    let mut statement =
        connection.prepare("SELECT digest, metadata FROM policies ORDER BY digest")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        put(serde_json::to_string(&ArchiveLine::Policy {
            digest: super::audit::parse_required(row, 0)?,
            metadata: row.get(1)?,
        }))?;
    }
    let mut statement = connection.prepare(&format!(
        "SELECT {AUDIT_COLUMNS} FROM audit_log WHERE seq <= ?1 ORDER BY seq"
    ))?;
    let mut rows = statement.query([last])?;
    while let Some(row) = rows.next()? {
        put(serde_json::to_string(&ArchiveLine::Row(Box::new(
            read_audit_row(row)?,
        ))))?;
    }
    let file = out
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    let (sha256, _) = digest_file(to)?;
    let mut sums = to.as_os_str().to_owned();
    sums.push(".sha256");
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    std::fs::write(&sums, format!("{sha256}  {name}\n")).map_err(failed)?;
    sync_dir(parent_dir(to))?;
    Ok(sha256)
}

/// What a check of an archive file found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveReport {
    /// What it says of itself.
    pub header: ArchiveHeader,
    /// How many rows were checked.
    pub rows: u64,
    /// The SHA-256 of the file.
    pub sha256: Digest,
    /// The first fault; `None`: it is whole.
    pub fault: Option<ChainFault>,
}

/// Checks an archive file by itself: the checksum beside it, every row's link, first and last.
///
/// # Errors
/// It cannot be read or is no archive file. A row that is not as it was is a fault, not an error.
pub fn check_archive(path: &Path) -> Result<ArchiveReport, MaintenanceError> {
    let failed = |source| MaintenanceError::File {
        path: path.to_owned(),
        source,
    };
    let mut lines = std::io::BufReader::new(std::fs::File::open(path).map_err(failed)?).lines();
    let first = lines
        .next()
        .transpose()
        .map_err(failed)?
        .unwrap_or_default();
    let header: ArchiveHeader = serde_json::from_str(&first)
        .map_err(|error| failed(std::io::Error::other(format!("no archive file: {error}"))))?;
    let (sha256, _) = digest_file(path)?;
    let mut head = Head {
        seq: header.after.seq,
        hash: header.after.hash,
    };
    let fault = |seq: u64, problem: &str| {
        Some(ChainFault {
            seq,
            problem: problem.to_owned(),
        })
    };
    let mut found = None;
    for line in lines {
        let line = line.map_err(failed)?;
        let row = match serde_json::from_str(&line) {
            Ok(ArchiveLine::Policy { .. }) => continue,
            Ok(ArchiveLine::Row(row)) => row,
            Err(error) => {
                found = fault(head.seq + 1, &format!("cannot be read: {error}"));
                break;
            }
        };
        if row.seq != head.seq + 1 {
            found = fault(head.seq + 1, "is missing");
            break;
        }
        if audit_row_hash(head.hash, &row) != row.hash {
            found = fault(
                row.seq,
                "does not match its hash: it was changed, inserted or moved",
            );
            break;
        }
        head = Head {
            seq: row.seq,
            hash: row.hash,
        };
    }
    if found.is_none() && (head.seq, head.hash) != (header.last.seq, header.last.hash) {
        found = fault(
            head.seq + 1,
            "is missing, or the last row is not the header's",
        );
    }
    let mut sums = path.as_os_str().to_owned();
    sums.push(".sha256");
    if found.is_none()
        && let Ok(text) = std::fs::read_to_string(&sums)
        && !text.starts_with(&sha256.to_string())
    {
        found = fault(
            header.after.seq + 1,
            "begins a file that does not match its checksum",
        );
    }
    Ok(ArchiveReport {
        rows: head.seq - header.after.seq,
        header,
        sha256,
        fault: found,
    })
}
