//! One of many hostile agents: a copy whose name's last two digits are changed is another agent. It misbehaves in the way its signal's
//! payload (a string) asks for, and well when that is `behave`.

use std::time::Duration;

use ark_guest::agent::{Action, Agent, Error, Host, Level, Metadata, Side, Signal, trade};

/// In the component's bytes exactly once: a test that makes copies changes the last two characters.
const NAME: &str = "hostile-agent-that-misbehaves-as-its-signal-asks-00";

/// The agent.
pub struct Mob;

impl Agent for Mob {
    fn metadata() -> Metadata {
        Metadata {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let how: String = signal.payload()?;
        match how.as_str() {
            "behave" => {
                let count: u64 = host.state("count")?.unwrap_or(0);
                host.set_state("count", &(count + 1))?;
                Ok(Vec::new())
            }
            "loop" => loop {
                std::hint::black_box(());
            },
            "memory" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            "panic" => panic!("on purpose"),
            "fail" => Err(Error::Failed("on purpose".to_owned())),
            "stack" => Err(Error::Failed(deep(1).to_string())),
            "sleep" => {
                std::thread::sleep(Duration::from_hours(1));
                Ok(Vec::new())
            }
            "call-flood" => loop {
                host.state_get("count")?;
            },
            "write-flood" => {
                for key in 0..100_000 {
                    host.set_state(&format!("key-{key}"), &key)?;
                }
                Ok(Vec::new())
            }
            "log-flood-and-panic" => {
                for line in 0..900 {
                    host.log(Level::Info, &format!("{line} {}", "x".repeat(1000)));
                }
                panic!("after a flood");
            }
            "actions" => {
                let action = trade(Side::Buy, "X", 0.001)
                    .entry(100.0)
                    .stop_loss(95.0)
                    .take_profit(110.0)
                    .reasoning("a flood")
                    .build()?;
                Ok(vec![action; 100_000])
            }
            other => Err(Error::InvalidSignal(format!("no such fault: {other}"))),
        }
    }
}

fn deep(level: u64) -> u64 {
    if std::hint::black_box(level) == 0 {
        0
    } else {
        deep(level + 1) + std::hint::black_box(1)
    }
}

ark_guest::export_agent!(Mob);
