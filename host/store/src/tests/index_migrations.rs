//! The indices of the audit log in databases of earlier schemas.

use std::path::Path;

use ark_model::ids::{AuditId, TraceId};
use rusqlite::Connection;

use super::make_entry;
use crate::schema::{SCHEMA_VERSION, compare_schema, migrate_schema, open_reader};
use crate::tables::audit::append_entry;
use crate::*;

/// What the state of an order may be.
const STATES: [&str; 6] = [
    "new",
    "partially_filled",
    "filled",
    "cancelled",
    "rejected",
    "expired",
];
/// What the status of a delivery may be.
const STATUSES: [&str; 3] = ["pending", "done", "failed"];

#[test]
fn the_traces_of_an_earlier_schema_are_in_the_index_as_far_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.db");
    let mut connection = Connection::open(&path).unwrap();
    migrate_schema(&mut connection, &path, 0..13, None).unwrap();
    let mut head = ChainHead::GENESIS;
    let mut traces = Vec::new();
    for number in 0..4 {
        let trace_id = (number != 1).then(TraceId::fresh);
        let entry = AuditEntry {
            trace_id,
            ..make_entry(AuditId::fresh())
        };
        append_entry(&connection, &mut head, &entry).unwrap();
        traces.push(trace_id);
    }
    // Somebody has changed the first trace; a crash has left the last row without its rows of the indices.
    connection
        .execute_batch(
            "UPDATE audit_log SET trace_id = 'no trace' WHERE seq = 1; UPDATE derived_until SET seq = 3",
        )
        .unwrap();
    migrate_schema(&mut connection, &path, 13..SCHEMA_VERSION, None).unwrap();
    let indexed: Vec<(String, u64)> = connection
        .prepare("SELECT lower(hex(trace_id)), seq FROM audit_traces ORDER BY seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(indexed, [(traces[2].unwrap().to_string(), 3)]);
    drop(connection);
    let reader = open_reader(&path, 1, None).unwrap();
    for (trace_id, expected) in [(traces[0], &[][..]), (traces[2], &[3]), (traces[3], &[4])] {
        let filter = AuditFilter {
            trace_id,
            ..AuditFilter::default()
        };
        let rows = reader.audit_page(&filter, None, 9).unwrap();
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        assert_eq!(seqs, expected);
    }
}

#[test]
fn the_texts_that_are_written_over_say_what_those_before_them_said() {
    let mut connection = Connection::open_in_memory().unwrap();
    let path = Path::new("ark.db");
    let read_texts = |connection: &Connection| {
        ["audit_log", "orders", "ended_orders", "deliveries"].map(|table| {
            let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";
            let text: String = connection
                .query_row(sql, [table], |row| row.get(0))
                .unwrap();
            text.replace(['"', '\n', ' '], "")
        })
    };
    migrate_schema(&mut connection, path, 0..14, None).unwrap();
    let before = read_texts(&connection);
    migrate_schema(&mut connection, path, 14..15, None).unwrap();
    let expected = before.map(|text| {
        let list = |column: &str, values: &[&str]| {
            let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
            let compared: Vec<String> = quoted.iter().map(|it| format!("{column}={it}")).collect();
            (
                format!("CHECK({column}IN({}))", quoted.join(",")),
                format!("CHECK({})", compared.join("OR")),
            )
        };
        let (state, by_state) = list("state", &STATES);
        let (status, by_status) = list("status", &STATUSES);
        text.replace("idTEXTNOTNULLUNIQUE,", "idTEXTNOTNULL,")
            .replace(&state, &by_state)
            .replace(&status, &by_status)
    });
    assert_eq!(read_texts(&connection), expected);
}

#[test]
fn the_ids_of_an_earlier_schema_are_in_the_index_and_the_log_has_none_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.db");
    let mut connection = Connection::open(&path).unwrap();
    migrate_schema(&mut connection, &path, 0..14, None).unwrap();
    let mut head = ChainHead::GENESIS;
    let ids: Vec<AuditId> = (0..300).map(|_| AuditId::fresh()).collect();
    for id in &ids {
        append_entry(&connection, &mut head, &make_entry(*id)).unwrap();
    }
    // A crash has left the last two rows without their rows of the indices. Another program has written the tables with other blanks and quotes, and
    // somebody has an index of their own; neither keeps a host from starting.
    connection
        .execute_batch(
            r#"UPDATE derived_until SET seq = 300, indexed_seq = 298;
             CREATE INDEX audit_log_id ON audit_log (id);
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(replace(sql, 'agent TEXT', '"agent"  TEXT'), ', ', ',') WHERE type = 'table'
                 AND name IN ('audit_log', 'orders', 'ended_orders', 'deliveries');
             PRAGMA writable_schema = RESET"#,
        )
        .unwrap();
    assert_eq!(compare_schema(&connection).unwrap().faults, [""; 0]);
    let count = |connection: &Connection, sql: &str| -> u64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let pages_before = count(&connection, "PRAGMA page_count");
    migrate_schema(&mut connection, &path, 14..15, None).unwrap();
    assert_eq!(count(&connection, "SELECT count(*) FROM audit_ids"), 298);
    let own = "SELECT count(*) FROM sqlite_schema WHERE tbl_name = 'audit_log' AND type = 'index' AND name NOT IN ('audit_log_notes', 'audit_log_id')";
    assert_eq!(count(&connection, own), 0);
    // The index took the pages of that one.
    assert!(count(&connection, "PRAGMA page_count") <= pages_before);
    migrate_schema(&mut connection, &path, 15..SCHEMA_VERSION, None).unwrap();
    // For a connection that has read neither text, too, all is as the scripts make it, and whole.
    for connection in [&connection, &Connection::open(&path).unwrap()] {
        let findings = compare_schema(connection).unwrap();
        assert_eq!(findings.faults, [""; 0]);
        assert_eq!(findings.notes.len(), 1, "{:?}", findings.notes);
        let found: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, "ok");
    }
    // What the texts forbade is forbidden.
    let order = |state: &str, table: &str| {
        connection.execute_batch(&format!(
            "INSERT INTO {table} (decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, realised, since)
             VALUES ('{state}', 'a', 's', 'open', 'buy', 1, 1.0, '{state}', 0, 0, 0, 0.0, 1)"
        ))
    };
    let delivery = |status: &str| {
        connection.execute_batch(&format!(
            "INSERT INTO signals (id, topic, payload, trace_id, causal_depth, accepted_at) VALUES ('{status}', 't', '1', 't', 0, 1);
             INSERT INTO deliveries (signal_id, agent, status) VALUES ('{status}', 'a', '{status}')"
        ))
    };
    for table in ["orders", "ended_orders"] {
        for state in STATES {
            order(state, table).unwrap();
        }
        for state in ["", "done", "NEW"] {
            let refused = order(state, table).unwrap_err().to_string();
            assert!(
                refused.contains("CHECK constraint failed: state"),
                "{refused}"
            );
        }
    }
    for status in STATUSES {
        delivery(status).unwrap();
    }
    for status in ["", "new", "DONE"] {
        let refused = delivery(status).unwrap_err().to_string();
        assert!(
            refused.contains("CHECK constraint failed: status"),
            "{refused}"
        );
    }
    drop(connection);
    let reader = open_reader(&path, 1, None).unwrap();
    for (seq, id) in (1..).zip(&ids) {
        let row = reader.audit_entry(&id.to_string()).unwrap();
        assert_eq!(row.map(|row| row.seq), Some(seq));
    }
}
