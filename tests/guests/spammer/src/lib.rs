//! A guest that repeats itself. On `spam.go` it proposes the identical trade each time, which rule 22 ends after ten in a minute. On
//! `spam.loop` it sends a message on `spam.loop`, and so wakes itself for ever, until the causal depth passes 16 (rule 22 again).

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal, buy, message};

/// The agent.
pub struct Spammer;

impl Agent for Spammer {
    fn metadata() -> Metadata {
        Metadata {
            name: "spammer".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(_: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let action = if signal.topic == "spam.loop" {
            // Another text each time: it is the depth that must end this, not the repetition.
            let note = message("spam.loop").text(format!("turn {}", signal.causal_depth));
            note.reasoning("once more").build()?
        } else {
            let order = buy("SPAM-USD", 0.001)
                .entry(100.0)
                .stop_loss(95.0)
                .take_profit(110.0);
            order.reasoning("again").build()?
        };
        Ok(vec![action])
    }
}

ark_guest::export_agent!(Spammer);

#[cfg(test)]
mod tests {
    use ark_guest::agent::MockHost;

    use super::*;

    #[test]
    fn it_says_the_same_whatever_it_is_told() {
        let mut host = MockHost::new();
        let first = host.deliver::<Spammer>("spam.go", &1).unwrap();
        assert_eq!(first, host.deliver::<Spammer>("spam.go", &2).unwrap());
    }
}
