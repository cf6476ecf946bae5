//! Evidence of an earlier database: a start compares what it finds with it before it uses anything.
//!
//! A host that began again beside its own evidence would have lost decisions, orders and tokens without a report, and would serve every
//! caller. So a database that is missing, or that lacks rows which are attested, ends the start.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::anchors::{ANCHORS_FILE, read_last_anchor};
use crate::chain::ChainHead;
use crate::error::OpenError;
use crate::schema::{STATE_CHAIN_SINCE, read_version};
use crate::tables::audit::{archived_head, read_audit_head};
use crate::tables::state::read_state_head;

use super::lock::{LockRecord, lock_path};
use super::{CAPSULES_DIR, RESCUED_PREFIX, database_path, log_path};

/// The heads that a file attests.
struct AttestedHeads {
    file: PathBuf,
    audit: ChainHead,
    state: Option<ChainHead>,
}

/// Returns whether a data directory has a database; an empty file is none.
pub(crate) fn has_database(dir: &Path) -> bool {
    std::fs::metadata(database_path(dir)).is_ok_and(|metadata| metadata.len() > 0)
}

/// What a data directory tells about the database that was in it.
pub(crate) struct DatabaseEvidence {
    dir: PathBuf,
    heads: Vec<AttestedHeads>,
    /// What shows that there was a database.
    traces: Vec<PathBuf>,
}

impl DatabaseEvidence {
    /// Looks for everything that attests a database in a data directory. `lock` is what its lock's file says.
    ///
    /// # Errors
    /// [`OpenError::DatabaseEvidence`]: the anchors cannot be read.
    pub(crate) fn collect(dir: &Path, lock: LockRecord) -> Result<Self, OpenError> {
        let mut heads = Vec::new();
        let mut traces = Vec::new();
        if lock != LockRecord::Unused {
            traces.push(lock_path(dir));
        }
        if let LockRecord::Attested(attestation) = lock {
            heads.push(AttestedHeads {
                file: lock_path(dir),
                audit: attestation.audit,
                state: Some(attestation.state),
            });
        }
        let anchors = dir.join(ANCHORS_FILE);
        let last = read_last_anchor(&anchors).map_err(|cause| OpenError::Evidence {
            path: anchors.clone(),
            cause,
        })?;
        if let Some(anchor) = last {
            traces.push(anchors.clone());
            heads.push(AttestedHeads {
                file: anchors,
                audit: anchor.audit(),
                state: anchor.state,
            });
        }
        let log = log_path(dir);
        if std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0) {
            traces.push(log);
        }
        let capsules = dir.join(CAPSULES_DIR);
        if std::fs::read_dir(&capsules).is_ok_and(|mut agents| agents.next().is_some()) {
            traces.push(capsules);
        }
        traces.extend(find_rescued(dir));
        Ok(Self {
            dir: dir.to_owned(),
            heads,
            traces,
        })
    }

    /// Whether something shows that there was a database.
    pub(crate) fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Refuses to begin where a database was and is no more. To be called before the database is opened: opening an empty one would delete
    /// a log that is still there.
    ///
    /// # Errors
    /// [`OpenError::DatabaseGone`].
    pub(crate) fn check_present(&self) -> Result<(), OpenError> {
        if has_database(&self.dir) || self.is_empty() {
            return Ok(());
        }
        let path = database_path(&self.dir);
        let traces: Vec<String> = self
            .traces
            .iter()
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        Err(OpenError::DatabaseGone {
            path,
            traces: traces.join(", "),
        })
    }

    /// Refuses a database that lacks rows which are attested.
    ///
    /// # Errors
    /// [`OpenError::DatabaseBehind`], or the database cannot be read.
    pub(crate) fn check_chains(&self, connection: &Connection) -> Result<(), OpenError> {
        let path = database_path(&self.dir);
        let failed = |error| OpenError::from_sqlite(&path, error);
        let version = read_version(connection).map_err(failed)?;
        for heads in &self.heads {
            let audit = match version {
                0 => ChainComparison::behind(heads.audit, ChainHead::GENESIS),
                _ => compare_audit(connection, heads.audit).map_err(failed)?,
            };
            let state = match heads.state {
                Some(state) if version >= STATE_CHAIN_SINCE => {
                    compare_state(connection, state).map_err(failed)?
                }
                Some(_) | None => ChainComparison::Whole,
            };
            for (chain, comparison) in [("audit log", audit), ("history of state", state)] {
                if let ChainComparison::Lacks { row, found } = comparison {
                    return Err(OpenError::DatabaseBehind {
                        path,
                        chain,
                        attested_by: heads.file.clone(),
                        row,
                        found,
                    });
                }
            }
        }
        Ok(())
    }
}

/// The copies of lost databases in a data directory, newest first.
fn find_rescued(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with(RESCUED_PREFIX)
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.reverse();
    found
}

/// How a chain stands to an attested head.
enum ChainComparison {
    /// It holds the attested row, or holds it in an archive.
    Whole,
    /// It lacks the attested row: it has only `found` rows, or another one in its place.
    Lacks { row: u64, found: u64 },
}

impl ChainComparison {
    /// Compares a chain of which only the length is known.
    const fn behind(attested: ChainHead, head: ChainHead) -> Self {
        if attested.seq <= head.seq {
            Self::Whole
        } else {
            Self::Lacks {
                row: attested.seq,
                found: head.seq,
            }
        }
    }

    /// Compares the row in the place of the attested one.
    fn of_row(attested: ChainHead, head: ChainHead, row: Option<ChainHead>) -> Self {
        if row == Some(attested) {
            Self::Whole
        } else {
            Self::Lacks {
                row: attested.seq,
                found: head.seq,
            }
        }
    }
}

fn compare_audit(
    connection: &Connection,
    attested: ChainHead,
) -> rusqlite::Result<ChainComparison> {
    let head = read_audit_head(connection)?;
    let archived = archived_head(connection)?;
    if attested.seq > head.seq || attested.seq < archived.seq || attested.seq == 0 {
        // The rows of an archive are compared by `ark audit verify`.
        return Ok(ChainComparison::behind(attested, head));
    }
    let row = if attested.seq == archived.seq {
        Some(archived)
    } else {
        select_head(connection, "audit_log", attested.seq)?
    };
    Ok(ChainComparison::of_row(attested, head, row))
}

fn compare_state(
    connection: &Connection,
    attested: ChainHead,
) -> rusqlite::Result<ChainComparison> {
    let head = read_state_head(connection)?;
    if attested.seq > head.seq || attested.seq == 0 {
        return Ok(ChainComparison::behind(attested, head));
    }
    let row = select_head(connection, "state_history", attested.seq)?;
    Ok(ChainComparison::of_row(attested, head, row))
}

/// Reads number and hash of one row of a chain's table.
fn select_head(
    connection: &Connection,
    table: &str,
    seq: u64,
) -> rusqlite::Result<Option<ChainHead>> {
    ChainHead::select(
        connection,
        &format!("SELECT seq, hash FROM {table} WHERE seq = {seq}"),
    )
}
