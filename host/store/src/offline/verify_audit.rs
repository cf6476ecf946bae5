//! The check of the audit log: every hash of the chain, the beginning that was archived, and the anchors.

use ark_model::ids::Digest;
use rusqlite::{Connection, Row};
use serde::Serialize;

use crate::anchors::{Anchor, AnchorWalk, read_anchors};
use crate::chain::{ChainFault, ChainHead, chain_hash};
use crate::error::ReadError;
use crate::tables::audit::{archived_head, audit_columns, read_chained_texts};

use super::archive::ARCHIVE_ACTION;
use super::read_only::ReadOnlyStore;

/// The result of a check of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// The number of the last row: how many rows there are, archived ones included.
    pub rows: u64,
    /// How many rows are in archive files, and so were not checked.
    pub archived: u64,
    /// The hash of the last row.
    pub head: Digest,
    /// How many anchors were compared.
    pub anchors: u64,
    /// The first fault; `None`: the log is as it was written.
    pub fault: Option<ChainFault>,
}

impl ReadOnlyStore {
    /// Computes the whole chain and compares it with the anchors.
    ///
    /// # Errors
    /// The database or the anchors cannot be read. A fault in the chain is no error but part of the report.
    pub fn verify_audit_log(&self) -> Result<ChainReport, ReadError> {
        let anchors = read_anchors(self.dir())?;
        let mut walk = AnchorWalk::new(anchors.iter().map(Anchor::audit).collect());
        let anchors = walk.remaining();
        let (base, head, mut fault) = self.with_connection(|connection| {
            // One view of the database for all of it, since a host may be writing.
            let moment = connection.unchecked_transaction()?;
            let base = archived_head(&moment)?;
            let mut head = base;
            let fault = walk_log(&moment, &mut head, &mut walk)?;
            Ok((base, head, fault))
        })?;
        if fault.is_none()
            && let Some(anchor) = walk.first_behind(head)
        {
            let problem = format!("is missing: the log was anchored with {} rows", anchor.seq);
            fault = Some(ChainFault::new(head.seq + 1, problem));
        }
        Ok(ChainReport {
            rows: head.seq,
            archived: base.seq,
            head: head.hash,
            anchors,
            fault,
        })
    }
}

/// Moves `head`, which begins as the archived head, to the last row. Returns the first fault on the way.
fn walk_log(
    connection: &Connection,
    head: &mut ChainHead,
    anchors: &mut AnchorWalk,
) -> rusqlite::Result<Option<ChainFault>> {
    let base = *head;
    // Anchors of archived rows are compared where they meet the first row in the database.
    if !anchors.advance_to(base) {
        return Ok(Some(not_anchored(base.seq)));
    }
    let mut attested = base.seq == 0;
    let columns = audit_columns(connection)?;
    let mut statement =
        connection.prepare(&format!("SELECT {columns} FROM audit_log ORDER BY seq"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        attested |= attests_archive(row, base)?;
        if let Some(fault) = check_audit_row(head, row)? {
            return Ok(Some(fault));
        }
        if !anchors.advance_to(*head) {
            return Ok(Some(not_anchored(head.seq)));
        }
    }
    if attested {
        return Ok(None);
    }
    Ok(Some(ChainFault::new(
        base.seq,
        "and those before it are gone, and no row says that they were archived",
    )))
}

fn not_anchored(seq: u64) -> ChainFault {
    ChainFault::new(
        seq,
        "is not the row that was anchored: the log was rewritten up to here",
    )
}

/// Whether a row says that everything up to `base` was archived.
fn attests_archive(row: &Row<'_>, base: ChainHead) -> rusqlite::Result<bool> {
    let action: Option<String> = row.get(6)?;
    if action.as_deref() != Some(ARCHIVE_ACTION) {
        return Ok(false);
    }
    let body: String = row.get(8)?;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    Ok(body["last"] == base.seq && body["hash"] == base.hash.to_string())
}

/// Checks the number and the hash of the row behind `head`, and moves `head` to it.
///
/// The columns are read as they are: a row that the program could not parse has a fault, and is no error.
pub(super) fn check_audit_row(
    head: &mut ChainHead,
    row: &Row<'_>,
) -> rusqlite::Result<Option<ChainFault>> {
    let seq: u64 = row.get(0)?;
    if seq != head.seq + 1 {
        return Ok(Some(ChainFault::new(head.seq + 1, "is missing")));
    }
    let at: u64 = row.get(1)?;
    let texts = match read_chained_texts(row) {
        Err(rusqlite::Error::FromSqlConversionFailure(..)) => {
            return Ok(Some(ChainFault::new(seq, ChainFault::UNREADABLE)));
        }
        texts => texts?,
    };
    let texts = texts.each_ref().map(Option::as_deref);
    let hash = chain_hash(head.hash, &[seq, at], &texts);
    if row.get::<_, Vec<u8>>(9)? != hash.as_bytes() {
        return Ok(Some(ChainFault::new(seq, ChainFault::CHANGED)));
    }
    *head = ChainHead { seq, hash };
    Ok(None)
}
