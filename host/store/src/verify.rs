//! The checks of the audit log: every link of the chain, the archived beginning, the anchors.

use std::io::{BufRead, Write};
use std::path::Path;

use rusqlite::Row;

use ark_model::ids::Millis;

use super::ReadOnlyStore;
use super::audit::{
    AUDIT_COLUMNS, Anchor, ChainFault, ChainHead, ChainReport, GENESIS, Head, chain_hash,
};
use super::error::ReadError;

impl ReadOnlyStore {
    /// Walks the whole chain and compares it with the anchors.
    ///
    /// # Errors
    /// The database or the anchors cannot be read; a fault in the chain is no error but part of the report.
    pub fn verify_audit_log(&self) -> Result<ChainReport, ReadError> {
        let mut anchors = read_anchors(self.dir())
            .map_err(|error| ReadError(format!("anchors.jsonl: {error}")))?;
        anchors.sort_by_key(|anchor| anchor.seq);
        let checked = anchors.len() as u64;
        let mut anchors = anchors.into_iter().peekable();
        let mut base = GENESIS;
        let mut head = GENESIS;
        let mut fault = None;
        self.readers().with_connection(|connection| {
            // One moment for all of it, though a host may be writing.
            let moment = connection.unchecked_transaction()?;
            base = super::retention::archived_head(&moment)?.unwrap_or(GENESIS);
            head = base;
            let mut attested = base.seq == 0;
            let mut statement = moment.prepare(&format!(
                "SELECT {AUDIT_COLUMNS} FROM audit_log ORDER BY seq"
            ))?;
            let mut rows = statement.query([])?;
            // Anchors of archived rows are compared where they meet the first link that is still here.
            while let Some(anchor) = anchors.next_if(|anchor| anchor.seq <= base.seq) {
                if anchor.seq == base.seq && anchor.hash != base.hash {
                    fault = chain_fault(
                        base.seq,
                        "is not the row that was anchored: the log was rewritten up to here",
                    );
                    return Ok(());
                }
            }
            while let Some(row) = rows.next()? {
                attested |= attests_archive(row, base)?;
                fault = check_audit_row(&mut head, row)?;
                while fault.is_none()
                    && let Some(anchor) = anchors.next_if(|anchor| anchor.seq <= head.seq)
                {
                    if anchor.seq == head.seq && anchor.hash != head.hash {
                        fault = Some(ChainFault {
                            seq: head.seq,
                            problem:
                                "is not the row that was anchored: the log was rewritten up to here"
                                    .to_owned(),
                        });
                    }
                }
                if fault.is_some() {
                    return Ok(());
                }
            }
            if !attested {
                fault = chain_fault(
                    base.seq,
                    "and those before it are gone, and no row says that they were archived",
                );
            }
            Ok(())
        })?;
        if fault.is_none()
            && let Some(anchor) = anchors.next()
        {
            fault = Some(ChainFault {
                seq: head.seq + 1,
                problem: format!("is missing: the log was anchored with {} rows", anchor.seq),
            });
        }
        Ok(ChainReport {
            rows: head.seq,
            archived: base.seq,
            head: head.hash,
            anchors: checked,
            fault,
        })
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "what every check returns that has found something"
)]
fn chain_fault(seq: u64, problem: &str) -> Option<ChainFault> {
    Some(ChainFault {
        seq,
        problem: problem.to_owned(),
    })
}

/// Whether a row says that everything up to this link was archived.
fn attests_archive(row: &Row<'_>, base: Head) -> rusqlite::Result<bool> {
    let action: Option<String> = row.get(6)?;
    if action.as_deref() != Some(super::retention::ARCHIVE_ACTION) {
        return Ok(false);
    }
    let body: String = row.get(8)?;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    Ok(body["last"] == base.seq && body["hash"] == base.hash.to_string())
}

fn check_audit_row(head: &mut Head, row: &Row<'_>) -> rusqlite::Result<Option<ChainFault>> {
    let seq: u64 = row.get(0)?;
    if seq != head.seq + 1 {
        return Ok(chain_fault(head.seq + 1, "is missing"));
    }
    let at: u64 = row.get(1)?;
    let texts: [Option<String>; 7] = [
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
        row.get(7)?,
        row.get(8)?,
    ];
    let hash = chain_hash(
        head.hash,
        &[seq, at],
        &texts.each_ref().map(Option::as_deref),
    );
    if row.get::<_, Vec<u8>>(9)? != hash.as_bytes() {
        return Ok(chain_fault(
            seq,
            "does not match its hash: it was changed, inserted or moved",
        ));
    }
    *head = Head { seq, hash };
    Ok(None)
}

pub(super) const ANCHORS_FILE: &str = "anchors.jsonl";

/// Notes the head outside the database, synced.
pub(super) fn write_anchor(dir: &Path, head: Head, state: Head) -> std::io::Result<()> {
    let anchor = Anchor {
        seq: head.seq,
        hash: head.hash,
        at_ms: Millis::now(),
        state: Some(ChainHead {
            seq: state.seq,
            hash: state.hash,
        }),
    };
    let mut line = serde_json::to_vec(&anchor)?;
    line.push(b'\n');
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join(ANCHORS_FILE))?;
    file.write_all(&line)?;
    file.sync_data()?;
    tracing::info!(seq = anchor.seq, hash = %anchor.hash, "audit log anchored");
    Ok(())
}

pub(super) fn read_anchors(dir: &Path) -> std::io::Result<Vec<Anchor>> {
    let file = match std::fs::File::open(dir.join(ANCHORS_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut anchors = Vec::new();
    let mut lines = std::io::BufReader::new(file).lines().peekable();
    while let Some(line) = lines.next() {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(anchor) => anchors.push(anchor),
            // A host that was killed while writing leaves half a line at the end.
            Err(_) if lines.peek().is_none() => {}
            Err(error) => return Err(std::io::Error::other(error)),
        }
    }
    Ok(anchors)
}
