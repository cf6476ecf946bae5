//! The ticks of `ark demo` are what their generator makes, and kyle takes each of them.

use std::collections::BTreeMap;

use ark_guest::agent::MockHost;
use kyle::{Kyle, Tick};

#[path = "../examples/ticks.rs"]
#[allow(dead_code, reason = "an example has a main function")]
mod generator;

const BUNDLED: &str = include_str!("../../../../host/cli/assets/ticks.jsonl");

#[test]
fn the_bundled_file_is_the_generators() {
    assert!(
        generator::generate_ticks() == BUNDLED,
        "run: cargo run -p agent-kyle --example ticks > host/cli/assets/ticks.jsonl"
    );
}

#[test]
fn kyle_takes_every_tick_and_each_symbol_goes_forward_in_time() {
    let mut host = MockHost::new();
    let mut latest = BTreeMap::new();
    for line in BUNDLED.lines() {
        host.deliver_json::<Kyle>("market.tick", line).unwrap();
        let tick: Tick = serde_json::from_str(line).unwrap();
        let before = latest.insert(tick.symbol, tick.at);
        assert!(before.is_none_or(|before| before < tick.at), "{line}");
    }
    assert_eq!(latest.len(), 3);
    assert!((300..=400).contains(&BUNDLED.lines().count()));
}
