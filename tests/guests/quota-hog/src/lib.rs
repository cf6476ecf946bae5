//! An agent that uses up what its signal names, within the limits of each invocation. A copy whose name's last two digits are changed is another
//! agent.
//!
//! The payload is a list: what to use, a number that differs from signal to signal, how many, and of which size.

use std::collections::BTreeMap;

use ark_guest::agent::{Action, Agent, Error, Host, Level, Metadata, Signal, buy, message};

/// In the component's bytes exactly once: a test that makes copies changes the last two characters.
const NAME: &str = "agent-that-uses-up-the-quota-its-signal-names-00";

/// The agent.
pub struct QuotaHog;

impl Agent for QuotaHog {
    fn metadata() -> Metadata {
        Metadata {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let (what, number, count, size): (String, u64, u64, usize) = signal.payload()?;
        let filler = "x".repeat(size);
        match what.as_str() {
            "state" => {
                for index in 0..count {
                    host.set_state(&format!("key-{number}-{index}"), &filler)?;
                }
            }
            "rewrite" => {
                for index in 0..count {
                    host.set_state(&format!("key-{index}"), &format!("{number} {filler}"))?;
                }
            }
            "delete" => {
                for index in 0..count {
                    host.state_delete(&format!("key-{number}-{index}"), None)?;
                }
            }
            "memory" => {
                for index in 0..count {
                    let content = format!("{number} {index} {filler}");
                    host.remember("hog", &content, &BTreeMap::<&str, u64>::new(), None)?;
                }
            }
            "log" => {
                for index in 0..count {
                    host.log(Level::Info, &format!("{number} {index} {filler}"));
                }
            }
            "trade" => {
                return (0..count)
                    .map(|index| {
                        buy(&format!("HOG{number}X{index}"), 0.000_001)
                            .entry(100.0)
                            .stop_loss(95.0)
                            .take_profit(110.0)
                            .reasoning(&filler)
                            .build()
                    })
                    .collect();
            }
            // To nobody, or to itself: then each message has it do the same again.
            "message" | "fan" => {
                let topic = if what == "fan" {
                    signal.topic.as_str()
                } else {
                    "nobody.listens"
                };
                return (0..count)
                    .map(|index| {
                        let next = number.wrapping_mul(count).wrapping_add(index);
                        message(topic)
                            .payload(&(&what, next, count, size))
                            .reasoning("more of the same")
                            .build()
                    })
                    .collect();
            }
            other => return Err(Error::InvalidSignal(format!("there is no {other} to use"))),
        }
        Ok(Vec::new())
    }
}

ark_guest::export_agent!(QuotaHog);

#[cfg(test)]
mod tests {
    use ark_guest::agent::MockHost;

    use super::*;

    #[test]
    fn it_uses_what_it_is_told_to() {
        let mut host = MockHost::new();
        let state = ("state", 7, 3, 10);
        assert_eq!(host.deliver::<QuotaHog>("hog.go", &state).unwrap(), []);
        let messages = host
            .deliver::<QuotaHog>("hog.go", &("fan", 1, 5, 0))
            .unwrap();
        assert_eq!(messages.len(), 5);
        assert!(
            host.deliver::<QuotaHog>("hog.go", &("gold", 1, 1, 1))
                .is_err()
        );
    }
}
