//! The session log: one line for everything that was done, in order, for people to read and filter.
//!
//! The lines of audit rows are derived, see `derived.rs`; that of an invocation is written in the transaction of what it tells of. The audit
//! log is the evidence; this is its index, and it keeps its lines when audit rows are archived.

use std::sync::LazyLock;

use ark_model::ids::{AuditId, Millis, Name, SignalId, TraceId};
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{MAX_SEQ, RowInsert, millis_column, parse_column, select_rows, select_value};
use crate::reader::Reader;

use super::underived::{UnderivedRow, describe_result, read_lines_until, read_underived_rows};

/// A line of the session log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLogRow {
    /// The number of the line; later lines have greater ones.
    pub seq: u64,
    /// When it happened.
    pub at_ms: Millis,
    /// `invocation`, or the kind of an audit row.
    pub kind: String,
    /// The agent the line is about.
    pub agent: Option<Name>,
    /// The type of the action, or the name of the operation.
    pub action_type: Option<String>,
    /// The result: `handled`, `failed`, `approved`, `held`, `denied` or `done`.
    pub result: String,
    /// The trace the line belongs to.
    pub trace_id: Option<TraceId>,
    /// The id of the audit row or of the signal.
    pub reference: String,
}

/// Which lines to list. A line must match everything that is given.
#[derive(Debug, Clone, Default)]
pub struct SessionLogFilter {
    /// The agent.
    pub agent: Option<Name>,
    /// The type of the action.
    pub action_type: Option<String>,
    /// The result.
    pub result: Option<String>,
    /// The first moment of the lines.
    pub since: Option<Millis>,
    /// The moment before which the lines were written.
    pub until: Option<Millis>,
    /// The line before which the page begins.
    pub before: Option<u64>,
}

/// A line to be written.
pub(super) struct SessionLine {
    pub(super) at: Millis,
    pub(super) kind: &'static str,
    pub(super) agent: Option<Name>,
    pub(super) action_type: Option<String>,
    pub(super) result: &'static str,
    pub(super) trace_id: Option<TraceId>,
    pub(super) reference: Reference,
}

/// What a line refers to.
pub(super) enum Reference {
    /// An audit row.
    Entry(AuditId),
    /// A signal.
    Signal(SignalId),
    /// An audit row, by the text that its column has.
    Text(String),
}

impl Reference {
    /// The text of the id. `buffer` is where it is written, unless it is a text already.
    pub(super) fn write_text<'a>(&'a self, buffer: &'a mut [u8; 36]) -> &'a str {
        match self {
            Self::Entry(entry) => entry.write_text(buffer),
            Self::Signal(signal) => signal.write_text(buffer),
            Self::Text(text) => text,
        }
    }
}

static INSERT_LINES: LazyLock<RowInsert> = LazyLock::new(|| {
    RowInsert::new(
        "INSERT OR FAIL INTO session_log (at, kind, agent, action_type, result, trace_id, reference)",
        "(?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});

/// Writes lines behind the last one, in their order. `line` gives the line of a row.
pub(super) fn write_session_lines<T>(
    connection: &Connection,
    rows: &[T],
    line: impl Fn(&T) -> &SessionLine,
) -> rusqlite::Result<()> {
    INSERT_LINES.execute(connection, rows, |values, row| {
        let line = line(row);
        let (mut id, mut trace_id) = ([0; 36], [0; 32]);
        values.push(line.at.0)?;
        values.push(line.kind)?;
        values.push(line.agent.as_ref().map(Name::as_str))?;
        values.push(line.action_type.as_deref())?;
        values.push(line.result)?;
        values.push(line.trace_id.map(|trace| trace.write_text(&mut trace_id)))?;
        values.push(line.reference.write_text(&mut id))
    })
}

fn read_session_row(row: &Row<'_>) -> rusqlite::Result<SessionLogRow> {
    Ok(SessionLogRow {
        seq: row.get(0)?,
        at_ms: millis_column(row, 1)?,
        kind: row.get(2)?,
        agent: parse_column(row, 3)?,
        action_type: row.get(4)?,
        result: row.get(5)?,
        trace_id: parse_column(row, 6)?,
        reference: row.get(7)?,
    })
}

/// The line of an audit row that has none yet.
fn derive_line(seq: u64, row: UnderivedRow) -> SessionLogRow {
    SessionLogRow {
        seq,
        at_ms: row.at,
        kind: row.kind.as_str().to_owned(),
        agent: row.agent,
        action_type: row.action_type,
        result: describe_result(row.kind, row.outcome).to_owned(),
        trace_id: row.trace_id,
        reference: row.id,
    }
}

impl SessionLogFilter {
    /// Whether a line matches; as the statement of [`Reader::session_page`] decides it for those in the table.
    fn matches(&self, line: &SessionLogRow) -> bool {
        self.before.is_none_or(|before| line.seq < before)
            && (self.agent.is_none() || self.agent == line.agent)
            && (self.action_type.is_none() || self.action_type == line.action_type)
            && self
                .result
                .as_ref()
                .is_none_or(|result| *result == line.result)
            && self.since.is_none_or(|since| line.at_ms >= since)
            && self.until.is_none_or(|until| line.at_ms < until)
    }
}

/// The lines of the audit rows that have none yet, latest first. They have the numbers that they will be written with: no line of an invocation
/// comes before them.
fn derive_missing_lines(connection: &Connection) -> rusqlite::Result<Vec<SessionLogRow>> {
    let until = read_lines_until(connection)?;
    let written: u64 = select_value(
        connection,
        "SELECT coalesce(max(seq), 0) FROM session_log",
        [],
    )?;
    let rows = read_underived_rows(connection, until)?;
    let lines = rows
        .into_iter()
        .map(|row| derive_line(written + (row.seq - until), row));
    Ok(lines.collect())
}

impl Reader {
    /// The lines that match, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read, or has an earlier schema.
    pub fn session_page(
        &self,
        filter: &SessionLogFilter,
        limit: u32,
    ) -> Result<Vec<SessionLogRow>, ReadError> {
        self.require_current_schema()?;
        self.with_snapshot(|connection| {
            let mut lines = derive_missing_lines(connection)?;
            lines.retain(|line| filter.matches(line));
            lines.truncate(limit as usize);
            let params = params![
                filter.before.unwrap_or(MAX_SEQ),
                filter.agent.as_ref().map(Name::as_str),
                filter.action_type,
                filter.result,
                filter.since.unwrap_or_default().0,
                filter.until.map_or(MAX_SEQ, |until| until.0),
                limit as usize - lines.len(),
            ];
            lines.extend(select_rows(
                connection,
                "SELECT seq, at, kind, agent, action_type, result, trace_id, reference FROM session_log
                 WHERE seq < ?1 AND (?2 IS NULL OR agent = ?2) AND (?3 IS NULL OR action_type = ?3)
                 AND (?4 IS NULL OR result = ?4) AND at >= ?5 AND at < ?6 ORDER BY seq DESC LIMIT ?7",
                params,
                read_session_row,
            )?);
            Ok(lines)
        })
    }
}
