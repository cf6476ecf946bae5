//! A guest that takes memory until there is none: the host ends it at its limit, and no other agent notices.

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal};

/// One allocation, in bytes.
const PIECE: usize = 1024 * 1024;

/// The agent.
pub struct MemoryBomb;

impl Agent for MemoryBomb {
    fn metadata() -> Metadata {
        Metadata {
            name: "memory-bomb".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, _: &Signal) -> Result<Vec<Action>, Error> {
        // Would be kept if the invocation ended well.
        host.set_state("was-here", &true)?;
        let mut held = Vec::new();
        loop {
            held.push(std::hint::black_box(vec![0xA5_u8; PIECE]));
        }
    }
}

ark_guest::export_agent!(MemoryBomb);
