//! The audit log: a chain of hashes ([`crate::chain`]) over everything that was decided, was executed or has failed.
//!
//! The canonical row is seq, at, kind, id, `trace_id`, agent, `action_type`, outcome, body.

use std::ops::Range;
use std::sync::LazyLock;

use ark_model::decision::Outcome;
use ark_model::ids::{Digest, Millis, Name, TraceId};
use rusqlite::{Connection, Params, Row, params};

use crate::chain::{ChainHead, chain_hash};
use crate::error::ReadError;
use crate::query::{
    MAX_SEQ, RowInsert, digest_column, execute_cached, malformed_column, millis_column,
    parse_column, select_row, select_rows, select_value,
};
use crate::reader::Reader;
use crate::schema::PACKED_BODIES_SINCE;

use super::archives::archived_head;
use super::entry::{AuditEntry, AuditKind, AuditRow, parse_outcome};
use super::id_index::select_id;
use super::packing::{BodyPacker, read_body};
use super::trace_index::select_trace;

/// Which rows to list. A row must match everything that is given.
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

/// The head of the log: its last row, which may be in an archive.
pub(crate) fn read_audit_head(connection: &Connection) -> rusqlite::Result<ChainHead> {
    let last = ChainHead::select(
        connection,
        "SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1",
    )?;
    match last {
        Some(head) => Ok(head),
        None => archived_head(connection),
    }
}

/// The head of the log once `entry` follows `head`.
fn chain_entry(head: ChainHead, entry: &AuditEntry) -> ChainHead {
    let seq = head.seq + 1;
    let (mut id, mut trace_id) = ([0; 36], [0; 32]);
    let hash = chain_hash(
        head.hash,
        &[seq, entry.at.0],
        &[
            Some(entry.kind.as_str()),
            Some(entry.id.write_text(&mut id)),
            entry.trace_id.map(|trace| trace.write_text(&mut trace_id)),
            entry.agent.as_ref().map(Name::as_str),
            entry.action_type.as_deref(),
            entry.outcome.map(Outcome::as_str),
            Some(&entry.body),
        ],
    );
    ChainHead { seq, hash }
}

/// Appends an entry behind `head`, with its body as it is, and moves `head` on. Returns the number of the row.
pub(crate) fn append_entry(
    connection: &Connection,
    head: &mut ChainHead,
    entry: &AuditEntry,
) -> rusqlite::Result<u64> {
    let next = chain_entry(*head, entry);
    let (mut id, mut trace_id) = ([0; 36], [0; 32]);
    // Without the column for packed bodies, which a database of an earlier schema lacks.
    execute_cached(
        connection,
        "INSERT INTO audit_log (seq, at, kind, id, trace_id, agent, action_type, outcome, body, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            next.seq,
            entry.at.0,
            entry.kind.as_str(),
            entry.id.write_text(&mut id),
            entry.trace_id.map(|trace| trace.write_text(&mut trace_id)),
            entry.agent.as_ref().map(Name::as_str),
            entry.action_type,
            entry.outcome.map(Outcome::as_str),
            entry.body,
            next.hash.as_bytes(),
        ],
    )?;
    *head = next;
    Ok(next.seq)
}

/// Inserts rows of [`PackedRows`].
static INSERT_PACKED: LazyLock<RowInsert> = LazyLock::new(|| {
    RowInsert::new(
        "INSERT OR FAIL INTO audit_log (seq, at, kind, id, trace_id, agent, action_type, outcome, body, hash, packed)",
        "(?, ?, 'decision', ?, ?, ?, ?, ?, '', ?, ?)",
        "",
    )
});

/// Rows of decisions that are in the chain and not written yet, since one statement writes many. Who reads the log in the same transaction, or appends
/// another entry, writes them first.
#[derive(Default)]
pub(crate) struct PackedRows<'a> {
    rows: Vec<PackedRow<'a>>,
    /// The packed bodies.
    bodies: Vec<u8>,
}

struct PackedRow<'a> {
    seq: u64,
    entry: &'a AuditEntry,
    hash: Digest,
    /// Where the body is.
    body: Range<usize>,
}

impl<'a> PackedRows<'a> {
    /// Appends the entry of a decision behind `head`, with its body packed, and moves `head` on. Returns the number of the row; `None`, with nothing done:
    /// the body is to be stored as it is.
    pub(crate) fn append(
        &mut self,
        head: &mut ChainHead,
        entry: &'a AuditEntry,
        packer: &mut BodyPacker,
    ) -> Option<u64> {
        let start = self.bodies.len();
        if entry.kind != AuditKind::Decision || !packer.pack(&entry.body, &mut self.bodies) {
            return None;
        }
        let next = chain_entry(*head, entry);
        self.rows.push(PackedRow {
            seq: next.seq,
            entry,
            hash: next.hash,
            body: start..self.bodies.len(),
        });
        *head = next;
        Some(next.seq)
    }

    /// Writes the rows.
    pub(crate) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let bodies = &self.bodies;
        INSERT_PACKED.execute(connection, &self.rows, |values, row| {
            let entry = row.entry;
            let (mut id, mut trace_id) = ([0; 36], [0; 32]);
            values.push(row.seq)?;
            values.push(entry.at.0)?;
            values.push(entry.id.write_text(&mut id))?;
            values.push(entry.trace_id.map(|trace| trace.write_text(&mut trace_id)))?;
            values.push(entry.agent.as_ref().map(Name::as_str))?;
            values.push(entry.action_type.as_deref())?;
            values.push(entry.outcome.map(Outcome::as_str))?;
            values.push(row.hash.as_bytes())?;
            values.push(&bodies[row.body.clone()])
        })?;
        self.forget();
        Ok(())
    }

    /// Forgets the rows, since what they are in is rolled back.
    pub(crate) fn forget(&mut self) {
        self.rows.clear();
        self.bodies.clear();
    }
}

/// Deletes the rows up to `last`, which must be in an archive.
pub(crate) fn delete_rows_until(connection: &Connection, last: u64) -> rusqlite::Result<()> {
    execute_cached(connection, "DELETE FROM audit_log WHERE seq <= ?1", [last]).map(drop)
}

/// The hash a row must have when it follows a row with the hash `previous`.
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

/// The columns that [`read_audit_row`] reads, as expressions over `audit_log`. A database of an earlier schema has no packed bodies.
pub(crate) fn audit_columns(connection: &Connection) -> rusqlite::Result<&'static str> {
    let schema: u32 = select_value(connection, "PRAGMA user_version", [])?;
    Ok(if schema >= PACKED_BODIES_SINCE {
        "seq, at, kind, id, trace_id, agent, action_type, outcome, body, hash, packed,
         (SELECT bytes FROM audit_dictionaries d WHERE d.id = substr(audit_log.packed, 1, 4))"
    } else {
        "seq, at, kind, id, trace_id, agent, action_type, outcome, body, hash, NULL, NULL"
    })
}

/// Reads the rows of the log that `rest` selects, a part of a statement from `WHERE` on.
fn select_audit_rows(
    connection: &Connection,
    rest: &str,
    params: impl Params,
) -> rusqlite::Result<Vec<AuditRow>> {
    let columns = audit_columns(connection)?;
    let sql = format!("SELECT {columns} FROM audit_log {rest}");
    select_rows(connection, &sql, params, read_audit_row)
}

/// The texts of a row that its hash covers, in their order and as they are.
///
/// # Errors
/// [`rusqlite::Error::FromSqlConversionFailure`] when the body does not unpack.
pub(crate) fn read_chained_texts(row: &Row<'_>) -> rusqlite::Result<[Option<String>; 7]> {
    let text = |column| row.get::<_, Option<String>>(column);
    Ok([
        text(2)?,
        text(3)?,
        text(4)?,
        text(5)?,
        text(6)?,
        text(7)?,
        Some(read_body(row)?),
    ])
}

pub(crate) fn read_audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let kind: String = row.get(2)?;
    let outcome: Option<String> = row.get(7)?;
    Ok(AuditRow {
        seq: row.get(0)?,
        at: millis_column(row, 1)?,
        kind: kind.parse().map_err(|_| malformed_column(2, &kind))?,
        id: row.get(3)?,
        trace_id: parse_column(row, 4)?,
        agent: parse_column(row, 5)?,
        action_type: row.get(6)?,
        outcome: outcome.map(|text| parse_outcome(&text)).transpose()?,
        body: read_body(row)?,
        hash: digest_column(row, 9)?,
    })
}

/// The kinds whose rows have an index, as a condition: `SQLite` uses a partial index where its very condition is given.
const KIND_OF_NOTE: &str = "kind IN ('amendment', 'deployment')";

/// The rest of the statement of [`Reader::audit_page`]. What has an index is compared only when it is given, so that the index is used.
fn select_page(connection: &Connection, filter: &AuditFilter) -> rusqlite::Result<String> {
    let kind = match filter.kind {
        None => "AND ?2 IS NULL".to_owned(),
        Some(AuditKind::Amendment | AuditKind::Deployment) => {
            format!("AND {KIND_OF_NOTE} AND kind = ?2")
        }
        Some(_) => "AND kind = ?2".to_owned(),
    };
    let trace = if filter.trace_id.is_some() {
        select_trace(connection, "?6")?
    } else {
        "?6 IS NULL".to_owned()
    };
    Ok(format!(
        "WHERE seq < ?1 {kind} AND (?3 IS NULL OR agent = ?3)
         AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR action_type = ?5) AND {trace} ORDER BY seq DESC LIMIT ?7"
    ))
}

impl Reader {
    /// The row with this id, e.g. of a decision; `None` when no such row is in the database.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_entry(&self, id: &str) -> Result<Option<AuditRow>, ReadError> {
        self.with_connection(|connection| {
            let columns = audit_columns(connection)?;
            let condition = select_id(connection, "?1")?;
            let sql = format!("SELECT {columns} FROM audit_log WHERE {condition}");
            select_row(connection, &sql, [id], read_audit_row)
        })
    }

    /// The row with this number; `None` when no such row is in the database.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_row(&self, seq: u64) -> Result<Option<AuditRow>, ReadError> {
        self.with_connection(|connection| {
            let columns = audit_columns(connection)?;
            let sql = format!("SELECT {columns} FROM audit_log WHERE seq = ?1");
            select_row(connection, &sql, [seq], read_audit_row)
        })
    }

    /// The rows that match, newest first, before the row `before` when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_page(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, ReadError> {
        let params = params![
            before.unwrap_or(MAX_SEQ),
            filter.kind.map(AuditKind::as_str),
            filter.agent.as_ref().map(Name::as_str),
            filter.outcome.map(Outcome::as_str),
            filter.action_type,
            filter.trace_id.map(|id| id.to_string()),
            limit,
        ];
        self.with_connection(|connection| {
            let rest = select_page(connection, filter)?;
            select_audit_rows(connection, &rest, params)
        })
    }

    /// The rows of a kind since a moment, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_since(&self, since: Millis, kind: AuditKind) -> Result<Vec<AuditRow>, ReadError> {
        self.with_connection(|connection| {
            let columns = audit_columns(connection)?;
            let sql = format!("SELECT {columns} FROM audit_log ORDER BY seq DESC");
            let mut statement = connection.prepare_cached(&sql)?;
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

    /// The head of the log: how many rows it has, and the hash of the last.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_head(&self) -> Result<(u64, Digest), ReadError> {
        let head = self.with_connection(read_audit_head)?;
        Ok((head.seq, head.hash))
    }

    /// The row that the log in the database begins behind: row 0, unless rows were archived.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_base(&self) -> Result<ChainHead, ReadError> {
        self.with_connection(archived_head)
    }

    /// The number of the first row in the database, which is no longer 1 when rows were archived; `None` when there is no row.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn first_audit_seq(&self) -> Result<Option<u64>, ReadError> {
        self.select_value("SELECT min(seq) FROM audit_log", [])
    }

    /// Calls `visit` with every row in the database, oldest first, until it returns false.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn visit_audit_rows(&self, visit: impl FnMut(AuditRow) -> bool) -> Result<(), ReadError> {
        self.visit_audit_rows_from(0, visit)
    }

    /// As [`Self::visit_audit_rows`], from the row `from` on. The rows before are not read.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn visit_audit_rows_from(
        &self,
        from: u64,
        mut visit: impl FnMut(AuditRow) -> bool,
    ) -> Result<(), ReadError> {
        self.with_connection(|connection| {
            let columns = audit_columns(connection)?;
            let sql = format!("SELECT {columns} FROM audit_log WHERE seq >= ?1 ORDER BY seq");
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([from.min(MAX_SEQ)])?;
            while let Some(row) = rows.next()? {
                if !visit(read_audit_row(row)?) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The decisions since a moment behind the row `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn decisions_since(
        &self,
        since: Millis,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AuditRow>, ReadError> {
        let rest = "WHERE seq > ?1 AND at >= ?2 AND kind = ?3 ORDER BY seq LIMIT ?4";
        let params = params![after, since.0, AuditKind::Decision.as_str(), limit];
        self.with_connection(|connection| select_audit_rows(connection, rest, params))
    }

    /// The last decisions, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_decisions(&self, limit: u32) -> Result<Vec<AuditRow>, ReadError> {
        let rest = "WHERE kind = ?1 ORDER BY seq DESC LIMIT ?2";
        let params = params![AuditKind::Decision.as_str(), limit];
        self.with_connection(|connection| select_audit_rows(connection, rest, params))
    }

    /// The orders (halt, resume, quarantine, restore) behind a row of the log, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn orders_since(&self, seq: u64, limit: u32) -> Result<Vec<AuditRow>, ReadError> {
        let rest = "WHERE seq > ?1 AND kind = 'control' ORDER BY seq LIMIT ?2";
        self.with_connection(|connection| select_audit_rows(connection, rest, params![seq, limit]))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::schema::{SCHEMA_VERSION, migrate_schema};

    #[test]
    fn a_page_of_notes_or_of_a_trace_reads_an_index_and_not_the_log() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = std::path::Path::new("ark.db");
        migrate_schema(&mut connection, path, 0..SCHEMA_VERSION, None).unwrap();
        let explain_filter = |filter: AuditFilter| {
            let columns = audit_columns(&connection).unwrap();
            let rest = select_page(&connection, &filter).unwrap();
            let sql = format!("EXPLAIN QUERY PLAN SELECT {columns} FROM audit_log {rest}");
            let mut statement = connection.prepare(&sql).unwrap();
            let nothing = None::<u64>;
            let trace = filter.trace_id.map(|id| id.to_string());
            let parameters = params![MAX_SEQ, "x", nothing, nothing, nothing, trace, 9];
            let steps: Vec<String> = statement
                .query_map(parameters, |row| row.get(3))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            steps.join("; ")
        };
        let explain = |kind| {
            explain_filter(AuditFilter {
                kind: Some(kind),
                ..AuditFilter::default()
            })
        };
        for kind in [AuditKind::Amendment, AuditKind::Deployment] {
            let plan = explain(kind);
            assert!(
                plan.contains("audit_log_notes (kind=? AND seq<?)"),
                "{plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
        assert!(!explain(AuditKind::Control).contains("audit_log_notes"));
        let plan = explain_filter(AuditFilter {
            trace_id: Some(TraceId::fresh()),
            ..AuditFilter::default()
        });
        for step in [
            "SEARCH audit_log USING INTEGER PRIMARY KEY (rowid=?)",
            "SEARCH audit_traces USING PRIMARY KEY (trace_id=?)",
            "SEARCH audit_log USING INTEGER PRIMARY KEY (rowid>?)",
        ] {
            assert!(plan.contains(step), "{plan}");
        }
        assert!(!plan.contains("SCAN audit_"), "{plan}");
    }

    /// How a row is searched by its id, and how many steps the database makes for the one with the id `id`.
    fn search_id(connection: &Connection, id: &str) -> (String, i32) {
        let condition = select_id(connection, "?1").unwrap();
        let sql = format!("SELECT seq FROM audit_log WHERE {condition}");
        let explained = format!("EXPLAIN QUERY PLAN {sql}");
        let steps: Vec<String> =
            select_rows(connection, &explained, [id], |row| row.get(3)).unwrap();
        let mut statement = connection.prepare(&sql).unwrap();
        let found: Option<u64> = statement
            .query([id])
            .and_then(|mut rows| rows.next()?.map(|row| row.get(0)).transpose())
            .unwrap();
        assert!(found.is_some(), "{id}");
        (
            steps.join("; "),
            statement.get_status(StatementStatus::VmStep),
        )
    }

    #[test]
    fn a_row_is_searched_by_its_id_in_the_index_and_behind_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = std::path::Path::new("ark.db");
        migrate_schema(&mut connection, path, 0..14, None).unwrap();
        connection
            .execute_batch(
                "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000)
                 INSERT INTO audit_log (seq, at, kind, id, body, hash) SELECT n, 1, 'control', 'id ' || n, '', x'00' FROM numbers;
                 UPDATE derived_until SET seq = 10, indexed_seq = 10",
            )
            .unwrap();
        let (plan, _) = search_id(&connection, "id 7");
        assert!(
            plan.contains("sqlite_autoindex_audit_log_1 (id=?)"),
            "{plan}"
        );

        migrate_schema(&mut connection, path, 14..SCHEMA_VERSION, None).unwrap();
        // One that is indexed, the last one, and the first one behind the index.
        let [indexed, last, first] =
            ["id 7", "id 2000", "id 11"].map(|id| search_id(&connection, id));
        for step in [
            "SEARCH audit_log USING INTEGER PRIMARY KEY (rowid=?)",
            "SEARCH audit_ids USING PRIMARY KEY (id=?)",
            "SEARCH entry USING INTEGER PRIMARY KEY (rowid=?)",
            "SEARCH audit_log USING INTEGER PRIMARY KEY (rowid>?)",
        ] {
            assert!(indexed.0.contains(step), "{}", indexed.0);
        }
        assert!(indexed.1 < 100 && last.1 < 100, "{} {}", indexed.1, last.1);
        assert!(first.1 > 1000, "{}", first.1);
    }
}
