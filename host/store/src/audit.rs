//! The audit log: a chain of hashes over everything that was decided, executed or has failed.
//!
//! `hash(n) = SHA-256(hash(n-1) || canonical row n)`, where `hash(0)` is 32 zero bytes. The canonical row is its columns in the order
//! seq, at, kind, id, `trace_id`, agent, `action_type`, outcome, body, each as its length (4 bytes, little endian) and its bytes; numbers are
//! 8 bytes little endian; an absent column has the length 0xFFFFFFFF and no bytes. So no two different rows have one canonical form.
//!
//! The head is anchored from time to time in `anchors.jsonl` beside the database (and in the log), so that a truncated or wholly replaced
//! log shows too.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use ark_model::decision::Outcome;
use ark_model::ids::{Digest, Millis, Name, TraceId};

use super::error::ReadError;
use super::{ReadOnlyStore, Store};

/// What an audit row tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditKind {
    /// A decision.
    Decision,
    /// An invocation that failed: nothing of it was committed.
    Failure,
    /// An execution report.
    Execution,
    /// An order of an operator or of the watchdog: halt, resume, quarantine, restore.
    Control,
    /// An operator changed something.
    Operator,
    /// What became of an approval.
    Approval,
    /// Somebody asks for another Graveyard. Nothing changes by it.
    Amendment,
}

impl AuditKind {
    /// As in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Failure => "failure",
            Self::Execution => "execution",
            Self::Control => "control",
            Self::Operator => "operator",
            Self::Approval => "approval",
            Self::Amendment => "amendment",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Decision,
            Self::Failure,
            Self::Execution,
            Self::Control,
            Self::Operator,
            Self::Approval,
            Self::Amendment,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// A row to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// What it tells of.
    pub kind: AuditKind,
    /// Its id: unique.
    pub id: String,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// Whom it is about.
    pub agent: Option<Name>,
    /// The action's type.
    pub action_type: Option<String>,
    /// The decision's outcome.
    pub outcome: Option<Outcome>,
    /// When.
    pub at: Millis,
    /// The rest, as canonical JSON.
    pub body: String,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRow {
    /// Its place: from 1, without a gap.
    pub seq: u64,
    /// What it tells of.
    pub kind: AuditKind,
    /// Its id.
    pub id: String,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// Whom it is about.
    pub agent: Option<Name>,
    /// The action's type.
    pub action_type: Option<String>,
    /// The decision's outcome.
    pub outcome: Option<Outcome>,
    /// When.
    pub at: Millis,
    /// The rest, as canonical JSON.
    pub body: String,
    /// Its link of the chain.
    pub hash: Digest,
}

/// Which rows to list. Everything given must match.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// The kind.
    pub kind: Option<AuditKind>,
    /// The agent.
    pub agent: Option<Name>,
    /// The outcome.
    pub outcome: Option<Outcome>,
    /// The action type.
    pub action_type: Option<String>,
    /// The trace.
    pub trace_id: Option<TraceId>,
}

/// The last link of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) hash: Digest,
}

/// A head of the chain, noted outside the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The number of rows.
    pub seq: u64,
    /// The hash of the last.
    pub hash: Digest,
    /// When it was noted.
    pub at_ms: Millis,
    /// The head of the state's history at that moment; absent in anchors of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ChainHead>,
}

/// A head of the state's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// The number of revisions.
    pub seq: u64,
    /// The hash of the last.
    pub hash: Digest,
}

/// The first thing wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainFault {
    /// The row.
    pub seq: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// The state of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// How many rows there are, archived ones included: the last row's place.
    pub rows: u64,
    /// How many of them are in archive files, and so not checked here.
    pub archived: u64,
    /// The hash of the last.
    pub head: Digest,
    /// How many anchors were checked.
    pub anchors: u64,
    /// The first fault; `None`: the log is whole.
    pub fault: Option<ChainFault>,
}

pub(super) const GENESIS: Head = Head {
    seq: 0,
    hash: Digest::from_bytes([0; 32]),
};

pub(super) fn read_audit_head(connection: &Connection) -> rusqlite::Result<Head> {
    let last = connection
        .query_row(
            "SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1",
            [],
            |row| {
                Ok(Head {
                    seq: row.get(0)?,
                    hash: digest_column(row, 1)?,
                })
            },
        )
        .optional()?;
    match last {
        Some(head) => Ok(head),
        None => Ok(super::retention::archived_head(connection)?.unwrap_or(GENESIS)),
    }
}

/// Appends an entry behind `head` and moves it on.
pub(super) fn append_entry(
    connection: &Connection,
    head: &mut Head,
    entry: &AuditEntry,
) -> rusqlite::Result<u64> {
    let seq = head.seq + 1;
    let trace_id = entry.trace_id.map(|id| id.to_string());
    let agent = entry.agent.as_ref().map(Name::as_str);
    let outcome = entry.outcome.map(Outcome::as_str);
    let hash = chain_hash(
        head.hash,
        &[seq, entry.at.0],
        &[
            Some(entry.kind.as_str()),
            Some(&entry.id),
            trace_id.as_deref(),
            agent,
            entry.action_type.as_deref(),
            outcome,
            Some(&entry.body),
        ],
    );
    connection
        .prepare_cached(
            "INSERT INTO audit_log (seq, at, kind, id, trace_id, agent, action_type, outcome, body, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            seq,
            entry.at.0,
            entry.kind.as_str(),
            entry.id,
            trace_id,
            agent,
            entry.action_type,
            outcome,
            entry.body,
            hash.as_bytes(),
        ])?;
    *head = Head { seq, hash };
    Ok(seq)
}

/// The hash of a row behind `previous`, by its numbers and texts in their order.
pub(super) fn chain_hash(previous: Digest, numbers: &[u64], texts: &[Option<&str>]) -> Digest {
    let bytes: usize = texts.iter().flatten().map(|text| text.len()).sum();
    let mut canonical = Vec::with_capacity(128 + bytes);
    canonical.extend_from_slice(previous.as_bytes());
    for number in numbers {
        canonical.extend_from_slice(&8u32.to_le_bytes());
        canonical.extend_from_slice(&number.to_le_bytes());
    }
    for text in texts {
        // A column is shorter than 4 GiB: SQLite's own limit is 1 GB.
        let length = text.map_or(u32::MAX, |text| {
            u32::try_from(text.len()).unwrap_or(u32::MAX - 1)
        });
        canonical.extend_from_slice(&length.to_le_bytes());
        canonical.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
    Digest::hash_bytes(&canonical)
}

pub(super) const AUDIT_COLUMNS: &str =
    "seq, at, kind, id, trace_id, agent, action_type, outcome, body, hash";

pub(super) fn read_audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let kind: String = row.get(2)?;
    let outcome: Option<String> = row.get(7)?;
    Ok(AuditRow {
        seq: row.get(0)?,
        at: Millis(row.get(1)?),
        kind: AuditKind::parse(&kind).ok_or_else(|| malformed_column(2, &kind))?,
        id: row.get(3)?,
        trace_id: parse_column(row, 4)?,
        agent: parse_column(row, 5)?,
        action_type: row.get(6)?,
        outcome: outcome
            .map(|text| parse_outcome(&text).ok_or_else(|| malformed_column(7, &text)))
            .transpose()?,
        body: row.get(8)?,
        hash: digest_column(row, 9)?,
    })
}

fn parse_outcome(text: &str) -> Option<Outcome> {
    [Outcome::Approved, Outcome::Held, Outcome::Denied]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
}

/// A text column parsed into an id or a name.
pub(super) fn parse_column<T: std::str::FromStr>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|_| malformed_column(column, &text)))
        .transpose()
}

/// As [`parsed`], for a column that is never null.
pub(super) fn parse_required<T: std::str::FromStr>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    parse_column(row, column)?.ok_or_else(|| malformed_column(column, "null"))
}

pub(super) fn malformed_column(column: usize, found: &str) -> rusqlite::Error {
    let reason = format!(
        "{:?} is not what this column holds",
        ark_model::check::clip_for_error(found)
    );
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, reason.into())
}

pub(super) fn digest_column(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get::<_, [u8; 32]>(column).map(Digest::from_bytes)
}

/// The hash a row must have behind `previous`.
#[must_use]
pub fn audit_row_hash(previous: Digest, row: &AuditRow) -> Digest {
    let trace_id = row.trace_id.map(|id| id.to_string());
    chain_hash(
        previous,
        &[row.seq, row.at.0],
        &[
            Some(row.kind.as_str()),
            Some(&row.id),
            trace_id.as_deref(),
            row.agent.as_ref().map(Name::as_str),
            row.action_type.as_deref(),
            row.outcome.map(Outcome::as_str),
            Some(&row.body),
        ],
    )
}

fn find_audit_entry(connection: &Connection, id: &str) -> rusqlite::Result<Option<AuditRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT {AUDIT_COLUMNS} FROM audit_log WHERE id = ?1"
        ))?
        .query_row([id], read_audit_row)
        .optional()
}

impl Store {
    /// The row with this id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_entry(&self, id: &str) -> Result<Option<AuditRow>, ReadError> {
        self.inner
            .readers
            .with_connection(|connection| find_audit_entry(connection, id))
    }

    /// Rows that match, newest first, before `before` when given, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_page(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, ReadError> {
        let sql = format!(
            "SELECT {AUDIT_COLUMNS} FROM audit_log WHERE seq < ?1 AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR agent = ?3)
             AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR action_type = ?5) {} ORDER BY seq DESC LIMIT ?7",
            // Named only when given, so that its index is used.
            if filter.trace_id.is_some() { "AND trace_id = ?6" } else { "AND ?6 IS NULL" },
        );
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(
                    params![
                        before.unwrap_or(i64::MAX.unsigned_abs()),
                        filter.kind.map(AuditKind::as_str),
                        filter.agent.as_ref().map(Name::as_str),
                        filter.outcome.map(Outcome::as_str),
                        filter.action_type,
                        filter.trace_id.map(|id| id.to_string()),
                        limit,
                    ],
                    read_audit_row,
                )?
                .collect()
        })
    }

    /// The rows of a kind since a moment, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_since(&self, since: Millis, kind: AuditKind) -> Result<Vec<AuditRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {AUDIT_COLUMNS} FROM audit_log ORDER BY seq DESC"
            ))?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if row.get::<_, u64>(1)? < since.0 {
                    break;
                }
                let row = read_audit_row(row)?;
                if row.kind == kind {
                    found.push(row);
                }
            }
            found.reverse();
            Ok(found)
        })
    }

    /// The last link of the chain: how many rows, and the hash of the last.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_head(&self) -> Result<(u64, Digest), ReadError> {
        self.inner
            .readers
            .with_connection(read_audit_head)
            .map(|head| (head.seq, head.hash))
    }
}

impl ReadOnlyStore {
    /// Visits the rows from 1 on, oldest first, until `visit` returns false.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn visit_audit_rows(
        &self,
        mut visit: impl FnMut(AuditRow) -> bool,
    ) -> Result<(), ReadError> {
        self.readers().with_connection(|connection| {
            let mut statement = connection.prepare(&format!(
                "SELECT {AUDIT_COLUMNS} FROM audit_log ORDER BY seq"
            ))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if !visit(read_audit_row(row)?) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The decisions since a moment behind a place in the log, oldest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn decisions_since(
        &self,
        since: Millis,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AuditRow>, ReadError> {
        self.readers().with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {AUDIT_COLUMNS} FROM audit_log WHERE seq > ?1 AND at >= ?2 AND kind = ?3 ORDER BY seq LIMIT ?4"
                ))?
                .query_map(
                    params![after, since.0, AuditKind::Decision.as_str(), limit],
                    read_audit_row,
                )?
                .collect()
        })
    }

    /// A row by its id, e.g. a decision's.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_entry(&self, id: &str) -> Result<Option<AuditRow>, ReadError> {
        self.readers()
            .with_connection(|connection| find_audit_entry(connection, id))
    }

    /// The link that the rows in the database begin behind: of row 0, unless rows were archived.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_base(&self) -> Result<ChainHead, ReadError> {
        let base = self
            .readers()
            .with_connection(super::retention::archived_head)?;
        let base = base.unwrap_or(GENESIS);
        Ok(ChainHead {
            seq: base.seq,
            hash: base.hash,
        })
    }
}
