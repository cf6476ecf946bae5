//! A guest that proposes the action in a signal's payload. The payload has the request form of the HTTP API (`action_type`, `parameters`,
//! `reasoning`), so that a test can send the same action through both ways in.
//!
//! Built-in types become the typed parameters of their family, as the SDK's builders make them. Any other type is sent as JSON.

use ark_guest::agent::{
    Action, ActionBuilder, Agent, Error, FileVerb, Host, Message, Metadata, Side, Signal,
    close_position, custom, file_operation, message, publish, report, trade,
};
use serde_json::Value;

/// The agent.
pub struct Proposer;

impl Agent for Proposer {
    fn metadata() -> Metadata {
        Metadata {
            name: "proposer".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(_: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let request: Value = signal.payload()?;
        let action_type = request["action_type"]
            .as_str()
            .ok_or_else(|| Error::InvalidSignal("action_type: is missing".to_owned()))?;
        let mut action = build_action(action_type, &request["parameters"])?;
        action.reasoning = request["reasoning"].as_str().map(str::to_owned);
        Ok(vec![action])
    }
}

/// Builds the action of a type with these parameters.
fn build_action(action_type: &str, parameters: &Value) -> Result<Action, Error> {
    let text = |name: &str| parameters[name].as_str().unwrap_or_default();
    let number = |name: &str| parameters[name].as_f64();
    match action_type {
        "trade" => {
            let side = match text("side") {
                "sell" => Side::Sell,
                _ => Side::Buy,
            };
            let mut order = trade(
                side,
                text("symbol"),
                number("position_size_pct").unwrap_or(0.0),
            );
            if let Some(price) = number("entry_price") {
                order = order.entry(price);
            }
            if let Some(price) = number("stop_loss") {
                order = order.stop_loss(price);
            }
            if let Some(price) = number("take_profit") {
                order = order.take_profit(price);
            }
            if let Some(leverage) = number("leverage") {
                order = order.leverage(leverage);
            }
            if let Some(ratio) = number("risk_reward_ratio") {
                order = order.risk_reward(ratio);
            }
            order.declared_as("trade").build()
        }
        "close_position" => close_position(text("symbol"), number("position_size_pct")).build(),
        "message" => fill_message(message(text("topic")), parameters).build(),
        "publish" => fill_message(publish(text("topic")), parameters).build(),
        "report" => fill_message(report(text("topic")), parameters).build(),
        "file_operation" => {
            let operation = match text("operation") {
                "read" => FileVerb::Read,
                "write" => FileVerb::Write,
                "delete" => FileVerb::Delete,
                other => {
                    return Err(Error::InvalidSignal(format!(
                        "parameters.operation: {other:?} is none of read, write, delete"
                    )));
                }
            };
            file_operation(operation, text("path")).build()
        }
        other => custom(other, parameters).build(),
    }
}

fn fill_message(builder: ActionBuilder<Message>, parameters: &Value) -> ActionBuilder<Message> {
    let builder = match parameters["text"].as_str() {
        Some(text) => builder.text(text),
        None => builder,
    };
    match parameters["symbol"].as_str() {
        Some(symbol) => builder.about(symbol),
        None => builder,
    }
}

ark_guest::export_agent!(Proposer);

#[cfg(test)]
mod tests {
    use ark_guest::agent::MockHost;

    use serde_json::json;

    use super::*;

    #[test]
    fn each_family_is_proposed_as_the_request_says() {
        for (action_type, parameters) in [
            (
                "trade",
                json!({"symbol": "BTC-USD", "position_size_pct": 0.01, "side": "sell"}),
            ),
            ("close_position", json!({"symbol": "BTC-USD"})),
            ("publish", json!({"topic": "news", "text": "hold"})),
            (
                "file_operation",
                json!({"operation": "write", "path": "/srv/x"}),
            ),
            ("tune", json!({"note": "weekly"})),
        ] {
            let request = json!({"action_type": action_type, "parameters": parameters, "reasoning": "a test"});
            let actions = MockHost::new()
                .deliver::<Proposer>("proposer.propose", &request)
                .expect("an action");
            assert_eq!(actions.len(), 1);
            assert_eq!(actions[0].action_type, action_type);
            assert_eq!(actions[0].reasoning.as_deref(), Some("a test"));
        }
    }
}
