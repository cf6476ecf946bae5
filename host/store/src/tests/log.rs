//! Tests of the audit log, of signals, and of how the store opens and fails.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use ark_model::ids::{AuditId, Digest, Millis, SignalId, TraceId};
use ark_model::signal::Signal;
use ark_model::state::StateWrite;

use super::{make_entry, make_name, open, verify_chains};
use crate::*;

fn make_audit_unit(id: AuditId) -> Unit {
    Unit {
        audit: vec![make_entry(id)],
        ..Unit::default()
    }
}

fn make_state_unit(key: &str, value: &str, expected: u64) -> Unit {
    let write = StateWrite {
        key: key.to_owned(),
        value_json: Some(value.to_owned()),
        expected,
        was_live: expected > 0,
    };
    Unit {
        agent: Some(make_name("kyle")),
        state: vec![write],
        audit: vec![make_entry(AuditId::fresh())],
        ..Unit::default()
    }
}

fn make_signal(key: Option<(&str, &str)>) -> NewSignal {
    NewSignal {
        by: None,
        signal: Signal {
            id: SignalId::fresh(),
            topic: "market.tick".to_owned(),
            payload_json: "{}".to_owned(),
            trace_id: TraceId::fresh(),
            sender: None,
            causal_depth: 0,
            expires_at: None,
            accepted_at: Millis::now(),
        },
        key: key.map(|(key, request)| SignalKey {
            legacy_source: None,
            source: "http".to_owned(),
            key: key.to_owned(),
            request: Digest::hash_bytes(request.as_bytes()),
            legacy_request: Some(Digest::hash_bytes(format!("legacy {request}").as_bytes())),
        }),
        deliver_to: vec![make_name("kyle")],
        shed: Vec::new(),
    }
}

#[test]
fn a_packed_body_is_read_as_it_was_and_any_change_of_it_is_found() {
    let whole = tempfile::tempdir().unwrap();
    let store = open(whole.path());
    let entries: Vec<_> = (0..6).map(|_| make_entry(AuditId::fresh())).collect();
    for entry in &entries {
        let unit = Unit {
            audit: vec![entry.clone()],
            ..Unit::default()
        };
        store.commit(unit).unwrap();
    }
    store.close();
    drop(store);
    // The first row has made the dictionary, and a start goes on with it.
    let store = open(whole.path());
    store.commit(make_audit_unit(AuditId::fresh())).unwrap();
    for entry in &entries {
        let row = store.audit_entry(&entry.id.to_string()).unwrap().unwrap();
        assert_eq!(row.body, entry.body);
    }
    store.close();
    drop(store);
    let database = rusqlite::Connection::open(whole.path().join("ark.db")).unwrap();
    let count = |condition: &str| -> u64 {
        let sql = format!("SELECT count(*) FROM audit_log WHERE {condition}");
        database.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("packed IS NULL AND length(body) > 300"), 1);
    assert_eq!(
        count("body = '' AND octet_length(packed) < 100 AND substr(packed, 1, 4) = x'00000001'"),
        6
    );
    drop(database);
    assert_eq!(verify_chains(whole.path()).fault, None);
    for (tamper, bad) in [
        ("UPDATE audit_log SET body = ' ' WHERE seq = 3", 3),
        ("UPDATE audit_log SET packed = NULL WHERE seq = 3", 3),
        ("UPDATE audit_log SET packed = x'00' WHERE seq = 3", 3),
        (
            "UPDATE audit_log SET packed = (SELECT packed FROM audit_log WHERE seq = 4) WHERE seq = 3",
            3,
        ),
        (
            "UPDATE audit_log SET packed = cast(x'00000009' || substr(packed, 5) AS BLOB) WHERE seq = 4",
            4,
        ),
        (
            "UPDATE audit_log SET packed = cast(packed || x'502A4D1804000000DEADBEEF' AS BLOB) WHERE seq = 5",
            5,
        ),
        (
            "UPDATE audit_dictionaries SET bytes = substr(bytes, 1, length(bytes) - 1)",
            2,
        ),
        ("DELETE FROM audit_dictionaries", 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(whole.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        let database = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
        assert!(database.execute(tamper, []).unwrap() > 0, "{tamper}");
        drop(database);
        let fault = verify_chains(dir.path()).fault.unwrap();
        assert_eq!(fault.seq, bad, "{tamper}: {fault:?}");
    }
}

#[test]
fn a_changed_missing_moved_or_added_row_is_found_where_it_is() {
    let cases = [
        ("UPDATE audit_log SET body = body || ' ' WHERE seq = 3", 3),
        ("UPDATE audit_log SET outcome = 'approved' WHERE seq = 2", 2),
        ("UPDATE audit_log SET outcome = NULL WHERE seq = 2", 2),
        ("UPDATE audit_log SET agent = 'joey' WHERE seq = 4", 4),
        (
            "UPDATE audit_log SET action_type = 'tradf' WHERE seq = 1",
            1,
        ),
        ("UPDATE audit_log SET trace_id = NULL WHERE seq = 1", 1),
        ("UPDATE audit_log SET id = 'x' WHERE seq = 5", 5),
        ("UPDATE audit_log SET at = at + 1 WHERE seq = 5", 5),
        ("UPDATE audit_log SET kind = 'failure' WHERE seq = 5", 5),
        ("UPDATE audit_log SET hash = zeroblob(32) WHERE seq = 2", 2),
        ("DELETE FROM audit_log WHERE seq = 3", 3),
        ("DELETE FROM audit_log WHERE seq >= 4", 4),
        ("DELETE FROM audit_log", 1),
        (
            "UPDATE audit_log SET seq = 100 WHERE seq = 2; UPDATE audit_log SET seq = 2 WHERE seq = 3; UPDATE audit_log SET seq = 3 WHERE seq = 100",
            2,
        ),
        (
            "INSERT INTO audit_log (seq, at, kind, id, trace_id, agent, action_type, outcome, body, hash) SELECT 6, at, kind, 'new', trace_id, agent, action_type, outcome, body, hash FROM audit_log WHERE seq = 5",
            6,
        ),
    ];
    for (tamper, bad) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for _ in 0..5 {
            store.commit(make_audit_unit(AuditId::fresh())).unwrap();
        }
        store.close();
        drop(store);
        let whole = verify_chains(dir.path());
        assert_eq!((whole.rows, whole.anchors, whole.fault), (5, 1, None));
        rusqlite::Connection::open(dir.path().join("ark.db"))
            .unwrap()
            .execute_batch(tamper)
            .unwrap();
        let fault = verify_chains(dir.path())
            .fault
            .unwrap_or_else(|| panic!("{tamper} was not found"));
        assert_eq!(fault.seq, bad, "{tamper}: {fault:?}");
    }
}

#[test]
fn a_replaced_database_does_not_match_the_anchors() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&dir, &other] {
        let store = open(dir.path());
        for _ in 0..2 {
            store.commit(make_audit_unit(AuditId::fresh())).unwrap();
        }
        store.close();
    }
    std::fs::copy(other.path().join("ark.db"), dir.path().join("ark.db")).unwrap();
    assert_eq!(
        verify_chains(dir.path()).fault.map(|fault| fault.seq),
        Some(2)
    );
}

#[test]
fn concurrent_writers_get_contiguous_revisions_and_no_lost_update() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (store, start) = (store.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                let mut won = 0;
                while won < 25 {
                    let (revision, entry) = store.get_state(&make_name("kyle"), "n").unwrap();
                    let n: u64 = entry.map_or(0, |entry| entry.value_json.parse().unwrap());
                    match store.commit(make_state_unit("n", &(n + 1).to_string(), revision)) {
                        Ok(receipt) => {
                            assert_eq!(receipt.revisions, [revision + 1]);
                            won += 1;
                        }
                        Err(CommitError::Conflict { current, .. }) => assert!(current > revision),
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let (revision, entry) = store.get_state(&make_name("kyle"), "n").unwrap();
    assert_eq!((revision, entry.unwrap().value_json.as_str()), (200, "200"));
    let history = store
        .state_history(&make_name("kyle"), "n", None, 1000)
        .unwrap();
    let revisions: Vec<u64> = history
        .iter()
        .rev()
        .map(|revision| revision.revision)
        .collect();
    assert_eq!(revisions, (1..=200).collect::<Vec<u64>>());
    // A refused unit leaves no audit row behind.
    assert_eq!(store.audit_head().unwrap().0, 200);
    store.close();
    drop(store);
    assert_eq!(verify_chains(dir.path()).fault, None);
}

#[test]
fn a_delete_is_a_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(make_state_unit("k", "1", 0)).unwrap();
    let mut unit = make_state_unit("k", "", 1);
    unit.state[0].value_json = None;
    store.commit(unit).unwrap();
    assert_eq!(store.get_state(&make_name("kyle"), "k").unwrap(), (2, None));
    assert!(
        store
            .list_state_keys(&make_name("kyle"), "", 10)
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store
            .commit(make_state_unit("k", "3", 2))
            .unwrap()
            .revisions,
        [3]
    );
}

#[test]
fn a_signal_is_accepted_once_per_key_and_delivered_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = make_signal(Some(("k", "body")));
    let send = |signal: &NewSignal| {
        store.commit(Unit {
            signals: vec![signal.clone()],
            ..Unit::default()
        })
    };
    assert_eq!(send(&first).unwrap().signals, [SignalReceipt::Accepted]);
    let again = send(&make_signal(Some(("k", "body")))).unwrap().signals;
    assert_eq!(
        again,
        [SignalReceipt::Duplicate {
            id: first.signal.id,
            trace_id: first.signal.trace_id
        }]
    );
    // A key that an earlier version stored with its own digest of the same request.
    let earlier = make_signal(Some(("earlier", "legacy body")));
    assert_eq!(
        store
            .commit(Unit {
                signals: vec![NewSignal {
                    deliver_to: Vec::new(),
                    ..earlier.clone()
                }],
                ..Unit::default()
            })
            .unwrap()
            .signals,
        [SignalReceipt::Accepted]
    );
    assert_eq!(
        send(&make_signal(Some(("earlier", "body"))))
            .unwrap()
            .signals,
        [SignalReceipt::Duplicate {
            id: earlier.signal.id,
            trace_id: earlier.signal.trace_id
        }]
    );
    assert_eq!(
        send(&make_signal(Some(("k", "other")))),
        Err(CommitError::KeyReused {
            key: "k".to_owned()
        })
    );
    let kyle = make_name("kyle");
    let signal = first.signal.id;
    let pending = store.pending_deliveries().unwrap();
    assert!(pending.contains(&(kyle.clone(), signal)), "{pending:?}");
    assert_eq!(store.pending_deliveries_of(&kyle).unwrap(), [signal]);
    let unknown = SignalId::fresh();
    let read = store.pending_signals(&kyle, [unknown, signal]).unwrap();
    assert_eq!(read, std::slice::from_ref(&first.signal));
    let done = DeliveryCompletion {
        signal: first.signal.id,
        agent: make_name("kyle"),
        result: DeliveryResult::Done,
        at: Millis::now(),
    };
    let complete = || {
        store.commit(Unit {
            delivery: Some(done.clone()),
            audit: vec![make_entry(AuditId::fresh())],
            ..Unit::default()
        })
    };
    assert!(complete().is_ok());
    assert_eq!(
        complete(),
        Err(CommitError::DeliveryNotPending {
            agent: make_name("kyle")
        })
    );
    assert!(store.pending_deliveries_of(&kyle).unwrap().is_empty());
    assert!(store.pending_signals(&kyle, [signal]).unwrap().is_empty());
    assert_eq!(store.audit_head().unwrap().0, 1);
}

#[test]
fn a_full_database_refuses_and_serves_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        max_bytes: Some(1200 * 1024),
        ..StoreConfig::in_dir(dir.path())
    };
    let store = Store::open(&config).unwrap();
    let mut acknowledged = Vec::new();
    let refused = loop {
        let id = AuditId::fresh();
        let mut unit = make_audit_unit(id);
        unit.audit[0].body = "x".repeat(20_000);
        unit.may_use_reserve = true;
        match store.commit(unit) {
            Ok(_) => acknowledged.push(id),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, CommitError::Storage(StorageError::Full(_))),
        "{refused}"
    );
    assert!(!store.audit_writable() && acknowledged.len() > 3);
    // A unit that builds on the failed one fails too, until its maker has recovered.
    let chained = Unit {
        chained: true,
        may_use_reserve: true,
        ..Unit::default()
    };
    assert!(matches!(
        store.commit(chained.clone()),
        Err(CommitError::Storage(StorageError::Predecessor(_)))
    ));
    store.recover_writer().unwrap();
    assert!(store.commit(chained).is_ok());
    store.close();
    drop(store);
    let store = open(dir.path());
    for id in &acknowledged {
        assert!(store.audit_entry(&id.to_string()).unwrap().is_some());
    }
    store.commit(make_audit_unit(AuditId::fresh())).unwrap();
    store.close();
    drop(store);
    let report = verify_chains(dir.path());
    assert_eq!(
        (report.rows, report.fault),
        (acknowledged.len() as u64 + 1, None)
    );
}

#[test]
fn a_log_without_room_waits_for_a_reader_that_goes_and_refuses_beside_one_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 3_000_000;
    let store = Store::open(&StoreConfig {
        max_bytes: Some(limit),
        ..StoreConfig::in_dir(dir.path())
    })
    .unwrap();
    let make_unit = |n: u64| {
        let write = StateWrite {
            value_json: Some(format!("\"{}\"", "x".repeat(20_000))),
            ..make_state_unit("k", "", n).state.remove(0)
        };
        Unit {
            state: vec![write],
            ..make_state_unit("k", "", n)
        }
    };
    let is_full = || {
        std::fs::metadata(dir.path().join("ark.db-wal"))
            .unwrap()
            .len()
            > limit / 4
    };
    let read = || {
        let reader = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        let rows: u64 = reader
            .query_row("SELECT count(*) FROM audit_log", [], |row| row.get(0))
            .unwrap();
        (reader, rows)
    };
    let mut written = 0;
    for _ in 0..3 {
        let (reader, rows) = read();
        assert_eq!(rows, written);
        while !is_full() {
            store.commit(make_unit(written)).unwrap();
            written += 1;
        }
        let (reply, answer) = crossbeam_channel::bounded(1);
        let done = move |result| reply.send(result).unwrap();
        let submitted = Instant::now();
        store
            .submit(make_unit(written), Box::new(done))
            .map_err(|(error, _)| error)
            .unwrap();
        // The writer finds the reader, which then goes.
        std::thread::sleep(Duration::from_millis(5));
        drop(reader);
        let stayed = submitted.elapsed();
        let result = answer.recv().unwrap();
        if let Err(error) = result {
            // A machine that stops for so long makes of this reader one that stays.
            assert!(stayed >= Duration::from_millis(250), "{error}");
            while !store.audit_writable() {
                std::thread::sleep(Duration::from_millis(10));
            }
            continue;
        }
        written += 1;
        assert!(!is_full());
    }
    let (reader, _) = read();
    let refused = loop {
        match store.commit(make_unit(written)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, CommitError::Storage(StorageError::LogFull { .. })),
        "{refused}"
    );
    assert!(is_full() && !store.audit_writable());
    drop(reader);
}

#[test]
fn each_open_error_names_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let locked = Store::open(&StoreConfig::in_dir(dir.path()))
        .err()
        .unwrap()
        .to_string();
    assert!(locked.contains(&std::process::id().to_string()), "{locked}");
    store.close();
    drop(store);
    let path = dir.path().join("ark.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    assert!(matches!(
        Store::open(&StoreConfig::in_dir(dir.path())),
        Err(OpenError::Newer { found: 99, .. })
    ));
    std::fs::write(
        &path,
        "this is not a database, however long it may be made".repeat(50),
    )
    .unwrap();
    for file in ["ark.db-wal", "ark.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    assert!(matches!(
        Store::open(&StoreConfig::in_dir(dir.path())),
        Err(OpenError::NotADatabase { .. })
    ));
    assert!(matches!(
        ReadOnlyStore::open(std::path::Path::new("/nonexistent")),
        Err(OpenError::Missing { .. })
    ));
    assert!(matches!(
        Store::open(&StoreConfig::in_dir(path)),
        Err(OpenError::Directory { .. })
    ));
}
