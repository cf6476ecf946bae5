//! The archives: which rows left the audit log for a file.

use ark_model::ids::{Digest, Millis};
use rusqlite::{Connection, params};

use crate::chain::ChainHead;
use crate::query::execute_cached;
use crate::schema::{AUDIT_ARCHIVES_SINCE, read_version};

/// An archive file.
pub(crate) struct ArchiveRow<'a> {
    /// The first row in the file.
    pub(crate) first: u64,
    /// The last row in the file.
    pub(crate) last: ChainHead,
    /// The name of the file.
    pub(crate) file: &'a str,
    /// The SHA-256 of the file.
    pub(crate) sha256: Digest,
}

pub(crate) fn insert_archive(
    connection: &Connection,
    archive: &ArchiveRow<'_>,
) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "INSERT INTO audit_archives (last_seq, first_seq, hash, file, sha256, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            archive.last.seq,
            archive.first,
            archive.last.hash.as_bytes(),
            archive.file,
            archive.sha256.as_bytes(),
            Millis::now().0
        ],
    )
    .map(drop)
}

/// The last row that was archived, which the log in the database begins behind. [`ChainHead::GENESIS`] when nothing was archived.
pub(crate) fn archived_head(connection: &Connection) -> rusqlite::Result<ChainHead> {
    if read_version(connection)? < AUDIT_ARCHIVES_SINCE {
        return Ok(ChainHead::GENESIS);
    }
    let last = ChainHead::select(
        connection,
        "SELECT last_seq, hash FROM audit_archives ORDER BY last_seq DESC LIMIT 1",
    )?;
    Ok(last.unwrap_or(ChainHead::GENESIS))
}
