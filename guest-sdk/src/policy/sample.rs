//! Ordinary actions, to try a policy on in its tests. What a test is about it sets itself: `Action { reversible: false, ..buy("X", 0.01) }`.

use super::{Action, ClosePosition, Criticality, Custom, Message, Parameters, Side, Trade};

/// Buys, unleveraged, without prices.
#[must_use]
pub fn buy(symbol: &str, position_size_pct: f64) -> Action {
    trade("buy", symbol, Side::Buy, position_size_pct)
}

/// Sells, unleveraged, without prices.
#[must_use]
pub fn sell(symbol: &str, position_size_pct: f64) -> Action {
    trade("sell", symbol, Side::Sell, position_size_pct)
}

/// Any action of the trade family: `trade`, `order`, `buy`, `sell`, `open_position`.
#[must_use]
pub fn trade(action_type: &str, symbol: &str, side: Side, position_size_pct: f64) -> Action {
    action(
        action_type,
        Parameters::Trade(Trade {
            symbol: symbol.to_owned(),
            side,
            position_size_pct,
            leverage: 1.0,
            entry_price: None,
            stop_loss: None,
            take_profit: None,
            risk_reward_ratio: None,
            material_nonpublic: false,
            manipulative_intent: false,
            ahead_of_client_order: false,
            extra_json: "{}".to_owned(),
        }),
    )
}

/// Closes all that is held of a symbol.
#[must_use]
pub fn close_position(symbol: &str) -> Action {
    action(
        "close_position",
        Parameters::ClosePosition(ClosePosition {
            symbol: symbol.to_owned(),
            position_size_pct: None,
            extra_json: "{}".to_owned(),
        }),
    )
}

/// Says something on a topic.
#[must_use]
pub fn message(topic: &str, text: &str) -> Action {
    action(
        "message",
        Parameters::Message(Message {
            topic: Some(topic.to_owned()),
            to: None,
            symbol: None,
            text: Some(text.to_owned()),
            payload_json: None,
            extra_json: "{}".to_owned(),
        }),
    )
}

/// An action of a kind that ARK does not know; `parameters_json` is a JSON object.
#[must_use]
pub fn custom(kind: &str, parameters_json: &str) -> Action {
    action(
        kind,
        Parameters::Custom(Custom {
            kind: kind.to_owned(),
            parameters_json: parameters_json.to_owned(),
        }),
    )
}

fn action(action_type: &str, parameters: Parameters) -> Action {
    Action {
        action_type: action_type.to_owned(),
        parameters,
        reasoning: Some("a test".to_owned()),
        sources: Vec::new(),
        reversible: true,
        rollback_plan: None,
        external: None,
        criticality: Criticality::Normal,
    }
}
