//! A guest that fails in each way a component can, by the topic. Nothing of what it wrote may be kept.

use std::collections::BTreeMap;

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal, message};

/// The agent.
pub struct Trap;

impl Agent for Trap {
    fn metadata() -> Metadata {
        Metadata {
            name: "trap".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        host.set_state("was-here", &true)?;
        host.remember("trace", "was here", &BTreeMap::<String, String>::new(), None)?;
        match signal.topic.as_str() {
            "trap.panic" => panic!("a panic of the guest's"),
            "trap.unreachable" => unreachable_instruction(),
            "trap.stack" => Err(Error::Failed(format!("{} frames", dig(std::hint::black_box(1))))),
            "trap.index" => Err(Error::Failed(format!("{}", [0_u8; 4][std::hint::black_box(9)]))),
            "trap.exit" => std::process::exit(0),
            "trap.error" => Err(Error::Failed("as asked".to_owned())),
            "trap.invalid" => Err(Error::InvalidSignal("as asked".to_owned())),
            // The way that ends well, to compare with.
            "trap.not" => Ok(Vec::new()),
            _ => Ok(vec![message("trap.unexpected").build()?]),
        }
    }
}

#[cfg(target_arch = "wasm32")]
fn unreachable_instruction() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn unreachable_instruction() -> ! {
    std::process::abort()
}

/// Uses up the stack; `black_box` keeps it from becoming a loop.
#[allow(unconditional_recursion, reason = "it is what this guest is for")]
fn dig(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    dig(depth + 1) + frame[63]
}

ark_guest::export_agent!(Trap);
