//! Live orders are kept by numbers: databases of the schema before get them, and no order is lost for a wrong one.

use std::sync::Arc;

use ark_model::ids::{DecisionId, Millis};
use ark_model::size::Size;
use rusqlite::Connection;

use super::{make_order, open};
use crate::schema::{SCHEMA_VERSION, compare_schema, migrate_schema};
use crate::*;

fn make_numbered(number: u64, state: MarketOrderState) -> MarketOrder {
    MarketOrder {
        number: OrderNumber(number),
        ..make_order(DecisionId::fresh(), state, 0)
    }
}

fn commit(store: &Store, ledger: Vec<LedgerChange>) -> Result<Receipt, CommitError> {
    store.commit(Unit {
        ledger,
        ..Unit::default()
    })
}

#[test]
fn an_order_whose_number_another_one_has_is_refused_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = make_numbered(1, MarketOrderState::New);
    let second = make_numbered(2, MarketOrderState::New);
    let both = [&first, &second].map(|order| LedgerChange::NewOrder(Arc::new(order.clone())));
    commit(&store, both.into()).unwrap();
    let read = || store.load_ledger().unwrap().orders;
    let expected = [first.clone(), second.clone()];
    assert_eq!(read(), expected);

    // As a new order, behind one that is written by the same statement, and as a changed one.
    let new = [3, 2].map(|number| {
        let order = make_numbered(number, MarketOrderState::New);
        LedgerChange::NewOrder(Arc::new(order))
    });
    let changed = MarketOrder {
        number: second.number,
        state: MarketOrderState::PartiallyFilled,
        ..first.clone()
    };
    for changes in [
        new.into(),
        vec![LedgerChange::ChangedOrder(Arc::new(changed.clone()))],
    ] {
        let refused = commit(&store, changes).unwrap_err();
        assert!(matches!(refused, CommitError::Storage(_)), "{refused}");
        assert_eq!(read(), expected);
    }

    // One that has ended is read without a number, and one that is live with its own.
    let ended = MarketOrder {
        state: MarketOrderState::Cancelled,
        ..second.clone()
    };
    commit(
        &store,
        vec![LedgerChange::ChangedOrder(Arc::new(ended.clone()))],
    )
    .unwrap();
    let found = |order: &MarketOrder| store.trade_order(order.decision_id).unwrap();
    assert_eq!(found(&first), Some(first.clone()));
    let expected = MarketOrder {
        number: OrderNumber::NONE,
        ..ended.clone()
    };
    assert_eq!(found(&ended), Some(expected));
    // It becomes live again by a late report, under another number: somebody else has its own by now.
    let other = make_numbered(2, MarketOrderState::New);
    let late = MarketOrder {
        number: OrderNumber(3),
        filled: Size::from_units(4),
        opened: Size::from_units(4),
        ..ended
    };
    commit(
        &store,
        vec![
            LedgerChange::NewOrder(Arc::new(other.clone())),
            LedgerChange::ChangedOrder(Arc::new(late.clone())),
        ],
    )
    .unwrap();
    assert_eq!(read(), [first.clone(), other.clone(), late.clone()]);
    // What time ends and a report makes live again, and what is new and changes, each in one unit.
    let lapsed = MarketOrder {
        state: MarketOrderState::Expired,
        ..first.clone()
    };
    let reported = MarketOrder {
        filled: Size::from_units(5),
        opened: Size::from_units(5),
        ..lapsed.clone()
    };
    let new = make_numbered(4, MarketOrderState::New);
    let accepted = MarketOrder {
        expires_at: Some(Millis(9)),
        ..new.clone()
    };
    let changed = |order: &MarketOrder| LedgerChange::ChangedOrder(Arc::new(order.clone()));
    commit(
        &store,
        vec![
            changed(&lapsed),
            changed(&reported),
            LedgerChange::NewOrder(Arc::new(new)),
            changed(&accepted),
        ],
    )
    .unwrap();
    assert_eq!(read(), [reported.clone(), other, late, accepted]);
    assert_eq!(found(&reported), Some(reported));
}

#[test]
fn live_orders_of_the_schema_before_get_numbers_and_views_and_triggers_of_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.db");
    let mut connection = Connection::open(&path).unwrap();
    migrate_schema(&mut connection, &path, 0..15, None).unwrap();
    let ids: Vec<DecisionId> = (0..200).map(|_| DecisionId::fresh()).collect();
    for id in ids.iter().rev() {
        connection
            .execute(
                "INSERT INTO orders VALUES (?1, 'kenny', 'BTC-USD', 'open', 'buy', 10, 1.0, 'new', 0, 0, 0, NULL, 0.0, NULL, 1, NULL)",
                [id.to_string()],
            )
            .unwrap();
    }
    // Views and triggers on tables of others end no start, whatever they say: one of them reads what is not there.
    connection
        .execute_batch(
            "CREATE VIEW exposure AS SELECT symbol, sum(size) FROM orders GROUP BY symbol;
             CREATE VIEW broken AS SELECT * FROM gone;
             CREATE TABLE notes (text TEXT);
             CREATE TRIGGER count_orders AFTER INSERT ON notes BEGIN UPDATE notes SET text = (SELECT count(*) FROM orders); END;",
        )
        .unwrap();
    let texts = |connection: &Connection| -> Vec<String> {
        let sql = "SELECT sql FROM sqlite_schema WHERE name IN ('exposure', 'broken', 'count_orders') ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let before = texts(&connection);
    migrate_schema(&mut connection, &path, 15..SCHEMA_VERSION, None).unwrap();
    assert_eq!(texts(&connection), before);
    assert_eq!(compare_schema(&connection).unwrap().faults, [""; 0]);
    let exposure: i64 = connection
        .query_row("SELECT * FROM exposure", [], |row| row.get(1))
        .unwrap();
    assert_eq!(exposure, 2_000);
    let refused = "INSERT INTO orders SELECT -1, decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, entry_price, realised,
         last_realised, since, expires_at FROM orders WHERE number = 1";
    let refused = connection.execute_batch(refused).unwrap_err().to_string();
    assert!(
        refused.contains("CHECK constraint failed: number"),
        "{refused}"
    );
    drop(connection);

    let orders = open(dir.path()).load_ledger().unwrap().orders;
    let found: Vec<_> = orders
        .iter()
        .map(|order| (order.number.0, order.decision_id))
        .collect();
    let expected: Vec<_> = (1..).zip(ids).collect();
    assert_eq!(found, expected);
}
