//! The session log: one line for everything that was done, in order, for people to read and filter.
//!
//! A line is written in the transaction of what it tells of. The audit log is the evidence; this is its index, and it keeps its lines when
//! audit rows are archived.

use ark_model::ids::{Millis, Name, TraceId};
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{MAX_SEQ, execute_cached, millis_column, parse_column};
use crate::reader::Reader;
use crate::tables::signals::{DeliveryCompletion, DeliveryResult};

use super::audit_log::{AuditEntry, AuditKind};

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

const INSERT_LINE: &str =
    "INSERT INTO session_log (at, kind, agent, action_type, result, trace_id, reference)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Writes the line of an invocation that handled its signal. A failed invocation has an audit row, and so a line, of its own.
pub(crate) fn write_invocation_line(
    connection: &Connection,
    delivery: &DeliveryCompletion,
    trace_id: Option<TraceId>,
) -> rusqlite::Result<()> {
    if matches!(delivery.result, DeliveryResult::Failed { .. }) {
        return Ok(());
    }
    execute_cached(
        connection,
        INSERT_LINE,
        params![
            delivery.at.0,
            "invocation",
            delivery.agent.as_str(),
            None::<&str>,
            "handled",
            trace_id.map(|id| id.to_string()),
            delivery.signal.to_string()
        ],
    )
    .map(drop)
}

/// Writes the line of an audit row.
pub(crate) fn write_audit_line(
    connection: &Connection,
    entry: &AuditEntry,
) -> rusqlite::Result<()> {
    let result = match (entry.outcome, entry.kind) {
        (Some(outcome), _) => outcome.as_str(),
        (None, AuditKind::Failure) => "failed",
        (None, _) => "done",
    };
    execute_cached(
        connection,
        INSERT_LINE,
        params![
            entry.at.0,
            entry.kind.as_str(),
            entry.agent.as_ref().map(Name::as_str),
            entry.action_type,
            result,
            entry.trace_id.map(|id| id.to_string()),
            entry.id.to_string()
        ],
    )
    .map(drop)
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

impl Reader {
    /// The lines that match, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn session_page(
        &self,
        filter: &SessionLogFilter,
        limit: u32,
    ) -> Result<Vec<SessionLogRow>, ReadError> {
        let params = params![
            filter.before.unwrap_or(MAX_SEQ),
            filter.agent.as_ref().map(Name::as_str),
            filter.action_type,
            filter.result,
            filter.since.unwrap_or_default().0,
            filter.until.map_or(MAX_SEQ, |until| until.0),
            limit
        ];
        self.select_rows(
            "SELECT seq, at, kind, agent, action_type, result, trace_id, reference FROM session_log
             WHERE seq < ?1 AND (?2 IS NULL OR agent = ?2) AND (?3 IS NULL OR action_type = ?3)
             AND (?4 IS NULL OR result = ?4) AND at >= ?5 AND at < ?6 ORDER BY seq DESC LIMIT ?7",
            params,
            read_session_row,
        )
    }
}
