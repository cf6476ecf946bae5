//! Tests of the rows that are derived from the audit log and written later: lists show them at once, and nothing of them is lost or repeated.

use std::path::Path;

use ark_model::ids::{AuditId, Millis, SignalId, TraceId};
use ark_model::signal::Signal;
use rusqlite::Connection;

use super::decisions::{commit, make_decisions};
use super::{make_entry, make_name, open, set_value, verify_chains};
use crate::schema::open_reader;
use crate::*;

/// All lines of the session log, newest first.
fn read_lines(store: &Store) -> Vec<SessionLogRow> {
    store
        .session_page(&SessionLogFilter::default(), 10_000)
        .unwrap()
}

/// All decisions, newest first.
fn read_decisions(store: &Store) -> Vec<DecisionLine> {
    let all = DecisionFilter::default();
    store.decision_page(&all, None, 10_000).unwrap().lines
}

fn count_rows(dir: &Path, table: &str) -> u64 {
    let connection = Connection::open(dir.join("ark.db")).unwrap();
    let sql = format!("SELECT count(*) FROM {table}");
    connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}

fn make_failure(at: u64) -> AuditEntry {
    AuditEntry {
        kind: AuditKind::Failure,
        outcome: None,
        action_type: None,
        at: Millis(at),
        ..make_entry(AuditId::fresh())
    }
}

/// Has an agent accept a signal, then handle it and make a decision.
fn commit_invocation(store: &Store, at: u64) {
    let signal = Signal {
        id: SignalId::fresh(),
        topic: "market.tick".to_owned(),
        payload_json: "{}".to_owned(),
        trace_id: TraceId::fresh(),
        sender: None,
        causal_depth: 0,
        expires_at: None,
        accepted_at: Millis(at),
    };
    let accepted = Unit {
        signals: vec![NewSignal {
            by: None,
            signal: signal.clone(),
            key: None,
            deliver_to: vec![make_name("joey")],
            shed: Vec::new(),
        }],
        ..Unit::default()
    };
    store.commit(accepted).unwrap();
    let handled = Unit {
        agent: Some(make_name("joey")),
        trace_id: Some(signal.trace_id),
        delivery: Some(DeliveryCompletion {
            signal: signal.id,
            agent: make_name("joey"),
            result: DeliveryResult::Done,
            at: Millis(at),
        }),
        audit: make_decisions(1),
        ..Unit::default()
    };
    store.commit(handled).unwrap();
}

/// Copies a data directory that is in use, as a crash leaves it: what is committed is in its files.
fn copy_as_after_crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["ark.db", "ark.db-wal"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[test]
fn lines_are_listed_before_they_are_written_and_keep_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, make_decisions(20));
    commit(&store, vec![make_failure(2_000), make_failure(2_001)]);
    // Where the test is slow, the writer may have written them in between.
    assert!([0, 22].contains(&count_rows(dir.path(), "session_log")));
    let lines = read_lines(&store);
    let decisions = read_decisions(&store);
    assert_eq!((lines.len(), decisions.len()), (22, 20));
    let numbers: Vec<u64> = lines.iter().map(|line| line.seq).collect();
    assert_eq!(numbers, (1..=22).rev().collect::<Vec<_>>());

    // A line of an invocation cannot be derived: it is written at once, behind those before it. The index waits.
    commit_invocation(&store, 3_000);
    assert_eq!(count_rows(dir.path(), "session_log"), 24);
    assert!([0, 20, 21].contains(&count_rows(dir.path(), "decision_index")));
    let after = read_lines(&store);
    assert_eq!((after[1].kind.as_str(), after[1].seq), ("invocation", 23));
    assert_eq!(after[2..], lines);
    assert_eq!(read_decisions(&store)[1..], decisions);

    // Many rows are written with the commit that makes them many.
    commit(&store, make_decisions(100));
    assert!([24, 124].contains(&count_rows(dir.path(), "session_log")));
    commit(&store, make_decisions(128));
    assert_eq!(count_rows(dir.path(), "session_log"), 252);
    assert_eq!(count_rows(dir.path(), "decision_index"), 249);
    assert_eq!(read_lines(&store)[228..], after);
}

#[test]
fn the_index_waits_while_lines_are_written_and_nothing_of_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for round in 0..40 {
        commit(&store, make_decisions(1));
        commit_invocation(&store, 1_000 + round);
    }
    assert_eq!(count_rows(dir.path(), "session_log"), 120);
    let (lines, decisions) = (read_lines(&store), read_decisions(&store));
    assert_eq!((lines.len(), decisions.len()), (120, 80));
    let crashed = copy_as_after_crash(dir.path());
    let reopened = open(crashed.path());
    for table in ["decision_index", "audit_traces", "audit_ids"] {
        assert_eq!(count_rows(crashed.path(), table), 80, "{table}");
    }
    assert_eq!(count_rows(crashed.path(), "session_log"), 120);
    assert_eq!(read_lines(&reopened), lines);
    assert_eq!(read_decisions(&reopened), decisions);

    // Many are written with the commit that makes them many, however many lines were written before.
    commit(&store, make_decisions(128));
    assert_eq!(count_rows(dir.path(), "decision_index"), 208);
    store.close();
    assert_eq!(count_rows(dir.path(), "session_log"), 248);
    for table in ["decision_index", "audit_traces", "audit_ids"] {
        assert_eq!(count_rows(dir.path(), table), 208, "{table}");
    }
    assert_eq!(read_lines(&store)[128..], lines);
    assert_eq!(read_decisions(&store)[128..], decisions);
}

#[test]
fn a_trace_has_its_rows_before_and_after_they_are_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let trace_id = TraceId::fresh();
    let of_trace = |mut entries: Vec<AuditEntry>| {
        for entry in &mut entries {
            entry.trace_id = Some(trace_id);
        }
        entries
    };
    commit(&store, of_trace(make_decisions(2)));
    commit(&store, make_decisions(130));
    assert!(count_rows(dir.path(), "audit_traces") >= 132);
    commit(&store, of_trace(vec![make_failure(2_000)]));
    commit(&store, of_trace(make_decisions(1)));
    let filter = AuditFilter {
        trace_id: Some(trace_id),
        ..AuditFilter::default()
    };
    let of_decisions = DecisionFilter {
        trace_id: Some(trace_id),
        ..DecisionFilter::default()
    };
    let read = |store: &Store| {
        let rows = store.audit_page(&filter, None, 100).unwrap();
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        let page = store.decision_page(&of_decisions, None, 100).unwrap();
        let decisions: Vec<u64> = page.lines.iter().map(|line| line.seq).collect();
        (seqs, decisions)
    };
    let expected = (vec![134, 133, 2, 1], vec![134, 2, 1]);
    assert_eq!(read(&store), expected);
    store.close();
    assert_eq!(read(&store), expected);
    assert_eq!(count_rows(dir.path(), "audit_traces"), 134);
    drop(store);
    let to = dir.path().join("archive.jsonl");
    archive_audit(dir.path(), Millis(900_000), &to).unwrap();
    // What the archive has is in no index any more.
    assert_eq!(count_rows(dir.path(), "audit_traces"), 0);
}

#[test]
fn a_crash_loses_and_repeats_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit_invocation(&store, 1_000);
    commit(&store, make_decisions(30));
    commit(&store, vec![make_failure(2_000)]);
    let (lines, decisions) = (read_lines(&store), read_decisions(&store));
    assert_eq!((lines.len(), decisions.len()), (33, 31));

    let crashed = copy_as_after_crash(dir.path());
    let reopened = open(crashed.path());
    assert_eq!(count_rows(crashed.path(), "session_log"), 33);
    assert_eq!(read_lines(&reopened), lines);
    assert_eq!(read_decisions(&reopened), decisions);
    reopened.close();

    // A host that ends in order writes them itself.
    store.close();
    assert_eq!(count_rows(dir.path(), "session_log"), 33);
    drop(store);
    let again = open(dir.path());
    assert_eq!(read_lines(&again), lines);
    assert_eq!(read_decisions(&again), decisions);
    assert_eq!(verify_chains(dir.path()).fault, None);
}

#[test]
fn each_filter_means_the_same_before_and_after_lines_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, make_decisions(60));
    commit(&store, vec![make_failure(1_200), make_failure(1_400)]);
    let filters = || {
        let all = SessionLogFilter::default;
        [
            all(),
            SessionLogFilter {
                agent: Some(make_name("joey")),
                ..all()
            },
            SessionLogFilter {
                action_type: Some("trade".to_owned()),
                result: Some("held".to_owned()),
                ..all()
            },
            SessionLogFilter {
                result: Some("failed".to_owned()),
                ..all()
            },
            SessionLogFilter {
                since: Some(Millis(1_200)),
                until: Some(Millis(1_400)),
                ..all()
            },
            SessionLogFilter {
                before: Some(31),
                ..all()
            },
        ]
    };
    let read_all = |store: &Store| {
        filters().map(|filter| [1, 5, 100].map(|limit| store.session_page(&filter, limit).unwrap()))
    };
    let before = read_all(&store);
    store.close();
    drop(store);
    assert_eq!(count_rows(dir.path(), "session_log"), 62);
    let after = read_all(&open(dir.path()));
    assert_eq!(before, after);
    let found = before.map(|pages| pages[2].len());
    assert_eq!(found, [62, 24, 24, 2, 21, 30]);
}

#[test]
fn what_is_refused_leaves_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, make_decisions(3));
    let refused = Unit {
        operator_changes: vec![AttributedChange {
            by: "ada".to_owned(),
            change: set_value("key", Some("1"), Some(7)),
        }],
        audit: make_decisions(1),
        ..Unit::default()
    };
    store.commit(refused).unwrap_err();
    commit(&store, make_decisions(2));
    assert_eq!(read_lines(&store).len(), 5);
    store.close();
    assert_eq!(count_rows(dir.path(), "session_log"), 5);
    assert_eq!(count_rows(dir.path(), "decision_index"), 5);
}

#[test]
fn an_archive_keeps_the_lines_that_were_not_written_yet() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, make_decisions(10));
    let lines = read_lines(&store);
    let crashed = copy_as_after_crash(dir.path());
    let to = crashed.path().join("archive.jsonl");
    archive_audit(crashed.path(), Millis(900_000), &to).unwrap();
    let reopened = open(crashed.path());
    assert_eq!(read_decisions(&reopened), []);
    // One more, of the archiving itself.
    assert_eq!(read_lines(&reopened)[1..], lines);
}

/// Makes the derived rows of a database that nobody uses as if none had been written.
fn forget_derived_rows(dir: &Path) {
    Connection::open(dir.join("ark.db"))
        .unwrap()
        .execute_batch(
            "DELETE FROM session_log; DELETE FROM decision_index; DELETE FROM audit_traces; DELETE FROM audit_ids;
             UPDATE derived_until SET seq = 0, indexed_seq = 0",
        )
        .unwrap();
}

#[test]
fn a_row_that_somebody_changed_hides_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, make_decisions(5));
    store.close();
    drop(store);
    forget_derived_rows(dir.path());
    let path = dir.path().join("ark.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "UPDATE audit_log SET outcome = 'maybe' WHERE seq = 2;
             UPDATE audit_log SET body = 'x', packed = NULL WHERE seq = 3;
             UPDATE audit_log SET action_type = CAST(x'ff' AS TEXT) WHERE seq = 4;
             INSERT INTO policies VALUES ('00', 'no JSON')",
        )
        .unwrap();
    let reader = open_reader(&path, 1, None).unwrap();
    let all = DecisionFilter::default();
    let decisions = reader.decision_page(&all, None, 9).unwrap().lines;
    let subjects: Vec<_> = decisions
        .iter()
        .map(|line| (line.seq, line.subject == IndexedFields::default()))
        .collect();
    assert_eq!(subjects, [(5, false), (3, true), (1, false)]);
    let lines = reader
        .session_page(&SessionLogFilter::default(), 9)
        .unwrap();
    assert_eq!(lines.len(), 3);
    assert!(verify_chains(dir.path()).fault.is_some());
}

#[test]
fn a_database_without_room_opens_and_its_rows_are_written_once_there_is_some() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, make_decisions(600));
    commit(&store, vec![make_failure(9_000)]);
    let (lines, decisions) = (read_lines(&store), read_decisions(&store));
    store.close();
    drop(store);
    forget_derived_rows(dir.path());
    let path = dir.path().join("ark.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("VACUUM")
        .unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    let narrow = Store::open(&StoreConfig {
        max_bytes: Some(bytes),
        ..StoreConfig::in_dir(dir.path())
    })
    .unwrap();
    assert_eq!(read_lines(&narrow), lines);
    assert_eq!(read_decisions(&narrow), decisions);
    narrow.close();
    drop(narrow);
    assert_eq!(count_rows(dir.path(), "session_log"), 0);

    let roomy = open(dir.path());
    assert_eq!(count_rows(dir.path(), "session_log"), 601);
    assert_eq!(read_lines(&roomy), lines);
    assert_eq!(read_decisions(&roomy), decisions);
}

#[test]
fn rows_that_a_start_could_not_write_are_written_before_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, make_decisions(20));
    let lines = read_lines(&store);
    store.close();
    drop(store);
    let store = open(dir.path());
    // As after a start whose disk was full: the writer has none of these rows.
    forget_derived_rows(dir.path());
    commit_invocation(&store, 5_000);
    assert_eq!(count_rows(dir.path(), "session_log"), 22);
    assert_eq!(read_lines(&store)[2..], lines);
    store.close();
    assert_eq!(count_rows(dir.path(), "session_log"), 22);
    for table in ["decision_index", "audit_traces", "audit_ids"] {
        assert_eq!(count_rows(dir.path(), table), 21, "{table}");
    }
}

#[test]
fn a_row_is_found_by_its_id_before_and_after_it_is_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let entries = make_decisions(133);
    let ids: Vec<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
    let (indexed, later) = entries.split_at(130);
    commit(&store, indexed.to_vec());
    commit(&store, later.to_vec());
    // The writer may have written the last ones by now, after a while without units.
    assert!([130, 133].contains(&count_rows(dir.path(), "audit_ids")));
    let find_all = |store: &Store| {
        let found = ids.iter().map(|id| {
            let row = store.audit_entry(id).unwrap();
            row.map(|row| (row.seq, row.id == *id))
        });
        found.collect::<Vec<_>>()
    };
    let expected: Vec<_> = (1..=133).map(|seq| Some((seq, true))).collect();
    assert_eq!(find_all(&store), expected);
    assert_eq!(store.audit_entry("no such id").unwrap(), None);
    let crashed = copy_as_after_crash(dir.path());
    assert_eq!(find_all(&open(crashed.path())), expected);
    assert_eq!(count_rows(crashed.path(), "audit_ids"), 133);
    // Rows that somebody added to the index are not found, and do not prevent others.
    let database = Connection::open(dir.path().join("ark.db")).unwrap();
    database
        .execute_batch(
            "INSERT OR IGNORE INTO audit_ids SELECT id, seq FROM audit_log WHERE seq = 132",
        )
        .unwrap();
    store.close();
    drop(store);
    assert_eq!(count_rows(dir.path(), "audit_ids"), 133);
    database
        .execute_batch(
            "INSERT INTO audit_ids VALUES ('foreign', 5), ((SELECT id FROM audit_log WHERE seq = 9), 7);
             DELETE FROM decision_index; UPDATE derived_until SET indexed_seq = 0",
        )
        .unwrap();
    drop(database);
    let store = open(dir.path());
    assert_eq!(count_rows(dir.path(), "audit_ids"), 135);
    assert_eq!(count_rows(dir.path(), "decision_index"), 133);
    assert_eq!(find_all(&store), expected);
    assert_eq!(store.audit_entry("foreign").unwrap(), None);
    drop(store);
    let to = dir.path().join("archive.jsonl");
    archive_audit(dir.path(), Millis(900_000), &to).unwrap();
    // That of the archiving is the one row of the log.
    for table in ["audit_log", "audit_ids"] {
        assert_eq!(count_rows(dir.path(), table), 1, "{table}");
    }
    assert_eq!(find_all(&open(dir.path())), vec![None; 133]);
}

#[test]
fn an_index_that_goes_beyond_the_log_hides_no_row_from_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut entries = make_decisions(5);
    commit(&store, entries.clone());
    let (lines, decisions) = (read_lines(&store), read_decisions(&store));
    store.close();
    drop(store);
    // The last two rows lack what is derived from them.
    let database = Connection::open(dir.path().join("ark.db")).unwrap();
    database
        .execute_batch(
            "DELETE FROM audit_ids; DELETE FROM session_log WHERE seq > 3; DELETE FROM decision_index WHERE seq > 3;
             UPDATE derived_until SET seq = 3, indexed_seq = 1000000000",
        )
        .unwrap();
    drop(database);
    let store = open(dir.path());
    assert_eq!(count_rows(dir.path(), "audit_ids"), 5);
    assert_eq!(
        (read_lines(&store), read_decisions(&store)),
        (lines, decisions)
    );
    let next = make_decisions(1);
    commit(&store, next.clone());
    entries.extend(next);
    for (seq, entry) in (1..).zip(&entries) {
        let row = store.audit_entry(&entry.id.to_string()).unwrap();
        assert_eq!(row.map(|row| row.seq), Some(seq));
    }
}

#[test]
fn a_row_that_cannot_be_read_is_not_taken_for_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let entries = make_decisions(5);
    commit(&store, entries.clone());
    store.close();
    drop(store);
    let store = open(dir.path());
    forget_derived_rows(dir.path());
    Connection::open(dir.path().join("ark.db"))
        .unwrap()
        .execute_batch("UPDATE audit_log SET outcome = 'maybe' WHERE seq = 3")
        .unwrap();
    commit(&store, make_decisions(1));
    store.close();
    assert_eq!(count_rows(dir.path(), "audit_ids"), 6);
    for (seq, entry) in (1..).zip(&entries) {
        match store.audit_entry(&entry.id.to_string()) {
            Ok(row) => assert_eq!(row.map(|row| row.seq), Some(seq)),
            Err(error) => assert_eq!(seq, 3, "{error}"),
        }
    }
}
