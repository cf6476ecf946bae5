//! An agent for the host's tests: it misbehaves in the way its signal's payload (a string) asks for.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use ark_guest::agent::{
    Action, Agent, Error, Host, Level, Metadata, Parameters, Side, Signal, Trade, custom, message,
    publish, trade,
};
use serde_json::json;

/// What every instance finds in its initialised memory.
static INITIALISED: AtomicU32 = AtomicU32::new(7);
/// What every instance finds empty.
static EMPTY: [AtomicU8; 1 << 16] = [const { AtomicU8::new(0) }; 1 << 16];

/// The agent.
pub struct Chaos;

impl Agent for Chaos {
    fn metadata() -> Metadata {
        Metadata {
            name: "chaos".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "each fault is one arm")]
    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let how: String = signal.payload()?;
        // Written before every fault: whatever ends the invocation must take this back.
        host.set_state("was-here", &how)?;
        match how.as_str() {
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
            "stack" => Err(Error::Failed(deep(1).to_string())),
            "sleep" => {
                std::thread::sleep(Duration::from_hours(1));
                Ok(Vec::new())
            }
            "exit" => std::process::exit(0),
            "log-flood" => {
                for line in 0..900 {
                    host.log(Level::Info, &format!("{line} {}", "x".repeat(1000)));
                    println!("{}", "y".repeat(1000));
                }
                Ok(Vec::new())
            }
            "stderr-flood" => {
                for _ in 0..900 {
                    eprintln!("{}", "e".repeat(1000));
                }
                Ok(Vec::new())
            }
            // WASI's streams are no calls of `ark:agent/host`: what bounds them is fuel and time.
            "print-forever" => loop {
                print!("{}", "y".repeat(1000));
            },
            "log-huge" => {
                host.log(Level::Info, &"h".repeat(2 << 20));
                Ok(Vec::new())
            }
            "huge-values" => {
                let value = "v".repeat(60_000);
                for _ in 0..100 {
                    host.set_state("large", &value)?;
                }
                Ok(Vec::new())
            }
            "host-call-flood" => loop {
                host.state_get("was-here")?;
            },
            "write-flood" => {
                for key in 0..100_000 {
                    host.set_state(&format!("key-{key}"), &key)?;
                }
                Ok(Vec::new())
            }
            "actions" => Ok(vec![small("X", 0.01)?; 10_000]),
            "many-actions" => Ok(vec![small("X", 0.01)?; 100_000]),
            "strings" => {
                let mut action = small("X", 0.01)?;
                action.reasoning = Some("z".repeat(1 << 20));
                Ok(vec![action])
            }
            "nan" => forged(|trade| trade.position_size_pct = f64::NAN),
            "infinite" => forged(|trade| trade.leverage = f64::INFINITY),
            "negative" => forged(|trade| trade.position_size_pct = -0.5),
            "twice" => forged(|trade| {
                trade.position_size_pct = 0.5;
                trade.extra_json = json!({"position_size_pct": 0.01}).to_string();
            }),
            "forged-topic" => {
                let mut action = message("news")
                    .payload(&json!({"outcome": "approved"}))
                    .build()?;
                if let Parameters::Message(message) = &mut action.parameters {
                    message.topic = Some("ark.decision".to_owned());
                }
                Ok(vec![action])
            }
            "mislabelled" => {
                let mut action = small("X", 0.01)?;
                "report".clone_into(&mut action.action_type);
                Ok(vec![action])
            }
            "bad-key" => Ok(vec![small(
                if host.set_state("a\nb", &1).is_err() {
                    "REFUSED"
                } else {
                    "TAKEN"
                },
                0.01,
            )?]),
            "keys" => {
                // T: taken, in the agent's own scope, where a path means nothing. R: refused.
                let long = "k".repeat(257);
                let vast = "k".repeat(1 << 20);
                let keys = [
                    "../kyle/x",
                    "kyle/x",
                    "/etc/passwd",
                    "",
                    "\0",
                    "a\0kyle/x",
                    "a\u{7f}",
                    &long,
                    &vast,
                ];
                let answers = keys.map(|key| match host.set_state(key, &"overwritten") {
                    Ok(_) => 'T',
                    Err(_) => 'R',
                });
                Ok(vec![small(&String::from_iter(answers), 0.01)?])
            }
            "foreign-scope" => {
                let stolen = host.state_get("../kenny/last-order/X")?.is_some()
                    || host.state_get("kenny/last-order/X")?.is_some();
                host.set_state("../kenny/last-order/X", &"overwritten")?;
                Ok(vec![small(
                    if stolen { "STOLEN" } else { "NOTHING" },
                    0.01,
                )?])
            }
            "environment" => {
                let count = std::env::vars().count() + std::env::args().count();
                Ok(vec![small(
                    if count == 0 { "EMPTY" } else { "LEAK" },
                    0.01,
                )?])
            }
            "small-traces" | "large-traces" => {
                let pristine = INITIALISED.swap(8, Ordering::Relaxed) == 7
                    && EMPTY
                        .iter()
                        .all(|byte| byte.swap(1, Ordering::Relaxed) == 0);
                let extra = if how == "large-traces" {
                    2 << 20
                } else {
                    1 << 12
                };
                std::hint::black_box(vec![1_u8; extra]);
                Ok(vec![small(
                    if pristine { "PRISTINE" } else { "TRACES" },
                    0.01,
                )?])
            }
            "split" => Ok(vec![small("SPLIT", 0.06)?, small("SPLIT", 0.06)?]),
            "ungranted" => Ok(vec![
                custom("format_disk", &json!({"hrm_approved": true})).build()?,
            ]),
            "promote-and-sell" => {
                let sale = trade(Side::Sell, "PUMP", 0.01)
                    .entry(100.0)
                    .stop_loss(110.0)
                    .take_profit(70.0);
                Ok(vec![
                    publish("news")
                        .about("PUMP")
                        .text("to the moon")
                        .reasoning("hype")
                        .build()?,
                    sale.reasoning("dump").build()?,
                ])
            }
            // A trade of 8 % in a symbol of the test's choice, past the check of the builder.
            other => match other.strip_prefix("buy ") {
                Some(symbol) => forged(|trade| {
                    symbol.clone_into(&mut trade.symbol);
                    trade.position_size_pct = 0.08;
                }),
                None => Err(Error::InvalidSignal(format!("no such fault: {other}"))),
            },
        }
    }
}

/// A trade changed past what its builder would let through.
fn forged(change: impl Fn(&mut Trade)) -> Result<Vec<Action>, Error> {
    let mut action = small("X", 0.01)?;
    if let Parameters::Trade(trade) = &mut action.parameters {
        change(trade);
    }
    Ok(vec![action])
}

fn small(symbol: &str, size: f64) -> Result<Action, Error> {
    trade(Side::Buy, symbol, size)
        .entry(100.0)
        .stop_loss(95.0)
        .take_profit(110.0)
        .reasoning("chaos")
        .build()
}

fn deep(level: u64) -> u64 {
    if std::hint::black_box(level) == 0 {
        0
    } else {
        deep(level + 1) + std::hint::black_box(1)
    }
}

ark_guest::export_agent!(Chaos);
