//! Rows that are derived from the audit log: the lines of the session log, and the rows of the index of decisions.
//!
//! A commit writes each page that it touches as a whole. Were these rows written with each decision, they would be a quarter of what is written for
//! it; so the writer keeps them, and writes many of them with a later commit.
//!
//! Invariants: the table `derived_until` has the last audit row whose derived rows are written, and is written with them. What comes behind it is derived from
//! the audit log by whoever reads a list, so that a list lacks nothing, also after a crash. A line that cannot be derived, that of an
//! invocation, is written in the transaction of what it tells of, behind the lines before it.

use ark_model::decision::Outcome;
use ark_model::ids::{Name, TraceId};
use rusqlite::{Connection, Row};

use crate::query::{execute_cached, select_rows, select_value};
use crate::tables::signals::{DeliveryCompletion, DeliveryResult};

use super::audit_log::{
    AuditEntry, AuditKind, AuditRow, audit_columns, read_audit_head, read_audit_row,
};
use super::decision_index::{
    IndexedFields, find_indexed_fields, read_policies, write_decision_row,
};
use super::session_log::{SessionLine, write_session_line};

/// This many rows are written at once. More would lengthen the commit that writes them, fewer would write more pages for each.
const WRITTEN_AT_ONCE: usize = 128;

/// The derived rows of an audit row, or of an invocation.
struct DerivedRow {
    line: SessionLine,
    decision: Option<IndexedDecision>,
}

/// A row of the index of decisions.
struct IndexedDecision {
    seq: u64,
    outcome: Option<Outcome>,
    subject: IndexedFields,
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
            subject: entry.subject.clone().unwrap_or_default(),
        });
        let line = SessionLine {
            at: entry.at,
            kind: entry.kind.as_str(),
            agent: entry.agent.clone(),
            action_type: entry.action_type.clone(),
            result: describe_result(entry.kind, entry.outcome),
            trace_id: entry.trace_id,
            reference: entry.id.to_string(),
        };
        self.rows.push(DerivedRow { line, decision });
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
            reference: delivery.signal.to_string(),
        };
        let decision = None;
        self.rows.push(DerivedRow { line, decision });
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

    /// Whether the rows must be written with the transaction under way.
    pub(crate) fn are_due(&self) -> bool {
        self.invocations > 0 || self.rows.len() >= WRITTEN_AT_ONCE
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the rows, which end with those of the audit row `until`. They stay until [`DerivedRows::clear`]: the transaction may fail.
    pub(crate) fn write(&self, connection: &Connection, until: u64) -> rusqlite::Result<()> {
        for row in &self.rows {
            row.write(connection)?;
        }
        write_derived_until(connection, until)
    }

    /// Forgets the rows, since they are written and committed.
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
            subject: find_subject(&row.body),
        });
        let line = SessionLine {
            at: row.at,
            kind: row.kind.as_str(),
            agent: row.agent,
            action_type: row.action_type,
            result: describe_result(row.kind, row.outcome),
            trace_id: row.trace_id,
            reference: row.id,
        };
        Self { line, decision }
    }

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let line = &self.line;
        write_session_line(connection, line)?;
        let Some(decision) = &self.decision else {
            return Ok(());
        };
        write_decision_row(
            connection,
            (decision.seq, line.at),
            line.agent.as_ref().map(Name::as_str),
            line.action_type.as_deref(),
            decision.outcome.map(Outcome::as_str),
            &decision.subject,
        )
    }
}

/// The result of an audit row, as its line of the session log has it.
pub(super) fn describe_result(kind: AuditKind, outcome: Option<Outcome>) -> &'static str {
    match (outcome, kind) {
        (Some(outcome), _) => outcome.as_str(),
        (None, AuditKind::Failure) => "failed",
        (None, _) => "done",
    }
}

/// The last audit row whose derived rows are written.
pub(super) fn read_derived_until(connection: &Connection) -> rusqlite::Result<u64> {
    select_value(connection, "SELECT seq FROM derived_until", [])
}

fn write_derived_until(connection: &Connection, until: u64) -> rusqlite::Result<()> {
    execute_cached(connection, "UPDATE derived_until SET seq = ?1", [until]).map(drop)
}

/// Writes the derived rows of all audit rows that lack them: after a crash, and after maintenance. Within the caller's transaction.
pub(crate) fn write_missing_rows(connection: &Connection) -> rusqlite::Result<()> {
    let until = read_derived_until(connection)?;
    let head = read_audit_head(connection)?;
    if head.seq <= until {
        return Ok(());
    }
    let policies = read_policies(connection)?;
    let columns = audit_columns(connection)?;
    let sql = format!("SELECT {columns} FROM audit_log WHERE seq > ?1 ORDER BY seq");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([until])?;
    while let Some(row) = rows.next()? {
        if let Some(row) = read_if_readable(row)? {
            DerivedRow::from_audit_row(row, |body| find_indexed_fields(body, &policies))
                .write(connection)?;
        }
    }
    write_derived_until(connection, head.seq)
}

/// The audit rows behind `until`, latest first, which have no derived rows yet.
pub(super) fn read_underived_rows(
    connection: &Connection,
    until: u64,
) -> rusqlite::Result<Vec<AuditRow>> {
    let columns = audit_columns(connection)?;
    let sql = format!("SELECT {columns} FROM audit_log WHERE seq > ?1 ORDER BY seq DESC");
    let rows = select_rows(connection, &sql, [until], read_if_readable)?;
    Ok(rows.into_iter().flatten().collect())
}

/// Reads a row of the log; `None` when somebody has changed it into what no row can be. It then has no line in a list; what verifies the log
/// reports it.
fn read_if_readable(row: &Row<'_>) -> rusqlite::Result<Option<AuditRow>> {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    match read_audit_row(row) {
        Ok(row) => Ok(Some(row)),
        Err(
            error @ (FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)),
        ) => {
            tracing::warn!(%error, "a row of the audit log cannot be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
