//! A guest that hands over too much, in the way the payload says:
//!
//! ```json
//! {"actions": 100000, "text_bytes": 10, "log_lines": 0, "log_bytes": 0, "stdout_bytes": 0, "writes": 0, "value_bytes": 0, "calls": 0}
//! ```
//!
//! All are 0 unless given. The actions are messages on the topics `flood.0`, `flood.1` and so on, all different.

use ark_guest::agent::{Action, Agent, Error, Host, Level, Metadata, Signal, message};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Flooding {
    /// How many actions.
    actions: usize,
    /// How long the text of each is.
    text_bytes: usize,
    /// How many log lines.
    log_lines: usize,
    /// How long each is.
    log_bytes: usize,
    /// How much is printed.
    stdout_bytes: usize,
    /// How many keys are written.
    writes: usize,
    /// How long the value of each is.
    value_bytes: usize,
    /// How many reads of the state.
    calls: usize,
}

/// The agent.
pub struct Flood;

impl Agent for Flood {
    fn metadata() -> Metadata {
        Metadata {
            name: "flood".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let flooding: Flooding = signal.payload()?;
        let line = "l".repeat(flooding.log_bytes);
        for _ in 0..flooding.log_lines {
            host.log(Level::Error, &line);
        }
        for _ in 0..flooding.stdout_bytes / 64 {
            println!("{:-<63}", "stdout");
        }
        for _ in 0..flooding.calls {
            host.state_get("k")?;
        }
        let value = format!("{:?}", "v".repeat(flooding.value_bytes));
        for n in 0..flooding.writes {
            host.state_set(&format!("key-{n}"), &value, None)?;
        }
        // Not by the builder, which would refuse what is too long.
        let mut action = message("flood.0").text("").build()?;
        let mut actions = Vec::with_capacity(flooding.actions);
        for n in 0..flooding.actions {
            if let ark_guest::agent::Parameters::Message(message) = &mut action.parameters {
                message.topic = Some(format!("flood.{n}"));
                message.text = Some("t".repeat(flooding.text_bytes));
            }
            actions.push(action.clone());
        }
        Ok(actions)
    }
}

ark_guest::export_agent!(Flood);

#[cfg(test)]
mod tests {
    use ark_guest::agent::MockHost;

    use super::*;

    #[test]
    fn it_floods_as_asked() {
        let mut host = MockHost::new();
        let actions = host
            .deliver_json::<Flood>(
                "flood.go",
                r#"{"actions": 3, "text_bytes": 10, "log_lines": 2, "writes": 4, "value_bytes": 5}"#,
            )
            .unwrap();
        assert_eq!((actions.len(), host.log_lines().len()), (3, 2));
        assert_eq!(host.state_of::<String>("key-3").as_deref(), Some("vvvvv"));
    }
}
