//! Which rows of the audit log belong to a trace.
//!
//! Invariants: every row of the log that has a trace has its row here, or is behind those that are written (`derived.rs`). The index is derived: the
//! audit log is the record, and nothing compares the two; a row that somebody added here adds none to a trace, since the log's own row is read, too.

use std::sync::LazyLock;

use ark_model::ids::TraceId;
use rusqlite::Connection;

use crate::query::{RowInsert, execute_cached};
use crate::schema::{LATER_INDEX_SINCE, read_version};

/// The condition that an audit row belongs to the trace in `parameter`, of which there is the text. A database of an earlier schema has another index.
pub(super) fn select_trace(connection: &Connection, parameter: &str) -> rusqlite::Result<String> {
    if read_version(connection)? < LATER_INDEX_SINCE {
        return Ok(format!("trace_id = {parameter}"));
    }
    Ok(format!(
        "trace_id = {parameter} AND seq IN (SELECT seq FROM audit_traces WHERE trace_id = unhex({parameter})
         UNION ALL SELECT seq FROM audit_log WHERE seq > (SELECT indexed_seq FROM derived_until) AND trace_id = {parameter})"
    ))
}

/// Rows may be there already, since somebody added them: they stay, and the others are written.
static INSERT_TRACES: LazyLock<RowInsert> = LazyLock::new(|| {
    RowInsert::new(
        "INSERT OR IGNORE INTO audit_traces (trace_id, seq)",
        "(?, ?)",
        "",
    )
});

/// Writes that audit rows belong to traces.
pub(super) fn write_trace_rows(
    connection: &Connection,
    rows: &[(TraceId, u64)],
) -> rusqlite::Result<()> {
    INSERT_TRACES.execute(connection, rows, |values, (trace_id, seq)| {
        values.push(trace_id.to_bytes())?;
        values.push(seq)
    })
}

/// Deletes the rows of the audit rows up to `last`, which are in an archive.
pub(crate) fn delete_trace_rows_until(connection: &Connection, last: u64) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "DELETE FROM audit_traces WHERE seq <= ?1",
        [last],
    )
    .map(drop)
}
