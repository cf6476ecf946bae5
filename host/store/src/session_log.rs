//! The session log: one line for everything that was done, in order, for people to read and filter. Written with what it tells of, in the
//! same transaction. The audit log is the evidence; this is its index, and keeps its lines when audit rows are archived.

use rusqlite::{Connection, Row, params};

use ark_model::ids::{Millis, Name, TraceId};

use super::Store;
use super::audit::{AuditEntry, AuditKind, parse_column};
use super::error::ReadError;
use super::signals::{DeliveryCompletion, DeliveryResult};
use super::unit::Unit;

/// A line of the session log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct SessionRow {
    /// Its place: later lines have greater ones.
    pub seq: u64,
    /// When.
    pub at_ms: Millis,
    /// What it tells of: `invocation`, or a kind of audit row.
    pub kind: String,
    /// Whom it is about.
    pub agent: Option<Name>,
    /// The action's type, or the operation's name.
    pub action_type: Option<String>,
    /// What came of it: `handled`, `failed`, `approved`, `held`, `denied`, `done`.
    pub result: String,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// The id of the audit row or the signal.
    pub reference: String,
}

/// Which lines to list. Everything given must match.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// The agent.
    pub agent: Option<Name>,
    /// The action's type.
    pub action_type: Option<String>,
    /// The result.
    pub result: Option<String>,
    /// Not before this moment.
    pub since: Option<Millis>,
    /// Before this moment.
    pub until: Option<Millis>,
    /// Lines before this one, for the next page.
    pub before: Option<u64>,
}

/// Writes the lines of a unit: the invocation it settles, then what it records.
pub(super) fn write_unit_lines(connection: &Connection, unit: &Unit) -> rusqlite::Result<()> {
    if let Some(done) = &unit.delivery {
        write_invocation_line(connection, unit, done)?;
    }
    for entry in &unit.audit {
        write_audit_line(connection, entry)?;
    }
    Ok(())
}

const INSERT: &str =
    "INSERT INTO session_log (at, kind, agent, action_type, result, trace_id, reference)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

fn write_invocation_line(
    connection: &Connection,
    unit: &Unit,
    done: &DeliveryCompletion,
) -> rusqlite::Result<()> {
    // A failed invocation has an audit row of its own.
    if matches!(done.result, DeliveryResult::Failed(_)) {
        return Ok(());
    }
    connection.prepare_cached(INSERT)?.execute(params![
        done.at.0,
        "invocation",
        done.agent.as_str(),
        None::<&str>,
        "handled",
        unit.trace_id.map(|id| id.to_string()),
        done.signal.to_string()
    ])?;
    Ok(())
}

/// Writes the line of an audit row.
pub(super) fn write_audit_line(
    connection: &Connection,
    entry: &AuditEntry,
) -> rusqlite::Result<()> {
    let result = match (entry.outcome, entry.kind) {
        (Some(outcome), _) => outcome.as_str(),
        (None, AuditKind::Failure) => "failed",
        (None, _) => "done",
    };
    connection.prepare_cached(INSERT)?.execute(params![
        entry.at.0,
        entry.kind.as_str(),
        entry.agent.as_ref().map(Name::as_str),
        entry.action_type,
        result,
        entry.trace_id.map(|id| id.to_string()),
        entry.id
    ])?;
    Ok(())
}

fn read_session_row(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        seq: row.get(0)?,
        at_ms: Millis(row.get(1)?),
        kind: row.get(2)?,
        agent: parse_column(row, 3)?,
        action_type: row.get(4)?,
        result: row.get(5)?,
        trace_id: parse_column(row, 6)?,
        reference: row.get(7)?,
    })
}

impl Store {
    /// Lines that match, newest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn session_page(
        &self,
        filter: &SessionFilter,
        limit: u32,
    ) -> Result<Vec<SessionRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT seq, at, kind, agent, action_type, result, trace_id, reference FROM session_log
                     WHERE seq < ?1 AND (?2 IS NULL OR agent = ?2) AND (?3 IS NULL OR action_type = ?3)
                     AND (?4 IS NULL OR result = ?4) AND at >= ?5 AND at < ?6 ORDER BY seq DESC LIMIT ?7",
                )?
                .query_map(
                    params![
                        filter.before.unwrap_or(i64::MAX.unsigned_abs()),
                        filter.agent.as_ref().map(Name::as_str),
                        filter.action_type,
                        filter.result,
                        filter.since.unwrap_or_default().0,
                        filter.until.map_or(i64::MAX.unsigned_abs(), |until| until.0),
                        limit
                    ],
                    read_session_row,
                )?
                .collect()
        })
    }
}
