//! Tests of migrations, snapshots, archives of the audit log and changes of the key.

use std::path::Path;

use ark_model::ids::{AuditId, Digest, Millis};
use ark_model::principal::ActionGrant;
use rusqlite::Connection;

use super::{KEY, check, name, open, operate, set, verify, with_key};
use crate::schema::{SCHEMA_VERSION, migrate};
use crate::tables::audit::append_entry;
use crate::*;

/// Makes a database as a host of an earlier schema left it.
fn write_earlier(dir: &Path, version: u32) {
    let path = dir.join("ark.db");
    let mut connection = Connection::open(&path).unwrap();
    migrate(&mut connection, &path, 0..version.min(2), None).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             INSERT INTO state_history VALUES ('kyle', 'k', 1, '1', 100, NULL), ('kyle', 'k', 2, NULL, 50, NULL),
                 ('kyle', 'k', 3, '\"three\"', 70, NULL), ('joey', 'secret/api', 1, '\"hunter2\"', 80, NULL);
             INSERT INTO agents_state (agent, key, revision, value, at) VALUES ('kyle', 'k', 3, '\"three\"', 70),
                 ('joey', 'secret/api', 1, '\"hunter2\"', 80);
             INSERT INTO memory_index (agent, kind, content, metadata, at) VALUES ('kyle', 'lesson', 'buy low', '{}', 1);
             INSERT INTO truth_map (key, value, confidence, sources, agent, at) VALUES ('sky', '\"blue\"', 1, '[]', 'kyle', 1);",
        )
        .unwrap();
    let mut head = ChainHead::GENESIS;
    for _ in 0..2 {
        let entry = AuditEntry {
            kind: AuditKind::Control,
            id: AuditId::fresh(),
            trace_id: None,
            agent: None,
            action_type: None,
            outcome: None,
            at: Millis(1),
            body: "{}".to_owned(),
            subject: None,
        };
        append_entry(&connection, &mut head, &entry, None).unwrap();
    }
    if version >= 3 {
        let key = SecretKey::parse(KEY, "a test").unwrap();
        migrate(&mut connection, &path, 2..version.min(4), Some(&key)).unwrap();
        connection.execute_batch("VACUUM").unwrap();
    }
    if version >= 4 {
        connection
            .execute_batch(
                "INSERT INTO tokens (name, hash, role, agents, created_by, created_at) VALUES
                     ('ada', zeroblob(32), 'admin', '', 'operator', 1),
                     ('desk', unhex(printf('%064d', 1)), 'submitter', 'api', 'ada', 2);",
            )
            .unwrap();
        migrate(&mut connection, &path, 4..version, None).unwrap();
    }
}

#[test]
fn every_earlier_schema_is_migrated_with_what_it_holds() {
    for version in 1..SCHEMA_VERSION {
        let dir = tempfile::tempdir().unwrap();
        write_earlier(dir.path(), version);
        // From version 3 on there is nothing to be encrypted.
        if version < 3 {
            let refused = Store::open(&StoreConfig::in_dir(dir.path())).err().unwrap();
            assert!(
                matches!(
                    &refused,
                    OpenError::Secret {
                        cause: SecretError::NoKey { .. },
                        ..
                    }
                ),
                "{refused}"
            );
        }
        let store = with_key(dir.path(), KEY).unwrap();
        let history = store.state_history(&name("kyle"), "k", None, 9).unwrap();
        let kept: Vec<_> = history.iter().map(|row| (row.revision, row.at.0)).collect();
        assert_eq!(kept, [(3, 100), (2, 100), (1, 100)]);
        let secret = store
            .get_state(&name("joey"), "secret/api")
            .unwrap()
            .1
            .unwrap();
        assert_eq!(secret.value_json, "\"hunter2\"");
        assert_eq!(store.latest_truth("sky").unwrap().unwrap().revision, 1);
        assert_eq!(store.truth_history("sky", None, 9).unwrap().len(), 1);
        let words = MemoryFilter {
            words: Some("low".to_owned()),
            ..MemoryFilter::default()
        };
        assert_eq!(
            store
                .memories_page(&name("kyle"), &words, 9, Millis(2))
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            store
                .session_page(&SessionFilter::default(), 9)
                .unwrap()
                .len(),
            2
        );
        // A token of before keeps what it could do.
        let tokens = store.all_tokens().unwrap();
        let granted: Vec<_> = tokens
            .iter()
            .map(|token| (token.name.as_str(), token.actions.as_slice()))
            .collect();
        let expected = [("ada", &[][..]), ("desk", &[ActionGrant::All])];
        assert_eq!(granted, expected[..if version < 4 { 0 } else { 2 }]);
        operate(&store, 200, set("k", Some("4"), Some(3))).unwrap();
        assert_eq!(store.sent_events().unwrap(), None);
        for audit_seq in [2, 3] {
            let sent = EventCursor {
                audit_seq,
                alert_seq: 1,
            };
            let unit = Unit {
                redis: vec![RedisChange::Send(sent)],
                ..Unit::default()
            };
            store.commit(unit).unwrap();
            assert_eq!(store.sent_events().unwrap(), Some(sent));
        }
        check_webhooks(&store);
        store.close();
        drop(store);
        assert_eq!(verify(dir.path()).fault, None);
        let report = check(dir.path(), Some(KEY));
        assert_eq!(
            (report.revisions, report.secrets, report.fault),
            (5, 1, None)
        );
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(
                !bytes.windows(7).any(|part| part == b"hunter2"),
                "schema {version}"
            );
        }
    }
}

/// What is kept of a webhook: its progress over a disabling, and the newest of its dead letters until they are delivered.
fn check_webhooks(store: &Store) {
    let desk = name("desk");
    let commit = |webhooks| {
        let unit = Unit {
            at: Millis(7),
            webhooks,
            ..Unit::default()
        };
        store.commit(unit).unwrap();
    };
    assert_eq!(store.webhook(&desk).unwrap(), None);
    let progress = WebhookProgress {
        cursor: EventCursor {
            audit_seq: 2,
            alert_seq: 1,
        },
        event_id: Some("e".to_owned()),
        attempts: 3,
        retry_at: Some(Millis(9)),
        failing_since: Some(Millis(4)),
    };
    commit(vec![
        WebhookChange::Progress(desk.clone(), progress.clone()),
        WebhookChange::Disable(desk.clone(), "first".to_owned()),
        WebhookChange::Disable(desk.clone(), "second".to_owned()),
    ]);
    let row = store.webhook(&desk).unwrap().unwrap();
    assert_eq!(row.progress, progress);
    assert_eq!(row.disabled, Some((Millis(7), "first".to_owned())));
    commit(vec![WebhookChange::Enable(desk.clone())]);
    let row = store.webhook(&desk).unwrap().unwrap();
    assert_eq!((row.disabled, row.progress.attempts), (None, 0));
    let dead_letter = |event_id: &str| {
        let letter = NewDeadLetter {
            event_id: event_id.to_owned(),
            event_type: "ark.failure".to_owned(),
            event_at: Millis(1),
            body: "{}".to_owned(),
            attempts: 3,
            reason: "r".to_owned(),
        };
        WebhookChange::AddDeadLetter(desk.clone(), letter, 2)
    };
    commit(vec![dead_letter("a"), dead_letter("b"), dead_letter("c")]);
    let kept = |before, limit| {
        let letters = store.webhook_dead_letters(&desk, before, limit).unwrap();
        let ids = letters.into_iter().map(|it| it.letter.event_id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(kept(None, 9), ["c", "b"]);
    assert_eq!(kept(None, 1), ["c"]);
    assert_eq!(store.count_webhook_dead_letters(&desk).unwrap(), 2);
    assert_eq!(store.count_webhook_dead_letters(&name("other")).unwrap(), 0);
    let next = || {
        let next = store.next_webhook_redelivery(&desk).unwrap();
        next.map(|it| (it.letter.event_id, it.letter.attempts))
    };
    assert_eq!(next(), None);
    commit(vec![WebhookChange::RequestRedelivery(desk.clone(), None)]);
    assert_eq!(next(), Some(("b".to_owned(), 3)));
    commit(vec![WebhookChange::RedeliveryFailed(
        desk.clone(),
        "b".to_owned(),
        "again".to_owned(),
    )]);
    assert_eq!(next(), Some(("c".to_owned(), 3)));
    commit(vec![WebhookChange::Delivered(desk.clone(), "c".to_owned())]);
    assert_eq!(next(), None);
    let left = store.find_webhook_dead_letter(&desk, "b").unwrap().unwrap();
    assert_eq!(
        (left.letter.attempts, left.letter.reason.as_str()),
        (4, "again")
    );
}

/// What an earlier schema kept of a trade or a close, and what the orders of this one are made of.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a row for each kind of position, and what becomes of it"
)]
fn positions_and_reports_of_schema_4_become_orders() {
    use OrderState as S;
    const KINDS: [&str; 8] = [
        "new", "open", "halved", "partial", "closed", "gone", "lapsed", "cut",
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.db");
    let mut connection = Connection::open(&path).unwrap();
    migrate(&mut connection, &path, 0..4, None).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL")
        .unwrap();
    let mut head = ChainHead::GENESIS;
    let mut append = |kind, action_type: &str, body: String| {
        let id = AuditId::fresh();
        let entry = AuditEntry {
            kind,
            id,
            trace_id: None,
            agent: Some(name("kenny")),
            action_type: Some(action_type.to_owned()),
            outcome: Some(ark_model::decision::Outcome::Approved),
            at: Millis(7),
            body,
            subject: None,
        };
        append_entry(&connection, &mut head, &entry, None).unwrap();
        id.to_string()
    };
    let ids = KINDS.map(|_| {
        let body = r#"{"action":{"action_type":"buy","parameters":{"position_size_pct":0.05,"symbol":"BTC-USD"}}}"#;
        append(AuditKind::Decision, "buy", body.to_owned())
    });
    let close = append(
        AuditKind::Decision,
        "close_position",
        r#"{"action":{"action_type":"close_position","parameters":{"symbol":"BTC-USD","position_size_pct":0.02}}}"#.to_owned(),
    );
    let unreported = append(
        AuditKind::Decision,
        "close_position",
        r#"{"action":{"action_type":"close_position","parameters":{"symbol":"BTC-USD"}}}"#
            .to_owned(),
    );
    let reported_by = append(AuditKind::Execution, "buy", r#"{"by":"broker"}"#.to_owned());
    let position = |id: &str, size: f64, status: &str, expires: &str| {
        connection
            .execute_batch(&format!(
                "INSERT INTO positions VALUES ('{id}', 'kenny', 'BTC-USD', 'buy', {size}, 1.0, '{status}', 9, {expires})"
            ))
            .unwrap();
    };
    let execution = |key: &str, id: &str, status: &str, filled: &str| {
        connection
            .execute_batch(&format!(
                "INSERT INTO executions VALUES ('{key}', '{id}', '{status}', {filled}, NULL, NULL, 8)"
            ))
            .unwrap();
    };
    let [new, opened, halved, partial, closed, gone, lapsed, cut] = &ids;
    position(new, 0.05, "reserved", "99");
    position(opened, 0.05, "open", "NULL");
    execution("open-1", opened, "filled", "NULL");
    position(halved, 0.02, "open", "NULL");
    execution("halved-1", halved, "filled", "0.05");
    position(partial, 0.05, "open", "NULL");
    execution("partial-1", partial, "partially_filled", "0.03");
    position(closed, 0.0, "closed", "NULL");
    execution("closed-1", closed, "filled", "NULL");
    position(gone, 0.05, "released", "NULL");
    execution("gone-1", gone, "rejected", "NULL");
    position(lapsed, 0.05, "released", "50");
    position(cut, 0.01, "open", "NULL");
    execution("cut-1", cut, "cancelled", "0.01");
    execution("close-1", &close, "filled", "NULL");
    connection
        .execute_batch(&format!(
            "INSERT INTO idempotency VALUES ('execution:', 'open-1', zeroblob(32), '{reported_by}'), ('execution:', 'cut-1', zeroblob(32), 'archived');
             INSERT INTO promotions VALUES ('kenny', 'BTC-USD', 5); INSERT INTO realised VALUES (3, -0.01);"
        ))
        .unwrap();
    drop(connection);
    let store = open(dir.path());
    let order = |id: &str| store.trade_order(id.parse().unwrap()).unwrap().unwrap();
    let found = |id: &str| {
        let order = order(id);
        (
            order.state,
            order.filled.units(),
            order.open().units(),
            order.exposure().units(),
        )
    };
    for (id, expected) in [
        (new, (S::New, 0, 0, 50_000_000)),
        (opened, (S::Filled, 50_000_000, 50_000_000, 50_000_000)),
        (halved, (S::Filled, 50_000_000, 20_000_000, 20_000_000)),
        (
            partial,
            (S::PartiallyFilled, 30_000_000, 30_000_000, 50_000_000),
        ),
        (closed, (S::Filled, 50_000_000, 0, 0)),
        (gone, (S::Rejected, 0, 0, 0)),
        (lapsed, (S::Expired, 0, 0, 0)),
        (cut, (S::Cancelled, 10_000_000, 10_000_000, 10_000_000)),
        (&close, (S::Filled, 20_000_000, 0, 0)),
        (&unreported, (S::Expired, 0, 0, 0)),
    ] {
        assert_eq!(found(id), expected, "{:?}", order(id));
    }
    assert_eq!(order(&unreported).size.units(), 130_000_000);
    assert_eq!(order(lapsed).expires_at, Some(Millis(50)));
    let rows = store.load_ledger().unwrap();
    let mut live: Vec<String> = rows
        .orders
        .iter()
        .map(|order| order.decision_id.to_string())
        .collect();
    let mut expected: Vec<String> = [new, opened, halved, partial, cut]
        .map(Clone::clone)
        .to_vec();
    live.sort();
    expected.sort();
    assert_eq!(live, expected);
    // An order is in one table: it ends, and a late report makes it live again.
    let mut late = order(new);
    for state in [S::Expired, S::PartiallyFilled, S::Cancelled, S::Filled] {
        late.state = state;
        if state == S::Filled {
            (late.filled, late.opened) = (late.size, late.size);
        }
        let unit = Unit {
            ledger: vec![LedgerChange::Order(Box::new(late.clone()))],
            ..Unit::default()
        };
        store.commit(unit).unwrap();
        assert_eq!(order(new), late);
        let rows = store.load_ledger().unwrap();
        assert_eq!(rows.orders.contains(&late), late.is_live(), "{state:?}");
        assert_eq!(rows.orders.len(), 4 + usize::from(late.is_live()));
    }
    assert_eq!(
        rows.promotions,
        [Promotion {
            agent: name("kenny"),
            symbol: "BTC-USD".to_owned(),
            account_wide: false,
            at: Millis(5)
        }]
    );
    assert_eq!(rows.realised.into_iter().collect::<Vec<_>>(), [(3, -0.01)]);
    for (scope, key, is_there) in [
        ("execution:broker", "open-1", true),
        ("execution:", "open-1", false),
        ("execution:", "cut-1", true),
    ] {
        assert_eq!(
            store.idempotency_record(scope, key).unwrap().is_some(),
            is_there,
            "{scope} {key}"
        );
    }
}

fn contents(dir: &Path) -> Vec<(String, Digest)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "ark.lock" && entry.path().is_file())
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).unwrap();
            (
                entry.file_name().into_string().unwrap(),
                Digest::hash_bytes(&bytes),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_snapshot_taken_under_load_restores_to_a_moment_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (data, taken, fresh) = (
        root.path().join("d"),
        root.path().join("s"),
        root.path().join("f"),
    );
    let store = open(&data);
    operate(&store, 1, set("before", Some("1"), None)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let manifest = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                operate(
                    &store,
                    2,
                    set(
                        &format!("k/{}", number % 50),
                        Some(&number.to_string()),
                        None,
                    ),
                )
                .unwrap();
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        let manifest = create_snapshot(&data, &taken);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        manifest.unwrap()
    });
    assert_eq!(check_snapshot(&taken, None).unwrap(), manifest);
    assert!(
        create_snapshot(&data, &taken)
            .unwrap_err()
            .to_string()
            .contains("exists")
    );
    // A host runs, so nothing is restored over it.
    assert!(matches!(
        restore_snapshot(&taken, &data, true, None),
        Err(MaintenanceError::Open(OpenError::Locked { .. }))
    ));
    operate(&store, 3, set("after", Some("1"), None)).unwrap();
    store.close();
    drop(store);

    restore_snapshot(&taken, &fresh, false, None).unwrap();
    let before = contents(&fresh);
    assert!(
        restore_snapshot(&taken, &fresh, false, None)
            .unwrap_err()
            .to_string()
            .contains("--replace")
    );
    assert_eq!(contents(&fresh), before);
    let restored = restore_snapshot(&taken, &data, true, None).unwrap();
    assert!(restored.moved_aside.unwrap().join("ark.db").is_file());
    for dir in [&data, &fresh] {
        assert_eq!(verify(dir).fault, None);
        assert_eq!(check(dir, None).fault, None);
        let store = open(dir);
        assert!(
            store
                .latest_state(&name("kyle"), "before")
                .unwrap()
                .is_some()
        );
        assert!(
            store
                .latest_state(&name("kyle"), "after")
                .unwrap()
                .is_none()
        );
        let (rows, _) = store.audit_head().unwrap();
        assert_eq!(rows, manifest.audit.seq + 1);
        operate(&store, 4, set("k", Some("1"), None)).unwrap();
    }
}

#[test]
fn a_snapshot_that_is_not_whole_or_newer_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (data, taken) = (root.path().join("d"), root.path().join("s"));
    let store = open(&data);
    operate(&store, 1, set("k", Some("\"needle\""), None)).unwrap();
    store.close();
    drop(store);
    create_snapshot(&data, &taken).unwrap();
    let before = contents(&data);
    let manifest = std::fs::read_to_string(taken.join("manifest.json")).unwrap();
    let database = std::fs::read(taken.join("ark.db")).unwrap();
    let refused = |named: &str| {
        let error = restore_snapshot(&taken, &data, true, None)
            .unwrap_err()
            .to_string();
        assert!(error.contains(named), "{error}");
        assert_eq!(contents(&data), before);
    };
    let schema = |version: u32| format!("\"schema\": {version}");
    let newer = manifest.replace(&schema(SCHEMA_VERSION), &schema(SCHEMA_VERSION + 1));
    assert_ne!(newer, manifest);
    std::fs::write(taken.join("manifest.json"), &newer).unwrap();
    refused("run a newer ark");
    std::fs::write(
        taken.join("manifest.json"),
        manifest.replace("ark-snapshot/1", "x"),
    )
    .unwrap();
    refused("format");
    std::fs::write(taken.join("manifest.json"), &manifest).unwrap();
    let at = database
        .windows(6)
        .position(|part| part == b"needle")
        .unwrap();
    let mut changed = database.clone();
    changed[at] = b'N';
    std::fs::write(taken.join("ark.db"), &changed).unwrap();
    refused("checksum");
    // One who also corrects the checksum is found by the chain.
    let whole = Digest::hash_bytes(&database).to_string();
    let corrected = manifest.replace(&whole, &Digest::hash_bytes(&changed).to_string());
    assert_ne!(corrected, manifest);
    std::fs::write(taken.join("manifest.json"), corrected).unwrap();
    refused("state");
    std::fs::write(taken.join("ark.db"), &database[..database.len() / 2]).unwrap();
    std::fs::write(taken.join("manifest.json"), &manifest).unwrap();
    refused("checksum");
    std::fs::remove_file(taken.join("manifest.json")).unwrap();
    refused("there is no snapshot at");
    refused("holds no manifest.json; name a directory that `ark state snapshot` made");
    std::fs::write(taken.join("manifest.json"), &manifest).unwrap();
    let nowhere = root.path().join("nowhere");
    let error = restore_snapshot(&nowhere, &data, true, None).unwrap_err();
    assert!(
        error.to_string().contains("there is no such directory"),
        "{error}"
    );
    assert_eq!(contents(&data), before);
    // A restore that was cut off keeps a host from starting, until it is done again.
    std::fs::write(taken.join("ark.db"), &database).unwrap();
    std::fs::write(data.join("restore.pending"), "").unwrap();
    std::fs::remove_file(data.join("ark.db")).unwrap();
    assert!(matches!(
        Store::open(&StoreConfig::in_dir(&data)),
        Err(OpenError::RestoreInterrupted { .. })
    ));
    restore_snapshot(&taken, &data, false, None).unwrap();
    assert!(
        open(&data)
            .latest_state(&name("kyle"), "k")
            .unwrap()
            .is_some()
    );
}

#[test]
fn rekey_moves_every_revision_to_the_new_key_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_key(dir.path(), KEY).unwrap();
    for value in ["\"one\"", "\"two\""] {
        operate(&store, 1, set("secret/s", Some(value), None)).unwrap();
    }
    store.close();
    drop(store);
    let key = |digit: &str| SecretKey::parse(&digit.repeat(64), "a test").unwrap();
    let head = check(dir.path(), Some(KEY)).head;
    for wrong in [None, Some(key("3"))] {
        assert!(rekey_secrets(dir.path(), wrong.as_ref(), &key("2")).is_err());
        assert_eq!(check(dir.path(), Some(KEY)).secrets, 2);
    }
    assert_eq!(
        rekey_secrets(dir.path(), Some(&key("1")), &key("2")).unwrap(),
        2
    );
    let report = check(dir.path(), Some(&"2".repeat(64)));
    assert_eq!((report.secrets, report.head, report.fault), (2, head, None));
    assert!(check(dir.path(), Some(KEY)).fault.is_some());
    assert_eq!(verify(dir.path()).fault, None);
    let store = with_key(dir.path(), &"2".repeat(64)).unwrap();
    let value = store
        .get_state(&name("kyle"), "secret/s")
        .unwrap()
        .1
        .unwrap();
    assert_eq!(value.value_json, "\"two\"");
    operate(&store, 2, set("secret/s", Some("\"three\""), Some(2))).unwrap();
}

#[test]
fn archived_rows_leave_the_database_and_the_chain_stays_verifiable() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("d");
    let file = |name: &str| root.path().join(name);
    let now = Millis::now().0;
    let store = open(&data);
    for at in [1_000, 2_000, 3_000, now] {
        operate(&store, at, set(&format!("k{at}"), Some("1"), None)).unwrap();
    }
    assert!(matches!(
        archive_audit(&data, Millis(2_500), &file("a")),
        Err(MaintenanceError::Open(OpenError::Locked { .. }))
    ));
    store.close();
    drop(store);
    assert!(
        archive_audit(&data, Millis(now), &file("a"))
            .unwrap_err()
            .to_string()
            .contains("60 s")
    );
    assert!(archive_audit(&data, Millis(500), &file("a")).is_err() && !file("a").exists());
    let first = archive_audit(&data, Millis(2_500), &file("a")).unwrap();
    assert_eq!(first.rows, (1, 2));
    assert!(archive_audit(&data, Millis(3_500), &file("a")).is_err());
    let second = archive_audit(&data, Millis(3_500), &file("b")).unwrap();
    assert_eq!(second.rows, (3, 3));
    let report = verify(&data);
    assert_eq!((report.rows, report.archived, report.fault), (6, 3, None));
    let (a, b) = (
        check_archive(&file("a")).unwrap(),
        check_archive(&file("b")).unwrap(),
    );
    assert_eq!(
        (a.fault, b.fault, a.header.last == b.header.after),
        (None, None, true)
    );
    // A host goes on behind the archive.
    let store = open(&data);
    operate(&store, now, set("more", Some("1"), None)).unwrap();
    assert_eq!(
        store
            .session_page(&SessionFilter::default(), 99)
            .unwrap()
            .len(),
        7
    );
    store.close();
    drop(store);
    assert_eq!(verify(&data).fault, None);
    // Neither the database nor a file can be changed unseen.
    let tampered = |sql: &str| {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&data).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        Connection::open(copy.path().join("ark.db"))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        verify(copy.path()).fault
    };
    for sql in [
        "DELETE FROM audit_log WHERE seq = 4",
        "DELETE FROM audit_archives",
        "UPDATE audit_archives SET hash = zeroblob(32) WHERE last_seq = 3",
        "UPDATE audit_archives SET last_seq = 4, hash = (SELECT hash FROM audit_log WHERE seq = 4) WHERE last_seq = 3; DELETE FROM audit_log WHERE seq <= 4",
        "INSERT INTO audit_archives SELECT 4, 4, hash, 'x', zeroblob(32), 1 FROM audit_log WHERE seq = 4; DELETE FROM audit_log WHERE seq = 4",
    ] {
        assert!(tampered(sql).is_some(), "{sql}");
    }
    let text = std::fs::read_to_string(file("a")).unwrap();
    std::fs::remove_file(file("a.sha256")).unwrap();
    for (from, to) in [
        ("k1000", "k1001"),
        ("\"seq\":2", "\"seq\":3"),
        ("ada", "eve"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        std::fs::write(file("a"), changed).unwrap();
        assert!(check_archive(&file("a")).map_or(true, |report| report.fault.is_some()));
    }
}

#[test]
fn the_database_and_its_log_together_stay_within_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 3_000_000;
    let config = StoreConfig {
        max_bytes: Some(limit),
        ..StoreConfig::in_dir(dir.path())
    };
    let store = Store::open(&config).unwrap();
    let size = || -> u64 {
        ["ark.db", "ark.db-wal"]
            .iter()
            .filter_map(|name| std::fs::metadata(dir.path().join(name)).ok())
            .map(|metadata| metadata.len())
            .sum()
    };
    let value = format!("\"{}\"", "x".repeat(20_000));
    let mut written = 0;
    let refused = loop {
        match operate(&store, 1, set("k", Some(&value), None)) {
            Ok(revision) => written = revision,
            Err(error) => break error,
        }
        assert!(size() <= limit, "{} bytes after {written} writes", size());
    };
    assert!(refused.to_string().contains("full"), "{refused}");
    // Most of the limit is used, and what was written is read.
    assert!(size() > limit / 2, "{} bytes", size());
    let last = store.latest_state(&name("kyle"), "k").unwrap().unwrap();
    assert_eq!(last.revision, written);
}
