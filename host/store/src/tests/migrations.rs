//! Databases of earlier schemas are migrated with what they hold.

use std::path::Path;
use std::sync::Arc;

use ark_model::ids::{AuditId, Millis};
use ark_model::principal::ActionGrant;
use rusqlite::Connection;

use super::{KEY, check_state, commit_change, make_name, open, set_value, verify_chains, with_key};
use crate::schema::{RESTORABLE_AS_IT_IS_SINCE, SCHEMA_VERSION, migrate_schema};
use crate::tables::audit::append_entry;
use crate::*;

/// Makes a database as a host of an earlier schema left it.
fn write_earlier(dir: &Path, version: u32) {
    let path = dir.join("ark.db");
    let mut connection = Connection::open(&path).unwrap();
    migrate_schema(&mut connection, &path, 0..version.min(2), None).unwrap();
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
        append_entry(&connection, &mut head, &entry).unwrap();
    }
    if version >= 3 {
        let key = SecretKey::parse(KEY, "a test").unwrap();
        migrate_schema(&mut connection, &path, 2..version.min(4), Some(&key)).unwrap();
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
        migrate_schema(&mut connection, &path, 4..version, None).unwrap();
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
        let history = store
            .state_history(&make_name("kyle"), "k", None, 9)
            .unwrap();
        let kept: Vec<_> = history.iter().map(|row| (row.revision, row.at.0)).collect();
        assert_eq!(kept, [(3, 100), (2, 100), (1, 100)]);
        let secret = store
            .get_state(&make_name("joey"), "secret/api")
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
                .memories_page(&make_name("kyle"), &words, 9, Millis(2))
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            store
                .session_page(&SessionLogFilter::default(), 9)
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
        commit_change(&store, 200, set_value("k", Some("4"), Some(3))).unwrap();
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
        assert_eq!(verify_chains(dir.path()).fault, None);
        let report = check_state(dir.path(), Some(KEY));
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

/// A later version goes back to an earlier one, which cannot open a database that was migrated.
#[test]
fn a_restore_on_a_way_back_leaves_each_earlier_schema_as_it_is() {
    for version in 1..=SCHEMA_VERSION {
        let root = tempfile::tempdir().unwrap();
        let [written, taken, data] = ["w", "s", "d"].map(|name| root.path().join(name));
        std::fs::create_dir(&written).unwrap();
        write_earlier(&written, version);
        create_snapshot(&written, &taken).unwrap();
        let restore = || {
            let mut kept = Vec::new();
            let mut keep = |token: &str| {
                kept.push(token.to_owned());
                Ok(())
            };
            let restored = restore_snapshot_keeping(&taken, &data, true, None, "back", &mut keep);
            restored.map(|report| (report, kept))
        };
        if version < RESTORABLE_AS_IT_IS_SINCE {
            let refused = restore().unwrap_err();
            let is_named = matches!(
                &refused,
                MaintenanceError::TooEarlySchema { schema, .. } if *schema == version
            );
            assert!(is_named && !data.exists(), "{refused}");
            continue;
        }
        restore().unwrap();
        assert_eq!(read_schema(&data).unwrap(), version);
        // Everything that a restore writes: it revokes, and makes a token.
        Connection::open(data.join("ark.db"))
            .unwrap()
            .execute_batch(
                "UPDATE tokens SET revoked_by = 'ada', revoked_at = 3 WHERE name = 'ada'",
            )
            .unwrap();
        let (report, kept) = restore().unwrap();
        assert_eq!(read_schema(&data).unwrap(), version);
        assert_eq!(report.revoked_tokens, [make_name("ada")]);
        assert_eq!(kept, report.token.into_iter().collect::<Vec<_>>());
        assert_eq!(kept.len(), 1);
        assert_eq!(verify_chains(&data).fault, None);
        // The version that opens it migrates it. Each row of the log has one line.
        let store = with_key(&data, KEY).unwrap();
        let lines = store.session_page(&SessionLogFilter::default(), 9).unwrap();
        let named = lines.iter().filter_map(|line| line.action_type.as_deref());
        let mut named: Vec<&str> = named.collect();
        named.sort_unstable();
        assert_eq!(named, ["state.first_token", "state.restore"], "{version}");
        assert_eq!(lines.len(), 4, "{version}");
        store.close();
        drop(store);
        assert_eq!(read_schema(&data).unwrap(), SCHEMA_VERSION);
        assert_eq!(verify_chains(&data).fault, None);
    }
}

/// What is kept of a webhook: its progress over a disabling, and the newest of its dead letters until they are delivered.
fn check_webhooks(store: &Store) {
    let desk = make_name("desk");
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
    assert_eq!(
        store
            .count_webhook_dead_letters(&make_name("other"))
            .unwrap(),
        0
    );
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
    use MarketOrderState as S;
    const KINDS: [&str; 8] = [
        "new", "open", "halved", "partial", "closed", "gone", "lapsed", "cut",
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.db");
    let mut connection = Connection::open(&path).unwrap();
    migrate_schema(&mut connection, &path, 0..4, None).unwrap();
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
            agent: Some(make_name("kenny")),
            action_type: Some(action_type.to_owned()),
            outcome: Some(ark_model::decision::Outcome::Approved),
            at: Millis(7),
            body,
            subject: None,
        };
        append_entry(&connection, &mut head, &entry).unwrap();
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
    let live: Vec<String> = rows
        .orders
        .iter()
        .map(|order| order.decision_id.to_string())
        .collect();
    let mut expected: Vec<String> = [new, opened, halved, partial, cut]
        .map(Clone::clone)
        .to_vec();
    expected.sort();
    // They have numbers now, as they were approved.
    assert_eq!(live, expected);
    let numbers: Vec<u64> = rows.orders.iter().map(|order| order.number.0).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    // An order is in one table: it ends, and a late report makes it live again.
    let mut late = order(new);
    for state in [S::Expired, S::PartiallyFilled, S::Cancelled, S::Filled] {
        late.state = state;
        if state == S::Filled {
            (late.filled, late.opened) = (late.size, late.size);
        }
        let unit = Unit {
            ledger: vec![LedgerChange::ChangedOrder(Arc::new(late.clone()))],
            ..Unit::default()
        };
        store.commit(unit).unwrap();
        let number = if late.is_live() {
            late.number
        } else {
            OrderNumber::NONE
        };
        let expected = MarketOrder {
            number,
            ..late.clone()
        };
        assert_eq!(order(new), expected);
        let rows = store.load_ledger().unwrap();
        assert_eq!(rows.orders.contains(&late), late.is_live(), "{state:?}");
        assert_eq!(rows.orders.len(), 4 + usize::from(late.is_live()));
    }
    assert_eq!(
        rows.promotions,
        [Promotion {
            agent: make_name("kenny"),
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
