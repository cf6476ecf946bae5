//! Which row of the audit log has an id.
//!
//! Invariants: every row of the log has its row here, or is behind those that are written (`derived.rs`). The index is derived: a row that somebody
//! added here finds nothing, since the log's own row is read, too. Ids are fresh, so no constraint keeps two rows of the log from having the same.

use std::sync::LazyLock;

use rusqlite::Connection;

use crate::query::{RowInsert, execute_cached};
use crate::schema::{LATER_IDS_SINCE, read_version};

use super::session_log::Reference;

/// The condition that an audit row has the id in `parameter`. A database of an earlier schema has another index.
pub(super) fn select_id(connection: &Connection, parameter: &str) -> rusqlite::Result<String> {
    if read_version(connection)? < LATER_IDS_SINCE {
        return Ok(format!("id = {parameter}"));
    }
    Ok(format!("seq = {}", select_seq_of(parameter)))
}

/// The number of the row that has the id in `id`, an expression, as an expression: null where there is none. The rows behind the index are read only for an
/// id that the index does not have, the latest first: there are many of them once nothing can be written any more.
fn select_seq_of(id: &str) -> String {
    format!(
        "coalesce(({}), (SELECT seq FROM audit_log WHERE seq > (SELECT indexed_seq FROM derived_until) AND id = {id} ORDER BY seq DESC LIMIT 1))",
        select_indexed_seq(id)
    )
}

/// The condition that some row has the id in `id`, an expression. For a statement that asks it of many ids: the rows behind the index are read once.
pub(crate) fn select_has_row(id: &str) -> String {
    format!(
        "(EXISTS ({}) OR {id} IN (SELECT id FROM audit_log WHERE seq > (SELECT indexed_seq FROM derived_until)))",
        select_indexed_seq(id)
    )
}

/// The query of the number of a row that has the id in `id`, an expression, by the index. The id of the log's own row is compared, too.
fn select_indexed_seq(id: &str) -> String {
    format!(
        "SELECT entry.seq FROM audit_ids CROSS JOIN audit_log entry ON entry.seq = audit_ids.seq AND entry.id = audit_ids.id
         WHERE audit_ids.id = {id} LIMIT 1"
    )
}

/// Rows may be there already, since somebody added them or all are derived again: they stay, and the others are written.
static INSERT_IDS: LazyLock<RowInsert> =
    LazyLock::new(|| RowInsert::new("INSERT OR IGNORE INTO audit_ids (id, seq)", "(?, ?)", ""));

/// Writes which ids audit rows have.
pub(super) fn write_id_rows(
    connection: &Connection,
    rows: &[(&Reference, u64)],
) -> rusqlite::Result<()> {
    INSERT_IDS.execute(connection, rows, |values, (id, seq)| {
        values.push(id.write_text(&mut [0; 36]))?;
        values.push(seq)
    })
}

/// Writes which ids the audit rows behind `first` have, up to `last`: also those whose other columns cannot be read.
pub(super) fn derive_id_rows(
    connection: &Connection,
    first: u64,
    last: u64,
) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "INSERT OR IGNORE INTO audit_ids SELECT id, seq FROM audit_log WHERE seq > ?1 AND seq <= ?2",
        [first, last],
    )
    .map(drop)
}

/// Deletes the rows of the audit rows up to `last`, which are in an archive.
pub(crate) fn delete_id_rows_until(connection: &Connection, last: u64) -> rusqlite::Result<()> {
    execute_cached(connection, "DELETE FROM audit_ids WHERE seq <= ?1", [last]).map(drop)
}
