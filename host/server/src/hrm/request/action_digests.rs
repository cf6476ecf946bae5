//! What makes two actions the same: exactly, for an approval, and for rule 22, which counts how often an agent proposes one action.
//!
//! The repetition key for rule 22 is taken before redaction, so that two texts that redaction makes equal stay two. It is keyed with a random key of this
//! process and kept in memory only: no digest of a secret is stored. After a restart, actions of the last minute are counted by what was recorded of
//! them, so those that redaction changed count as different from what is proposed then.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use ark_model::action::{Action, Family};
use ark_model::ids::{Digest, Name};
use ark_model::instrument::InstrumentAliases;
use ark_redaction::fold_character;
use serde_json::Value;

/// Digits of a number that tell actions apart. A difference of less than one part in a million is a disguise, not another order. A proposer who
/// picks a number at the edge between two such steps gets two keys, not more.
const SIGNIFICANT_DIGITS: usize = 6;

/// The key of this process, from the operating system's random numbers.
static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let mut key = [0; 32];
    for part in key.chunks_exact_mut(8) {
        part.copy_from_slice(&RandomState::new().hash_one(0_u8).to_le_bytes());
    }
    key
});

/// Returns the digest to which an approval is bound: of the agent's name and the redacted action as canonical JSON, exactly.
pub fn action_digest(agent: &Name, action: &Action) -> Digest {
    // Serialising finite numbers and strings cannot fail. An empty text would bind to no action that is ever read again.
    let canonical = serde_json::to_vec(action).unwrap_or_default();
    Digest::hash_parts([agent.as_str().as_bytes(), b"\0", &canonical])
}

/// Returns the repetition key by which rule 22 counts repetitions of an action by one agent.
///
/// It is of what would be done: the family and the parameters. Reasoning, sources and the proposer's other statements may vary. Numbers count with
/// [`SIGNIFICANT_DIGITS`], whole ones exactly; instruments by their key; in texts, white space is one space, and invisible characters and styled
/// forms of letters count as nothing and as the letters.
pub fn repetition_key(agent: &Name, action: &Action, aliases: &InstrumentAliases) -> Digest {
    let mut text = String::with_capacity(256);
    write_parameters(&mut text, action, aliases);
    Digest::hash_parts([
        KEY.as_slice(),
        agent.as_str().as_bytes(),
        b"\0",
        text.as_bytes(),
    ])
}

fn write_parameters(text: &mut String, action: &Action, aliases: &InstrumentAliases) {
    let parameters = &action.parameters;
    // Writing to a text cannot fail.
    let _ = write!(text, "{:?}", parameters.family());
    if parameters.family() == Family::Message {
        // A message without a topic is published on that of its type.
        write_text(text, &action.action_type);
    }
    if let Some(symbol) = action.symbol() {
        write_text(text, aliases.find_key(symbol).as_str());
    }
    let Ok(Value::Object(members)) = serde_json::to_value(parameters) else {
        return;
    };
    for (name, value) in &members {
        match (name.as_str(), value) {
            ("symbol", _) => {}
            // Two words for one operation.
            ("operation", Value::String(verb)) if verb == "remove" => {
                text.push_str(name);
                write_text(text, "delete");
            }
            // JSON in a text, which is the same in every spelling of its numbers.
            ("extra_json" | "payload_json" | "parameters_json", Value::String(json)) => {
                text.push_str(name);
                match serde_json::from_str(json) {
                    Ok(value) => write_value(text, &value),
                    Err(_) => write_text(text, json),
                }
            }
            _ => {
                text.push_str(name);
                write_value(text, value);
            }
        }
    }
}

/// Writes a value so that equal ones are written alike, and others differently: texts have their length before them.
fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => write_text(text, value),
        Value::Number(number) => {
            let exact = number.as_i64().is_some() || number.as_u64().is_some();
            let rounded = number.as_f64().filter(|_| !exact);
            // Writing to a text cannot fail.
            let _ = match rounded {
                // `5.0` and `5`
                Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
                    write!(text, "#{value:.0};")
                }
                Some(value) => write_rounded(text, value),
                None => write!(text, "#{number};"),
            };
        }
        Value::Array(items) => {
            let _ = write!(text, "[{}", items.len());
            for item in items {
                write_value(text, item);
            }
        }
        Value::Object(members) => {
            let _ = write!(text, "{{{}", members.len());
            for (name, value) in members {
                write_text(text, name);
                write_value(text, value);
            }
        }
        Value::Null | Value::Bool(_) => {
            let _ = write!(text, "{value};");
        }
    }
}

/// Writes a number with [`SIGNIFICANT_DIGITS`].
fn write_rounded(text: &mut String, value: f64) -> std::fmt::Result {
    let begin = text.len();
    // Few numbers have more digits than count. To find the shortest text of one takes a small part of the time that rounding takes.
    write!(text, "#{value:e};")?;
    let written = text.get(begin..).unwrap_or_default();
    let digits = written.split('e').next().unwrap_or_default();
    if digits.bytes().filter(u8::is_ascii_digit).count() > SIGNIFICANT_DIGITS {
        text.truncate(begin);
        // Without zeros at the end, as the shortest text is.
        let rounded = format!("{value:.*e}", SIGNIFICANT_DIGITS - 1);
        let rounded = rounded.parse().unwrap_or(value);
        write!(text, "#{rounded:e};")?;
    }
    Ok(())
}

fn write_text(text: &mut String, value: &str) {
    let mut folded = String::with_capacity(value.len());
    for character in value.chars().filter_map(fold_character) {
        if !character.is_whitespace() {
            folded.push(character);
        } else if !folded.is_empty() && !folded.ends_with(' ') {
            folded.push(' ');
        }
    }
    let folded = folded.trim_end();
    let _ = write!(text, "\"{}:{folded}", folded.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key_of(action_type: &str, parameters: &Value, reasoning: &str) -> Digest {
        let action =
            json!({"action_type": action_type, "parameters": parameters, "reasoning": reasoning});
        let action: Action = serde_json::from_value(action).expect("an action");
        repetition_key(
            &"kyle".parse().expect("a name"),
            &action,
            &InstrumentAliases::new([("XBT", "BTC")]).expect("aliases"),
        )
    }

    fn digest_trade(symbol: &str, size: f64, extra: &str) -> Value {
        json!({"symbol": symbol, "side": "buy", "position_size_pct": size, "leverage": 1.0, "extra_json": extra})
    }

    #[test]
    fn disguised_repetitions_have_the_same_digest() {
        let plain = key_of(
            "trade",
            &digest_trade("BTC-USD", 0.05, r#"{"note":"add one"}"#),
            "a",
        );
        for (action_type, parameters) in [
            (
                "trade",
                digest_trade("BTC-USD", 0.05 + 1e-12, r#"{"note":"add one"}"#),
            ),
            (
                "buy",
                digest_trade("BTC-USD", 0.05, r#"{"note":"add  one "}"#),
            ),
            (
                "order",
                digest_trade("BTC/USD", 0.05, "{\"note\":\"add\u{200b} one\"}"),
            ),
            (
                "trade",
                digest_trade("XBTUSD", 0.05, r#"{"note":"add one"}"#),
            ),
            (
                "open_position",
                digest_trade("BTC-USD", 0.05, r#"{"note":"ａｄｄ one"}"#),
            ),
        ] {
            assert_eq!(
                key_of(action_type, &parameters, "another reason"),
                plain,
                "{parameters}"
            );
        }
        let file = |verb: &str| json!({"operation": verb, "path": "/srv/a"});
        assert_eq!(
            key_of("delete", &file("delete"), ""),
            key_of("remove", &file("remove"), "")
        );
    }

    #[test]
    fn numbers_have_six_digits() {
        for (value, written) in [
            (0.05, "#5e-2;"),
            (0.05 + 1e-12, "#5e-2;"),
            (0.123_456, "#1.23456e-1;"),
            (0.123_456_4, "#1.23456e-1;"),
            (0.123_456_6, "#1.23457e-1;"),
            (-0.999_999_7, "#-1e0;"),
            (1234.5, "#1.2345e3;"),
            (5e-324, "#5e-324;"),
            (1.797_693_134_862_315_7e308, "#1.79769e308;"),
        ] {
            let mut text = String::from("before");
            write_value(&mut text, &json!(value));
            assert_eq!(text, format!("before{written}"), "{value}");
        }
    }

    #[test]
    fn different_actions_have_different_digests() {
        let plain = key_of("trade", &digest_trade("BTC-USD", 0.05, "{}"), "");
        let mut sell = digest_trade("BTC-USD", 0.05, "{}");
        sell["side"] = json!("sell");
        for parameters in [
            digest_trade("BTC-USD", 0.0501, "{}"),
            digest_trade("BTC-USD", 0.050_001, "{}"),
            digest_trade("ETH-USD", 0.05, "{}"),
            digest_trade(
                "BTC-USD",
                0.05,
                r#"{"client_order_id":2510789768709120005}"#,
            ),
            digest_trade(
                "BTC-USD",
                0.05,
                r#"{"client_order_id":2510789768709120006}"#,
            ),
            sell,
        ] {
            assert_ne!(key_of("trade", &parameters, ""), plain, "{parameters}");
        }
        let ids = |id: &str| {
            key_of(
                "trade",
                &digest_trade("BTC-USD", 0.05, &format!("{{\"client_order_id\":{id}}}")),
                "",
            )
        };
        assert_ne!(ids("2510789768709120005"), ids("2510789768709120006"));
        let text = |text: &str| key_of("message", &json!({"text": text}), "");
        assert_ne!(text("to alice@example.com"), text("to bob@example.com"));
        assert_ne!(text("Alpha"), text("alpha"));
    }

    #[test]
    fn an_approval_is_bound_to_every_character() {
        let digest = |reasoning: &str| {
            let action = json!({"action_type": "trade", "parameters": digest_trade("BTC-USD", 0.05, "{}"), "reasoning": reasoning});
            let action: Action = serde_json::from_value(action).expect("an action");
            action_digest(&"kyle".parse().expect("a name"), &action)
        };
        assert_ne!(digest("a"), digest("a "));
        assert_eq!(digest("a"), digest("a"));
    }
}
