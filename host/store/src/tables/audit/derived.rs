//! Rows that are derived from the audit log: the lines of the session log, and the rows of the indices of ids, of decisions and of traces.
//!
//! A commit writes each page that it touches as a whole. Were these rows written with each decision, they would be a quarter of what is written for
//! it; so the writer keeps them, and writes many of them with a later commit.
//!
//! Invariants: the table `derived_until` has the last audit row that has its line, and the last that has its rows of the indices, and is written with them. What
//! comes behind is derived from the audit log by whoever reads a list or looks for an id, so that neither lacks anything, also after a crash. A line that cannot be derived,
//! that of an invocation, is written in the transaction of what it tells of, behind the lines before it; the indices wait also then.

use std::sync::Arc;

use ark_model::decision::Outcome;
use ark_model::ids::{Name, TraceId};
use rusqlite::Connection;

use crate::query::execute_cached;
use crate::schema::{LATER_DERIVED_ROWS_SINCE, LATER_IDS_SINCE, LATER_INDEX_SINCE, read_version};
use crate::tables::signals::{DeliveryCompletion, DeliveryResult};

use super::audit_log::{audit_columns, read_audit_head, read_audit_row};
use super::decision_index::{IndexRow, find_indexed_fields, read_policies, write_decision_rows};
use super::entry::{AuditEntry, AuditKind, AuditRow, IndexedFields};
use super::id_index::{derive_id_rows, write_id_rows};
use super::session_log::{Reference, SessionLine, write_session_lines};
use super::trace_index::write_trace_rows;
use super::underived::{describe_result, read_index_until, read_lines_until, skip_unreadable};

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

/// Derived rows that are not all written yet, in the order of what they are derived from.
#[derive(Default)]
pub(crate) struct DerivedRows {
    rows: Vec<DerivedRow>,
    /// How many of them, the first ones, have their lines written, and lack only their rows of the indices.
    with_lines: usize,
    /// How many of the others cannot be derived again.
    invocations: usize,
}

/// Which derived rows are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DerivedPart {
    /// The lines of the session log.
    Lines,
    /// Everything.
    All,
}

/// The last audit rows that have their derived rows.
#[derive(Clone, Copy)]
struct DerivedUntil {
    /// The last that has its line.
    line: u64,
    /// The last that has its rows of the indices.
    index: u64,
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
        debug_assert!(
            self.with_lines <= mark.rows,
            "a mark is of the same transaction"
        );
        self.rows.truncate(mark.rows);
        self.invocations = mark.invocations;
    }

    /// Whether the rows are many.
    pub(crate) fn are_many(&self) -> bool {
        self.rows.len() >= WRITTEN_AT_ONCE
    }

    /// Whether some of the lines cannot be derived again, so that they must be written with the transaction under way.
    pub(crate) fn are_lines_needed(&self) -> bool {
        self.invocations > 0
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes rows, which end with those of the audit row `until`, behind those of earlier audit rows that lack theirs, into a database of this schema. They stay until
    /// [`DerivedRows::forget_written`]: the transaction may fail.
    pub(crate) fn write(
        &self,
        connection: &Connection,
        until: u64,
        part: DerivedPart,
    ) -> rusqlite::Result<()> {
        let first = self.rows.iter().find_map(|row| row.seq);
        write_rows_until(connection, first.map_or(until, |first| first - 1), part)?;
        write_session_lines(connection, &self.rows[self.with_lines..], |row| &row.line)?;
        if part == DerivedPart::All {
            let ids: Vec<_> = self
                .rows
                .iter()
                .filter_map(|row| Some((&row.line.reference, row.seq?)))
                .collect();
            write_id_rows(connection, &ids)?;
            write_index_rows(connection, &self.rows)?;
        }
        write_derived_until(connection, until, part)
    }

    /// Forgets what is written and committed.
    pub(crate) fn forget_written(&mut self, part: DerivedPart) {
        match part {
            DerivedPart::All => self.clear(),
            DerivedPart::Lines => {
                self.rows.retain(|row| row.seq.is_some());
                self.with_lines = self.rows.len();
                self.invocations = 0;
            }
        }
    }

    /// Forgets rows that were not written, once they are too many to be kept.
    pub(crate) fn forget_excess(&mut self) {
        if self.rows.len() > MAX_KEPT && self.invocations == 0 {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.with_lines = 0;
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

/// Writes the rows of the indices of decisions and of traces, in their order.
fn write_index_rows(connection: &Connection, rows: &[DerivedRow]) -> rusqlite::Result<()> {
    // In an earlier schema the log has an index of its own for traces.
    if read_version(connection)? >= LATER_INDEX_SINCE {
        let traces: Vec<_> = rows
            .iter()
            .filter_map(|row| Some((row.line.trace_id?, row.seq?)))
            .collect();
        write_trace_rows(connection, &traces)?;
    }
    let decisions: Vec<_> = rows.iter().filter_map(DerivedRow::index_row).collect();
    write_decision_rows(connection, &decisions)
}

/// Reads up to where the rows are written: in an earlier schema both kinds were written together.
fn read_derived_until(connection: &Connection) -> rusqlite::Result<DerivedUntil> {
    let line = read_lines_until(connection)?;
    let index = if read_version(connection)? < LATER_INDEX_SINCE {
        line
    } else {
        read_index_until(connection)?
    };
    Ok(DerivedUntil { line, index })
}

/// Notes that all rows of a part, up to those of an audit row, are written.
fn write_derived_until(
    connection: &Connection,
    until: u64,
    part: DerivedPart,
) -> rusqlite::Result<()> {
    let sql = if part == DerivedPart::Lines || read_version(connection)? < LATER_INDEX_SINCE {
        "UPDATE derived_until SET seq = ?1"
    } else {
        "UPDATE derived_until SET seq = ?1, indexed_seq = ?1"
    };
    execute_cached(connection, sql, [until]).map(drop)
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
    let until = read_derived_until(connection)?;
    let is_beyond =
        until.line.max(until.index) > head.seq && read_version(connection)? >= LATER_IDS_SINCE;
    if head.seq <= until.line.min(until.index) && !is_beyond {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    if is_beyond {
        tracing::warn!(
            line = until.line,
            indexed = until.index,
            last = head.seq,
            "the database says that rows are derived from audit rows that the log does not have: ids are indexed again"
        );
        go_back_into_log(&transaction, head.seq)?;
    }
    write_rows_until(&transaction, head.seq, DerivedPart::All)?;
    transaction.commit()
}

/// Corrects `derived_until` where it is beyond `head`, the last row of the log, so that what lacks is found: all ids have rows then, and decisions go on behind the
/// last one that has its row.
fn go_back_into_log(connection: &Connection, head: u64) -> rusqlite::Result<()> {
    derive_id_rows(connection, 0, head)?;
    execute_cached(
        connection,
        "UPDATE derived_until SET seq = min(seq, ?1),
             indexed_seq = coalesce((SELECT max(seq) FROM decision_index WHERE seq <= ?1), 0)",
        [head],
    )
    .map(drop)
}

/// Writes the derived rows of the entry that became the last row of the log, `seq`, behind those of earlier rows that lack theirs: in the way of the
/// database's schema. Within the caller's transaction.
pub(crate) fn write_rows_of_last(
    connection: &Connection,
    seq: u64,
    entry: &AuditEntry,
) -> rusqlite::Result<()> {
    if has_later_rows(connection)? {
        return write_rows_until(connection, seq, DerivedPart::All);
    }
    let mut derived = DerivedRows::default();
    derived.add_entry(seq, entry);
    write_session_lines(connection, &derived.rows, |row| &row.line)?;
    write_index_rows(connection, &derived.rows)
}

/// Writes the derived rows of a part, of the audit rows up to `last` that lack them. Within the caller's transaction.
fn write_rows_until(connection: &Connection, last: u64, part: DerivedPart) -> rusqlite::Result<()> {
    let until = match part {
        // Asked with each commit of an invocation: the version of the schema, which takes longer to read, does not matter.
        DerivedPart::Lines => {
            let line = read_lines_until(connection)?;
            DerivedUntil { line, index: line }
        }
        DerivedPart::All => read_derived_until(connection)?,
    };
    let first = until.line.min(until.index);
    if last <= first {
        return Ok(());
    }
    let write_found = |found: &[DerivedRow]| {
        let behind = |until| &found[found.partition_point(|row| row.seq <= Some(until))..];
        write_session_lines(connection, behind(until.line), |row| &row.line)?;
        match part {
            DerivedPart::Lines => Ok(()),
            DerivedPart::All => write_index_rows(connection, behind(until.index)),
        }
    };
    if part == DerivedPart::All && read_version(connection)? >= LATER_IDS_SINCE {
        derive_id_rows(connection, until.index, last)?;
    }
    let policies = read_policies(connection)?;
    let columns = audit_columns(connection)?;
    let sql = format!("SELECT {columns} FROM audit_log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([first, last])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(row) = skip_unreadable(read_audit_row(row))? {
            let subject = |body: &str| find_indexed_fields(body, &policies);
            found.push(DerivedRow::from_audit_row(row, subject));
        }
        if found.len() == WRITTEN_AT_ONCE {
            write_found(&found)?;
            found.clear();
        }
    }
    write_found(&found)?;
    write_derived_until(connection, last, part)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ark_model::ids::{AuditId, Millis, SignalId};

    use super::*;
    use crate::chain::ChainHead;
    use crate::query::select_row;
    use crate::schema::{SCHEMA_VERSION, migrate_schema};
    use crate::tables::audit::append_entry;

    /// How many lines, and rows of decisions, of traces and of ids there are, and up to where they are written.
    fn count_rows(connection: &Connection) -> [u64; 6] {
        let sql =
            "SELECT (SELECT count(*) FROM session_log), (SELECT count(*) FROM decision_index),
             (SELECT count(*) FROM audit_traces), (SELECT count(*) FROM audit_ids), seq, indexed_seq FROM derived_until";
        let read = |row: &rusqlite::Row<'_>| {
            Ok([
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
            ])
        };
        select_row(connection, sql, [], read).unwrap().unwrap()
    }

    #[test]
    fn each_part_is_written_once_whenever_the_other_is() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_schema(
            &mut connection,
            Path::new("ark.db"),
            0..SCHEMA_VERSION,
            None,
        )
        .unwrap();
        let mut head = ChainHead::GENESIS;
        let mut derived = DerivedRows::default();
        let add_decision = |derived: &mut DerivedRows, head: &mut ChainHead| {
            let entry = AuditEntry {
                kind: AuditKind::Decision,
                id: AuditId::fresh(),
                trace_id: Some(TraceId::fresh()),
                agent: None,
                action_type: None,
                outcome: Some(Outcome::Denied),
                at: Millis(1),
                body: "{}".to_owned(),
                subject: None,
            };
            let seq = append_entry(&connection, head, &entry).unwrap();
            derived.add_entry(seq, &entry);
        };
        let invocation = DeliveryCompletion {
            signal: SignalId::fresh(),
            agent: "kenny".parse().unwrap(),
            result: DeliveryResult::Done,
            at: Millis(1),
        };
        let write = |derived: &mut DerivedRows, until: u64, part| {
            derived.write(&connection, until, part).unwrap();
            derived.forget_written(part);
            count_rows(&connection)
        };
        add_decision(&mut derived, &mut head);
        derived.add_invocation(&invocation, None);
        assert!(derived.are_lines_needed());
        assert_eq!(
            write(&mut derived, 1, DerivedPart::Lines),
            [2, 0, 0, 0, 1, 0]
        );
        assert!(!derived.are_lines_needed());
        add_decision(&mut derived, &mut head);
        derived.add_invocation(&invocation, None);
        assert_eq!(
            write(&mut derived, 2, DerivedPart::Lines),
            [4, 0, 0, 0, 2, 0]
        );
        // A transaction that fails takes back what it added.
        let mark = derived.mark();
        derived.add_invocation(&invocation, None);
        derived.go_back(mark);
        assert!(!derived.are_lines_needed());
        // Rows that the writer has forgotten are derived from the log: here those of the first three decisions.
        add_decision(&mut derived, &mut head);
        derived.clear();
        add_decision(&mut derived, &mut head);
        derived.add_invocation(&invocation, None);
        assert_eq!(
            write(&mut derived, 4, DerivedPart::Lines),
            [7, 0, 0, 0, 4, 0]
        );
        assert_eq!(write(&mut derived, 4, DerivedPart::All), [7, 4, 4, 4, 4, 4]);
        add_decision(&mut derived, &mut head);
        assert_eq!(write(&mut derived, 5, DerivedPart::All), [8, 5, 5, 5, 5, 5]);
        // With nothing to write nothing changes.
        assert_eq!(write(&mut derived, 5, DerivedPart::All), [8, 5, 5, 5, 5, 5]);
    }
}
