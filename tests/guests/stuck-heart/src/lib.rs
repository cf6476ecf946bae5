//! An agent for the host's tests: it handles every signal well (nothing to propose), but its heartbeat never ends.

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal};

/// The agent.
pub struct StuckHeart;

impl Agent for StuckHeart {
    fn metadata() -> Metadata {
        Metadata {
            name: "stuck-heart".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(_: &dyn Host, _: &Signal) -> Result<Vec<Action>, Error> {
        Ok(Vec::new())
    }

    fn heartbeat() -> Result<(), String> {
        loop {
            std::hint::black_box(());
        }
    }
}

ark_guest::export_agent!(StuckHeart);
