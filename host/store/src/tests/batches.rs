//! Tests of transactions with many units: what the writer keeps to write it together is there in the end, as if each unit had been committed by itself.

use std::sync::Arc;
use std::sync::mpsc::channel;

use ark_model::action::Side;
use ark_model::ids::{AuditId, DecisionId, Digest, Millis};
use ark_model::state::StateWrite;

use super::{make_entry, make_name, make_order, open, verify_chains};
use crate::*;

/// A change to an order, or the order itself, when it is new.
fn write_order(order: MarketOrder) -> LedgerChange {
    match order.state {
        MarketOrderState::New => LedgerChange::NewOrder(Arc::new(order)),
        _ => LedgerChange::ChangedOrder(Arc::new(order)),
    }
}

/// So many units at first are plain: they fill statements of many rows.
const PLAIN: usize = 40;

/// Units with approved trades. After the [`PLAIN`] ones some are refused, or change what those before them left.
fn make_units(ids: &[DecisionId]) -> Vec<Unit> {
    let mut units = Vec::new();
    for (number, id) in ids.iter().copied().enumerate() {
        let mut unit = Unit {
            // Long enough to be packed.
            audit: vec![AuditEntry {
                body: format!(
                    r#"{{"action":{{"size":{number}}},"verdicts":[{}]}}"#,
                    r#"{"answers":[[1,"pass",0.5,1.0],[2,"not-applicable"]]},"#.repeat(8)
                ),
                ..make_entry(id.into())
            }],
            ledger: vec![
                write_order(make_order(id, MarketOrderState::New, 0)),
                LedgerChange::LastTrade {
                    agent: make_name("kenny"),
                    symbol: format!("S{}", number % 3).into(),
                    side: Side::Buy,
                    at: Millis(number as u64),
                },
            ],
            ..Unit::default()
        };
        let kind = if number < PLAIN { 0 } else { number % 10 };
        match kind {
            // With a savepoint; refused but for the first, since the key is at another revision.
            3 => {
                unit.agent = Some(make_name("kenny"));
                unit.state = vec![StateWrite {
                    key: "k".to_owned(),
                    value_json: Some(number.to_string()),
                    expected: 0,
                    was_live: false,
                }];
                unit.idempotency = Some(IdempotencyRecord {
                    scope: "kenny".to_owned(),
                    key: number.to_string(),
                    request: Digest::hash_bytes(b"request"),
                    answer: id.to_string(),
                });
            }
            5 => {
                let filled = make_order(ids[number - 1], MarketOrderState::PartiallyFilled, 4);
                unit.ledger.insert(0, write_order(filled));
            }
            6 => {
                let ended = make_order(ids[number - 4], MarketOrderState::Cancelled, 0);
                unit.ledger.push(write_order(ended));
            }
            8 => unit.audit.push(AuditEntry {
                kind: AuditKind::Control,
                outcome: None,
                ..make_entry(AuditId::fresh())
            }),
            _ => {}
        }
        units.push(unit);
    }
    units
}

/// Everything that the units of [`make_units`] write.
fn read_all(store: &Store, ids: &[DecisionId]) -> String {
    let rows = store.audit_page(&AuditFilter::default(), None, 1_000);
    let lines = store.session_page(&SessionLogFilter::default(), 1_000);
    let decisions = store.decision_page(&DecisionFilter::default(), None, 1_000);
    let orders: Vec<_> = ids.iter().map(|id| store.trade_order(*id)).collect();
    let ledger = store.load_ledger();
    format!("{rows:#?}\n{lines:#?}\n{decisions:#?}\n{orders:#?}\n{ledger:#?}")
}

/// Commits units: the first alone, and all others in one transaction. Returns the results as text.
fn commit_together(store: &Store, units: Vec<Unit>) -> Vec<String> {
    // The writer is kept at the answer to the first unit until all others wait, so that it takes them at once.
    let (release, released) = channel::<()>();
    let (results, received) = channel();
    let mut found = Vec::new();
    let mut released = Some(released);
    let count = units.len();
    for unit in units {
        let (reply, held) = (results.clone(), released.take());
        store.submit_blocking(
            unit,
            Box::new(move |result| {
                reply.send(format!("{result:?}")).unwrap();
                if let Some(held) = held {
                    held.recv().unwrap();
                }
            }),
        );
        if found.is_empty() {
            found.push(received.recv().unwrap());
        }
    }
    release.send(()).unwrap();
    found.extend(received.iter().take(count - 1));
    found
}

#[test]
fn units_of_one_transaction_leave_what_they_leave_one_by_one() {
    let ids: Vec<_> = (0..100).map(|_| DecisionId::fresh()).collect();
    let units = make_units(&ids);
    let alone = tempfile::tempdir().unwrap();
    let store = open(alone.path());
    let expected: Vec<_> = units
        .iter()
        .map(|unit| format!("{:?}", store.commit(unit.clone())))
        .collect();
    let expected_rows = read_all(&store, &ids);
    drop(store);
    assert_eq!(
        expected.iter().filter(|it| it.starts_with("Err")).count(),
        5
    );

    let together = tempfile::tempdir().unwrap();
    let store = open(together.path());
    assert_eq!(commit_together(&store, units), expected);
    assert_eq!(read_all(&store, &ids), expected_rows);
    drop(store);
    for dir in [&alone, &together] {
        let connection = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
        let sql = "SELECT count(*) FROM audit_log WHERE packed IS NOT NULL";
        let packed: u32 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert!(packed >= 90, "{packed} rows are packed");
        drop(connection);
        // What was derived is written by now.
        assert_eq!(read_all(&open(dir.path()), &ids), expected_rows);
        assert_eq!(verify_chains(dir.path()).fault, None);
    }
}

#[test]
fn a_transaction_that_fails_in_the_middle_leaves_nothing() {
    let ids: Vec<_> = (0..=PLAIN).map(|_| DecisionId::fresh()).collect();
    let mut units = make_units(&ids);
    let last = units.pop().unwrap();
    let without = tempfile::tempdir().unwrap();
    let store = open(without.path());
    for unit in &units[..2] {
        store.commit(unit.clone()).unwrap();
    }
    let expected = read_all(&store, &ids);
    drop(store);

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rest = units.split_off(1);
    store.commit(units.remove(0)).unwrap();
    // Another program writes a row at a number that a statement of many rows is about to write.
    let other = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
    let foreign = "INSERT INTO audit_log (seq, at, kind, id, body, hash) VALUES (31, 1, 'control', 'x', '', x'00')";
    other.execute_batch(foreign).unwrap();
    let results = commit_together(&store, rest);
    other
        .execute_batch("DELETE FROM audit_log WHERE seq = 31")
        .unwrap();
    assert!(results[0].starts_with("Ok"), "{}", results[0]);
    for result in &results[1..] {
        assert!(result.starts_with("Err(Storage"), "{result}");
    }
    assert_eq!(read_all(&store, &ids), expected);
    assert_eq!(store.commit(last).unwrap().audit_seqs, [3]);
    drop(store);
    assert_eq!(verify_chains(dir.path()).fault, None);
}

#[test]
fn an_order_that_opens_tells_of_its_trade_as_long_as_it_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let read = || {
        let trades = store.load_ledger().unwrap().last_trades;
        let mut times: Vec<u64> = trades.iter().map(|(_, _, _, at)| at.0).collect();
        times.sort_unstable();
        times
    };
    let commit = |ledger| {
        let unit = Unit {
            ledger,
            ..Unit::default()
        };
        store.commit(unit).unwrap();
    };
    let [opens, closes] = [DecisionId::fresh(), DecisionId::fresh()];
    let new_order = |decision_id, purpose, since| {
        write_order(MarketOrder {
            purpose,
            since: Millis(since),
            ..make_order(decision_id, MarketOrderState::New, 0)
        })
    };
    commit(vec![
        new_order(opens, MarketOrderPurpose::Open, 70),
        new_order(closes, MarketOrderPurpose::Close, 80),
    ]);
    assert_eq!(read(), [70]);
    // A report that leaves it new changes its row, and no more.
    let reported = MarketOrder {
        since: Millis(70),
        expires_at: Some(Millis(99)),
        ..make_order(opens, MarketOrderState::New, 0)
    };
    commit(vec![LedgerChange::ChangedOrder(Arc::new(reported.clone()))]);
    assert_eq!(read(), [70]);
    let orders = store.load_ledger().unwrap().orders;
    assert_eq!(orders.len(), 2);
    assert!(orders.contains(&reported));
    // What changes its state records the trade, that of a close does not: its sides have rows from the beginning.
    let change = |id, state, since| {
        write_order(MarketOrder {
            since: Millis(since),
            ..make_order(id, state, 10)
        })
    };
    commit(vec![
        change(opens, MarketOrderState::Filled, 90),
        change(closes, MarketOrderState::Filled, 90),
    ]);
    assert_eq!(read(), [70]);
    // Approved and ended in one transaction, by a clock that was set back: the later trade counts.
    let earlier = DecisionId::fresh();
    commit(vec![
        new_order(earlier, MarketOrderPurpose::Open, 60),
        change(earlier, MarketOrderState::Cancelled, 65),
    ]);
    assert_eq!(read(), [70]);
    // By a clock that was far ahead: the time of the next state counts, also in place of one that was recorded before.
    let far = 1_000 + u64::try_from(FAR_AHEAD.as_millis()).unwrap();
    let ahead = [DecisionId::fresh(), DecisionId::fresh()];
    commit(vec![
        new_order(ahead[0], MarketOrderPurpose::Open, far),
        change(ahead[0], MarketOrderState::Cancelled, far),
    ]);
    assert_eq!(read(), [far]);
    commit(vec![new_order(ahead[1], MarketOrderPurpose::Open, far + 1)]);
    assert_eq!(read(), [far, far + 1]);
    commit(vec![change(ahead[1], MarketOrderState::Filled, 900)]);
    assert_eq!(read(), [900]);
}
