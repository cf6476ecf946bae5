//! Rows that are derived from the audit log: the lines of the session log, and the rows of the index of decisions.
//!
//! A commit writes each page that it touches as a whole. Were these rows written with each decision, they would be a quarter of what is written for
//! it; so the writer keeps them, and writes many of them with a later commit.
//!
//! Invariants: the table `derived_until` has the last audit row whose derived rows are written, and is written with them. What comes behind it is derived from
//! the audit log by whoever reads a list, so that a list lacks nothing, also after a crash. A line that cannot be derived, that of an
//! invocation, is written in the transaction of what it tells of, behind the lines before it.

use std::sync::Arc;

use ark_model::decision::Outcome;
use ark_model::ids::{Name, TraceId};
use rusqlite::Connection;

use crate::query::execute_cached;
use crate::schema::{LATER_DERIVED_ROWS_SINCE, read_version};
use crate::tables::signals::{DeliveryCompletion, DeliveryResult};

use super::audit_log::{audit_columns, read_audit_head, read_audit_row};
use super::decision_index::{IndexRow, find_indexed_fields, read_policies, write_decision_rows};
use super::entry::{AuditEntry, AuditKind, AuditRow, IndexedFields};
use super::session_log::{Reference, SessionLine, write_session_lines};
use super::underived::{describe_result, read_derived_until, skip_unreadable};

/// This many rows are written at once. More would lengthen the commit that writes them, fewer would write more pages for each.
const WRITTEN_AT_ONCE: usize = 128;
/// This many rows are kept at most. Where the database takes no more they are forgotten, and derived from the audit log when they are written.
const MAX_KEPT: usize = 1_024;

/// The derived rows of an audit row, or of an invocation.
struct DerivedRow {
    /// The audit row; `None`: an invocation.
    seq: Option<u64>,
    line: SessionLine,
    decision: Option<IndexedDecision>,
}

/// A row of the index of decisions.
struct IndexedDecision {
    seq: u64,
    outcome: Option<Outcome>,
    subject: Option<Arc<IndexedFields>>,
}

/// Derived rows that are not written yet, in the order of what they are derived from.
#[derive(Default)]
pub(crate) struct DerivedRows {
    rows: Vec<DerivedRow>,
    /// How many of them cannot be derived again.
    invocations: usize,
}

/// A number of rows, to go back to.
#[derive(Clone, Copy)]
pub(crate) struct DerivedMark {
    rows: usize,
    invocations: usize,
}

impl DerivedRows {
    /// Adds what is derived from the entry that became the audit row `seq`.
    pub(crate) fn add_entry(&mut self, seq: u64, entry: &AuditEntry) {
        let decision = (entry.kind == AuditKind::Decision).then(|| IndexedDecision {
            seq,
            outcome: entry.outcome,
            subject: entry.subject.clone(),
        });
        let line = SessionLine {
            at: entry.at,
            kind: entry.kind.as_str(),
            agent: entry.agent.clone(),
            action_type: entry.action_type.clone(),
            result: describe_result(entry.kind, entry.outcome),
            trace_id: entry.trace_id,
            reference: Reference::Entry(entry.id),
        };
        self.rows.push(DerivedRow {
            seq: Some(seq),
            line,
            decision,
        });
    }

    /// Adds the line of an invocation that handled its signal. A failed invocation has an audit row, and so a line, of its own.
    pub(crate) fn add_invocation(
        &mut self,
        delivery: &DeliveryCompletion,
        trace_id: Option<TraceId>,
    ) {
        if matches!(delivery.result, DeliveryResult::Failed { .. }) {
            return;
        }
        let line = SessionLine {
            at: delivery.at,
            kind: "invocation",
            agent: Some(delivery.agent.clone()),
            action_type: None,
            result: "handled",
            trace_id,
            reference: Reference::Signal(delivery.signal),
        };
        self.rows.push(DerivedRow {
            seq: None,
            line,
            decision: None,
        });
        self.invocations += 1;
    }

    /// Where the rows end now.
    pub(crate) fn mark(&self) -> DerivedMark {
        DerivedMark {
            rows: self.rows.len(),
            invocations: self.invocations,
        }
    }

    /// Forgets the rows that were added after `mark`, since what they are derived from is not committed.
    pub(crate) fn go_back(&mut self, mark: DerivedMark) {
        self.rows.truncate(mark.rows);
        self.invocations = mark.invocations;
    }

    /// Whether the rows are many.
    pub(crate) fn are_many(&self) -> bool {
        self.rows.len() >= WRITTEN_AT_ONCE
    }

    /// Whether some of the rows cannot be derived again, so that they must be written with the transaction under way.
    pub(crate) fn are_needed(&self) -> bool {
        self.invocations > 0
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the rows, which end with those of the audit row `until`, behind those of earlier audit rows that lack theirs. They stay until
    /// [`DerivedRows::clear`]: the transaction may fail.
    pub(crate) fn write(&self, connection: &Connection, until: u64) -> rusqlite::Result<()> {
        let first = self.rows.iter().find_map(|row| row.seq);
        write_rows_until(connection, first.map_or(until, |first| first - 1))?;
        write_rows(connection, &self.rows)?;
        write_derived_until(connection, until)
    }

    /// Forgets rows that were not written, once they are too many to be kept.
    pub(crate) fn forget_excess(&mut self) {
        if self.rows.len() > MAX_KEPT && self.invocations == 0 {
            self.clear();
        }
    }

    /// Forgets the rows, since they are written and committed, or are to be derived again.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.invocations = 0;
    }
}

impl DerivedRow {
    /// What is derived from a row of the log. `find_subject` finds what the index holds of a decision.
    fn from_audit_row(row: AuditRow, find_subject: impl FnOnce(&str) -> IndexedFields) -> Self {
        let decision = (row.kind == AuditKind::Decision).then(|| IndexedDecision {
            seq: row.seq,
            outcome: row.outcome,
            subject: Some(Arc::new(find_subject(&row.body))),
        });
        let line = SessionLine {
            at: row.at,
            kind: row.kind.as_str(),
            agent: row.agent,
            action_type: row.action_type,
            result: describe_result(row.kind, row.outcome),
            trace_id: row.trace_id,
            reference: Reference::Text(row.id),
        };
        Self {
            seq: Some(row.seq),
            line,
            decision,
        }
    }

    /// The row of the index; `None`: it is no decision.
    fn index_row(&self) -> Option<IndexRow<'_>> {
        let (line, decision) = (&self.line, self.decision.as_ref()?);
        Some(IndexRow {
            seq: decision.seq,
            at: line.at,
            agent: line.agent.as_ref().map(Name::as_str),
            action_type: line.action_type.as_deref(),
            outcome: decision.outcome.map(Outcome::as_str),
            subject: decision.subject.as_deref(),
        })
    }
}

/// Writes rows in their order: all lines, then the rows of the index.
fn write_rows(connection: &Connection, rows: &[DerivedRow]) -> rusqlite::Result<()> {
    write_session_lines(connection, rows, |row| &row.line)?;
    let decisions: Vec<_> = rows.iter().filter_map(DerivedRow::index_row).collect();
    write_decision_rows(connection, &decisions)
}

fn write_derived_until(connection: &Connection, until: u64) -> rusqlite::Result<()> {
    execute_cached(connection, "UPDATE derived_until SET seq = ?1", [until]).map(drop)
}

/// Whether derived rows may lack: in an earlier schema each is written with its audit row.
fn has_later_rows(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(read_version(connection)? >= LATER_DERIVED_ROWS_SINCE)
}

/// Writes the derived rows of all audit rows that lack them, in a transaction of its own: what a crash leaves.
pub(crate) fn write_missing_rows(connection: &mut Connection) -> rusqlite::Result<()> {
    if !has_later_rows(connection)? {
        return Ok(());
    }
    let head = read_audit_head(connection)?;
    if head.seq <= read_derived_until(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    write_rows_until(&transaction, head.seq)?;
    transaction.commit()
}

/// Writes the derived rows of the entry that became the last row of the log, `seq`, behind those of earlier rows that lack theirs: in the way of the
/// database's schema. Within the caller's transaction.
pub(crate) fn write_rows_of_last(
    connection: &Connection,
    seq: u64,
    entry: &AuditEntry,
) -> rusqlite::Result<()> {
    if has_later_rows(connection)? {
        return write_rows_until(connection, seq);
    }
    let mut derived = DerivedRows::default();
    derived.add_entry(seq, entry);
    write_rows(connection, &derived.rows)
}

/// Writes the derived rows of the audit rows up to `last` that lack them. Within the caller's transaction.
fn write_rows_until(connection: &Connection, last: u64) -> rusqlite::Result<()> {
    let until = read_derived_until(connection)?;
    if last <= until {
        return Ok(());
    }
    let policies = read_policies(connection)?;
    let columns = audit_columns(connection)?;
    let sql = format!("SELECT {columns} FROM audit_log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([until, last])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(row) = skip_unreadable(read_audit_row(row))? {
            let subject = |body: &str| find_indexed_fields(body, &policies);
            found.push(DerivedRow::from_audit_row(row, subject));
        }
        if found.len() == WRITTEN_AT_ONCE {
            write_rows(connection, &found)?;
            found.clear();
        }
    }
    write_rows(connection, &found)?;
    write_derived_until(connection, last)
}
