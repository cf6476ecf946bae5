//! Tests of the store through its public interface, on real data directories.

mod access;
mod batches;
mod damage;
mod decisions;
mod derived;
mod evidence;
mod index_migrations;
mod log;
mod maintenance;
mod migrations;
mod order_numbers;
mod pages;
mod prune;
mod revocations;
mod schema;
mod state;
mod tampering;

use ark_model::action::Side;
use ark_model::decision::Outcome;
use ark_model::ids::{AuditId, DecisionId, Millis, Name, TraceId};
use ark_model::size::Size;

use crate::*;

fn make_name(text: &str) -> Name {
    text.parse().unwrap()
}

fn make_entry(id: AuditId) -> AuditEntry {
    AuditEntry {
        kind: AuditKind::Decision,
        id,
        trace_id: Some(TraceId::fresh()),
        agent: Some(make_name("kenny")),
        action_type: Some("trade".to_owned()),
        outcome: Some(Outcome::Denied),
        at: Millis(1_000),
        // As long as one that is packed, and about as regular.
        body: format!(
            "{{\"n\":\"{id}\",\"verdicts\":[{{\"answers\":[{}]}}]}}",
            "[7,\"pass\",0.5],".repeat(20)
        ),
        subject: None,
    }
}

fn open(dir: &std::path::Path) -> Store {
    Store::open(&StoreConfig::in_dir(dir)).unwrap()
}

fn verify_chains(dir: &std::path::Path) -> ChainReport {
    ReadOnlyStore::open(dir)
        .unwrap()
        .verify_audit_log()
        .unwrap()
}

const KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn with_key(dir: &std::path::Path, key: &str) -> Result<Store, OpenError> {
    Store::open(&StoreConfig {
        secret_key: Some(SecretKey::parse(key, "a test").unwrap()),
        ..StoreConfig::in_dir(dir)
    })
}

fn commit_change(store: &Store, at: u64, change: OperatorChange) -> Result<u64, CommitError> {
    let unit = Unit {
        operator_changes: vec![AttributedChange {
            by: "ada".to_owned(),
            change,
        }],
        at: Millis(at),
        ..Unit::default()
    };
    Ok(store.commit(unit)?.operator_changes[0])
}

fn set_value(key: &str, value: Option<&str>, expected: Option<u64>) -> OperatorChange {
    OperatorChange::State {
        agent: make_name("kyle"),
        key: key.to_owned(),
        value_json: value.map(str::to_owned),
        expected,
    }
}

fn check_state(dir: &std::path::Path, key: Option<&str>) -> StateReport {
    let key = key.map(|key| SecretKey::parse(key, "a test").unwrap());
    ReadOnlyStore::open(dir)
        .unwrap()
        .check_state(key.as_ref())
        .unwrap()
}

/// An order whose number is made of its decision's id.
fn make_order(decision_id: DecisionId, state: MarketOrderState, filled: u64) -> MarketOrder {
    let end_of_id = &decision_id.to_string()[24..];
    MarketOrder {
        number: OrderNumber(u64::from_str_radix(end_of_id, 16).unwrap()),
        decision_id,
        agent: make_name("kenny"),
        symbol: "BTC-USD".into(),
        purpose: MarketOrderPurpose::Open,
        side: Side::Buy,
        size: Size::from_units(10),
        leverage: 1.0,
        state,
        filled: Size::from_units(filled),
        opened: Size::from_units(filled),
        closed: Size::ZERO,
        entry_price: (filled > 0).then_some(2.5),
        realised: 0.0,
        last_realised: None,
        since: Millis(filled),
        expires_at: None,
    }
}
