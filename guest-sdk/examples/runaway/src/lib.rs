//! An agent that never returns. It is here to be stopped: the host ends it when its fuel or its time is used up, whichever comes
//! first, commits nothing of it and goes on.

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal};

/// The agent.
pub struct Runaway;

impl Agent for Runaway {
    fn metadata() -> Metadata {
        Metadata {
            name: "runaway".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, _: &Signal) -> Result<Vec<Action>, Error> {
        // Would be kept if the invocation ended well; it does not, so nobody ever sees it.
        host.set_state("was-here", &true)?;
        let mut turns = 0u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}

ark_guest::export_agent!(Runaway);
