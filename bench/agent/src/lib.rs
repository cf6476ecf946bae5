//! The smallest agent that does something: one approved trade for every signal, in a symbol of that signal's own.
//!
//! The benchmark loads it under several names. A component's name must be its manifest's, so it writes the last two characters of
//! [`NAME`] over, in the component's bytes: the name is long, so that the compiler keeps it as bytes in one place.

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Side, Signal, trade};

/// The agent's name, by which the benchmark addresses it.
const NAME: &str = "bench-agent-that-proposes-one-trade-for-each-signal-00";

/// The agent.
pub struct Bench;

impl Agent for Bench {
    fn metadata() -> Metadata {
        Metadata {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(_: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        // 32 characters at most: the last twelve of a version 7 UUID are random.
        let symbol: String = signal
            .id
            .chars()
            .rev()
            .filter(char::is_ascii_alphanumeric)
            .take(12)
            .collect();
        let action = trade(Side::Buy, &symbol, 0.001)
            .entry(100.0)
            .stop_loss(95.0)
            .take_profit(110.0);
        Ok(vec![action.reasoning("a signal came").build()?])
    }
}

ark_guest::export_agent!(Bench);
