//! Audit rows that have no line of the session log yet, or no rows of the indices of ids, of decisions and of traces: where they begin, and what is read of them for lists.

use ark_model::decision::Outcome;
use ark_model::ids::{Millis, Name, TraceId};
use rusqlite::{Connection, Row};

use crate::query::{malformed_column, millis_column, parse_column, select_rows, select_value};

use super::entry::{AuditKind, parse_outcome};

/// The result of an audit row, as its line of the session log has it.
pub(super) fn describe_result(kind: AuditKind, outcome: Option<Outcome>) -> &'static str {
    match (outcome, kind) {
        (Some(outcome), _) => outcome.as_str(),
        (None, AuditKind::Failure) => "failed",
        (None, _) => "done",
    }
}

/// The last audit row that has its line of the session log.
pub(super) fn read_lines_until(connection: &Connection) -> rusqlite::Result<u64> {
    select_value(connection, "SELECT seq FROM derived_until", [])
}

/// The last audit row that has its rows of the indices. To be asked of a database of the current schema.
pub(super) fn read_index_until(connection: &Connection) -> rusqlite::Result<u64> {
    select_value(connection, "SELECT indexed_seq FROM derived_until", [])
}

/// What a row of the log has beside its body.
pub(super) struct UnderivedRow {
    pub(super) seq: u64,
    pub(super) at: Millis,
    pub(super) kind: AuditKind,
    pub(super) id: String,
    pub(super) trace_id: Option<TraceId>,
    pub(super) agent: Option<Name>,
    pub(super) action_type: Option<String>,
    pub(super) outcome: Option<Outcome>,
}

/// The audit rows behind `until`, latest first. There are [`MAX_KEPT`] and those of one commit at most, unless a disk has been full.
pub(super) fn read_underived_rows(
    connection: &Connection,
    until: u64,
) -> rusqlite::Result<Vec<UnderivedRow>> {
    let read = |row: &Row<'_>| {
        let kind: String = row.get(2)?;
        let outcome: Option<String> = row.get(7)?;
        Ok(UnderivedRow {
            seq: row.get(0)?,
            at: millis_column(row, 1)?,
            kind: kind.parse().map_err(|_| malformed_column(2, &kind))?,
            id: row.get(3)?,
            trace_id: parse_column(row, 4)?,
            agent: parse_column(row, 5)?,
            action_type: row.get(6)?,
            outcome: outcome.map(|text| parse_outcome(&text)).transpose()?,
        })
    };
    let rows = select_rows(
        connection,
        "SELECT seq, at, kind, id, trace_id, agent, action_type, outcome FROM audit_log WHERE seq > ?1 ORDER BY seq DESC",
        [until],
        |row| skip_unreadable(read(row)),
    )?;
    Ok(rows.into_iter().flatten().collect())
}

/// Leaves out a row that somebody has changed into what no row can be. It then has no line in a list; what verifies the log reports it.
pub(super) fn skip_unreadable<T>(row: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
    };
    match row {
        Ok(row) => Ok(Some(row)),
        Err(
            error @ (FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | Utf8Error(..)),
        ) => {
            tracing::warn!(%error, "a row of the audit log cannot be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
