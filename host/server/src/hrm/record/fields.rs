//! The action and the facts in the body of a decision, as `serde_json` writes them.
//!
//! Together they have some thirty fields, and derived code takes some 40 ns for each. Only trades are written by hand: other actions are rare where
//! there are many.

use ark_json::{push_flag, push_integer, push_number, push_string};
use ark_model::action::{Action, Family, Parameters, Trade};
use ark_model::facts::Facts;
use serde::Serialize;

/// Appends an action in its canonical form.
///
/// # Errors
/// A part of it cannot be written as JSON.
pub(super) fn push_action(out: &mut Vec<u8>, action: &Action) -> Result<(), serde_json::Error> {
    let Action {
        action_type,
        parameters: Parameters::Trade(trade),
        reasoning,
        sources,
        reversible,
        rollback_plan,
        external,
        criticality,
    } = action
    else {
        return serde_json::to_writer(out, action);
    };
    out.extend_from_slice(b"{\"action_type\":");
    push_string(out, action_type);
    if Family::from_action_type(action_type) != Family::Trade {
        out.extend_from_slice(b",\"family\":\"trade\"");
    }
    out.extend_from_slice(b",\"parameters\":");
    push_trade(out, trade);
    push_given_text(out, b",\"reasoning\":", reasoning.as_deref());
    push_list(out, b",\"sources\":", sources)?;
    push_named_flag(out, b",\"reversible\":", *reversible);
    push_given_text(out, b",\"rollback_plan\":", rollback_plan.as_deref());
    if let Some(external) = external {
        push_named_flag(out, b",\"external\":", *external);
    }
    push_value(out, b",\"criticality\":", criticality)?;
    out.push(b'}');
    Ok(())
}

fn push_trade(out: &mut Vec<u8>, trade: &Trade) {
    let Trade {
        symbol,
        side,
        position_size_pct,
        leverage,
        entry_price,
        stop_loss,
        take_profit,
        risk_reward_ratio,
        material_nonpublic,
        manipulative_intent,
        ahead_of_client_order,
        extra_json,
    } = trade;
    out.extend_from_slice(b"{\"symbol\":");
    push_string(out, symbol);
    push_given_text(out, b",\"side\":", Some(side.as_str()));
    push_given_number(out, b",\"position_size_pct\":", Some(*position_size_pct));
    push_given_number(out, b",\"leverage\":", Some(*leverage));
    push_given_number(out, b",\"entry_price\":", *entry_price);
    push_given_number(out, b",\"stop_loss\":", *stop_loss);
    push_given_number(out, b",\"take_profit\":", *take_profit);
    push_given_number(out, b",\"risk_reward_ratio\":", *risk_reward_ratio);
    push_named_flag(out, b",\"material_nonpublic\":", *material_nonpublic);
    push_named_flag(out, b",\"manipulative_intent\":", *manipulative_intent);
    push_named_flag(out, b",\"ahead_of_client_order\":", *ahead_of_client_order);
    let extra_json = Some(extra_json.as_str()).filter(|json| *json != "{}");
    push_given_text(out, b",\"extra_json\":", extra_json);
    out.push(b'}');
}

/// Appends facts.
///
/// # Errors
/// A part of them cannot be written as JSON.
pub(super) fn push_facts(out: &mut Vec<u8>, facts: &Facts) -> Result<(), serde_json::Error> {
    let Facts {
        agent,
        now_ms,
        approval,
        halt_active,
        audit_writable,
        pin_holds,
        watchdog_beating,
        symbol_restricted,
        client_order_pending,
        opposite_trade_age,
        promotion_age,
        symbol_exposure,
        daily_loss,
        open_positions,
        personal_data,
        credentials,
        consent,
        causal_depth,
        identical_actions,
        unvalidated_sources,
        veto,
    } = facts;
    out.extend_from_slice(b"{\"agent\":");
    push_string(out, agent);
    push_named_integer(out, b",\"now_ms\":", *now_ms);
    push_value(out, b",\"approval\":", approval)?;
    push_named_flag(out, b",\"halt_active\":", *halt_active);
    push_named_flag(out, b",\"audit_writable\":", *audit_writable);
    push_named_flag(out, b",\"pin_holds\":", *pin_holds);
    push_named_flag(out, b",\"watchdog_beating\":", *watchdog_beating);
    push_named_flag(out, b",\"symbol_restricted\":", *symbol_restricted);
    push_named_flag(out, b",\"client_order_pending\":", *client_order_pending);
    push_given_number(out, b",\"opposite_trade_age\":", *opposite_trade_age);
    push_given_number(out, b",\"promotion_age\":", *promotion_age);
    push_given_number(out, b",\"symbol_exposure\":", Some(*symbol_exposure));
    push_given_number(out, b",\"daily_loss\":", Some(*daily_loss));
    push_named_integer(out, b",\"open_positions\":", (*open_positions).into());
    push_list(out, b",\"personal_data\":", personal_data)?;
    push_list(out, b",\"credentials\":", credentials)?;
    push_value(out, b",\"consent\":", consent)?;
    push_named_integer(out, b",\"causal_depth\":", (*causal_depth).into());
    push_named_integer(out, b",\"identical_actions\":", (*identical_actions).into());
    push_list(out, b",\"unvalidated_sources\":", unvalidated_sources)?;
    push_given_text(out, b",\"veto\":", veto.as_deref());
    out.push(b'}');
    Ok(())
}

// In the functions below, `name` is the name of a field with the signs around it.

fn push_named_flag(out: &mut Vec<u8>, name: &[u8], flag: bool) {
    out.extend_from_slice(name);
    push_flag(out, flag);
}

fn push_named_integer(out: &mut Vec<u8>, name: &[u8], number: u64) {
    out.extend_from_slice(name);
    push_integer(out, number);
}

/// Appends a number, if there is one.
fn push_given_number(out: &mut Vec<u8>, name: &[u8], number: Option<f64>) {
    if let Some(number) = number {
        out.extend_from_slice(name);
        push_number(out, number);
    }
}

/// Appends a text, if there is one.
fn push_given_text(out: &mut Vec<u8>, name: &[u8], text: Option<&str>) {
    if let Some(text) = text {
        out.extend_from_slice(name);
        push_string(out, text);
    }
}

/// Appends a list, if it is not empty.
fn push_list(out: &mut Vec<u8>, name: &[u8], texts: &[String]) -> Result<(), serde_json::Error> {
    if texts.is_empty() {
        Ok(())
    } else {
        push_value(out, name, texts)
    }
}

/// Appends any value.
pub(super) fn push_value<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    name: &[u8],
    value: &T,
) -> Result<(), serde_json::Error> {
    out.extend_from_slice(name);
    serde_json::to_writer(out, value)
}

#[cfg(test)]
mod tests {
    use ark_model::action::{Criticality, Side};
    use ark_model::facts::{ApprovalFact, Consent};
    use ark_model::form::parse_action;
    use serde_json::{Value, json};

    use super::*;

    fn make_action(action_type: &str, parameters: &Value) -> Action {
        let document = json!({"agent": "a", "action_type": action_type, "parameters": parameters});
        parse_action(document).unwrap().action
    }

    fn make_trade() -> Trade {
        Trade {
            symbol: "B\"\u{20bf}\n".to_owned(),
            side: Side::Sell,
            position_size_pct: 0.07,
            leverage: 1.0,
            entry_price: Some(100.0),
            stop_loss: Some(-95.5),
            take_profit: Some(f64::INFINITY),
            risk_reward_ratio: Some(0.1 + 0.2),
            material_nonpublic: true,
            manipulative_intent: false,
            ahead_of_client_order: true,
            extra_json: r#"{"venue":"x"}"#.to_owned(),
        }
    }

    #[test]
    fn an_action_is_as_serde_json_writes_it() {
        let plain = make_action("buy", &json!({"symbol": "X", "position_size_pct": 0.001}));
        let full = Action {
            action_type: "sell".to_owned(),
            parameters: Parameters::Trade(make_trade()),
            reasoning: Some("it \\ \"falls\"".to_owned()),
            sources: vec!["a".to_owned(), "\u{1}".to_owned()],
            reversible: false,
            rollback_plan: Some("buy".to_owned()),
            external: Some(false),
            criticality: Criticality::Critical,
        };
        let declared = Action {
            action_type: "place_\"order".to_owned(),
            ..plain.clone()
        };
        let close = make_action("close_position", &json!({"symbol": "X"}));
        let message = make_action("publish", &json!({"topic": "t", "text": "\"t\""}));
        for action in [plain, full, declared, close, message] {
            let mut out = b"before".to_vec();
            push_action(&mut out, &action).unwrap();
            let expected = format!("before{}", serde_json::to_string(&action).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn facts_are_as_serde_json_writes_them() {
        let full = Facts {
            agent: "a\"b".to_owned(),
            now_ms: u64::MAX,
            approval: ApprovalFact::Human,
            halt_active: true,
            audit_writable: false,
            pin_holds: false,
            watchdog_beating: false,
            symbol_restricted: true,
            client_order_pending: true,
            opposite_trade_age: Some(0.25),
            promotion_age: Some(9_000.0),
            symbol_exposure: 0.1 + 0.2,
            daily_loss: f64::NAN,
            open_positions: u32::MAX,
            personal_data: vec!["email".to_owned()],
            credentials: vec!["aws-access-key".to_owned(), "\\".to_owned()],
            consent: Consent::Refused,
            causal_depth: 3,
            identical_actions: 10,
            unvalidated_sources: vec!["s\t".to_owned()],
            veto: Some("\u{7f}no\n".to_owned()),
        };
        for facts in [Facts::default(), full] {
            let mut out = b"before".to_vec();
            push_facts(&mut out, &facts).unwrap();
            let expected = format!("before{}", serde_json::to_string(&facts).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
