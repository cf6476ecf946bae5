//! What makes two actions the same: exactly, for an approval, and for rule 22, which counts how often an agent proposes one action.
//!
//! The repetition key for rule 22 is taken before redaction, so that two texts that redaction makes equal stay two. It is keyed with a random key of this
//! process and kept in memory only: no digest of a secret is stored. After a restart, actions of the last minute are counted by what was recorded of
//! them, so those that redaction changed count as different from what is proposed then.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use ark_model::action::{
    Action, ClosePosition, Custom, DataHandling, ExecuteCode, FileOperation, FileVerb, Message,
    Parameters, SystemChange, Trade,
};
use ark_model::ids::{Digest, Name};
use ark_model::instrument::InstrumentKey;
use ark_redaction::fold_character;
use serde_json::{Number, Value};

/// Digits of a number that tell actions apart. A difference of less than one part in a million is a disguise, not another order. A proposer who
/// picks a number at the edge between two such steps gets two keys, not more.
const SIGNIFICANT_DIGITS: usize = 6;

/// Below this, whole numbers count exactly, however they are written; from here on, only those that are written as integers.
const EXACT_BELOW: f64 = 1e15;

/// The powers of ten that doubles hold exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

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

/// Returns the repetition key by which rule 22 counts repetitions of an action by one agent. `instrument`: the one that the action's symbol names.
///
/// It is of what would be done: the family and the parameters. Reasoning, sources and the proposer's other statements may vary. Numbers count with
/// [`SIGNIFICANT_DIGITS`], whole ones exactly; instruments by their key; in texts, white space is one space, and invisible characters and styled
/// forms of letters count as nothing and as the letters.
pub fn repetition_key(agent: &Name, action: &Action, instrument: Option<&InstrumentKey>) -> Digest {
    let mut out = Vec::with_capacity(256);
    write_action(&mut out, action, instrument);
    Digest::hash_parts([KEY.as_slice(), agent.as_str().as_bytes(), b"\0", &out])
}

// Every value is written so that its end can be told, and every family writes all its fields in a fixed order: two actions are written alike only if
// they count as equal. Structs are taken apart field by field, so that a new field does not compile until it is written here, too.

fn write_action(out: &mut Vec<u8>, action: &Action, instrument: Option<&InstrumentKey>) {
    // In place of the symbol, the instrument that it names is written.
    let instrument = instrument.map(InstrumentKey::as_str);
    out.push(action.parameters.family() as u8);
    match &action.parameters {
        Parameters::Trade(trade) => write_trade(out, trade, instrument.unwrap_or_default()),
        Parameters::ClosePosition(ClosePosition {
            symbol: _,
            position_size_pct,
            extra_json,
        }) => {
            write_text(out, instrument.unwrap_or_default());
            write_option(out, *position_size_pct, write_double);
            write_json(out, extra_json);
        }
        Parameters::Data(data) => write_data(out, data),
        Parameters::File(FileOperation {
            operation,
            path,
            extra_json,
        }) => {
            // Two words for one operation.
            let operation = match operation {
                FileVerb::Remove => FileVerb::Delete,
                operation => *operation,
            };
            out.push(operation as u8);
            write_text(out, path);
            write_json(out, extra_json);
        }
        Parameters::Code(ExecuteCode {
            language,
            code,
            extra_json,
        }) => {
            write_option(out, language.as_deref(), write_text);
            write_text(out, code);
            write_json(out, extra_json);
        }
        Parameters::Message(message) => {
            // A message without a topic is published on that of its type.
            write_text(out, &action.action_type);
            write_message(out, message, instrument);
        }
        Parameters::System(SystemChange {
            change,
            parameters_json,
        }) => {
            out.push(*change as u8);
            write_json(out, parameters_json);
        }
        Parameters::Custom(Custom {
            kind,
            parameters_json,
        }) => {
            write_text(out, kind);
            write_json(out, parameters_json);
        }
    }
}

fn write_trade(out: &mut Vec<u8>, trade: &Trade, instrument: &str) {
    let Trade {
        symbol: _,
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
    write_text(out, instrument);
    out.push(*side as u8);
    write_double(out, *position_size_pct);
    write_double(out, *leverage);
    for number in [entry_price, stop_loss, take_profit, risk_reward_ratio] {
        write_option(out, *number, write_double);
    }
    for flag in [
        material_nonpublic,
        manipulative_intent,
        ahead_of_client_order,
    ] {
        write_flag(out, *flag);
    }
    write_json(out, extra_json);
}

fn write_data(out: &mut Vec<u8>, data: &DataHandling) {
    let DataHandling {
        operation,
        subject,
        contains_personal_data,
        data_sensitivity,
        encryption,
        anonymized,
        destination,
        purpose,
        user_consent,
        extra_json,
    } = data;
    out.push(*operation as u8);
    for text in [subject, destination, purpose] {
        write_option(out, text.as_deref(), write_text);
    }
    write_option(out, *data_sensitivity, |out, sensitivity| {
        out.push(sensitivity as u8);
    });
    for flag in [contains_personal_data, encryption, anonymized] {
        write_flag(out, *flag);
    }
    write_option(out, *user_consent, write_flag);
    write_json(out, extra_json);
}

fn write_message(out: &mut Vec<u8>, message: &Message, instrument: Option<&str>) {
    let Message {
        topic,
        to,
        symbol: _,
        text,
        payload_json,
        extra_json,
    } = message;
    for text in [topic, to, text] {
        write_option(out, text.as_deref(), write_text);
    }
    write_option(out, instrument, write_text);
    write_option(out, payload_json.as_deref(), write_json);
    write_json(out, extra_json);
}

fn write_option<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    write_flag(out, value.is_some());
    if let Some(value) = value {
        write(out, value);
    }
}

fn write_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

/// Writes JSON in a text, which is the same in every spelling of its numbers.
fn write_json(out: &mut Vec<u8>, json: &str) {
    if json == "{}" {
        out.push(b'{');
        write_length(out, 0);
        return;
    }
    match serde_json::from_str(json) {
        Ok(value) => write_value(out, &value),
        Err(_) => write_text(out, json),
    }
}

/// Writes a value so that equal ones are written alike, and others differently.
fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Number(number) => write_number(out, number),
        Value::Array(items) => {
            out.push(b'[');
            write_length(out, items.len());
            for item in items {
                write_value(out, item);
            }
        }
        Value::Object(members) => {
            out.push(b'{');
            write_length(out, members.len());
            for (name, value) in members {
                write_text(out, name);
                write_value(out, value);
            }
        }
        Value::Null => out.push(b'n'),
        Value::Bool(true) => out.push(b't'),
        Value::Bool(false) => out.push(b'f'),
    }
}

fn write_number(out: &mut Vec<u8>, number: &Number) {
    let double = number.as_f64().unwrap_or(f64::NAN);
    let exact = match (number.as_i64(), number.as_u64()) {
        // `5.0` and `5`
        _ if double.abs() < EXACT_BELOW => None,
        (Some(integer), _) => Some((b'i', integer.to_le_bytes())),
        (None, Some(integer)) => Some((b'u', integer.to_le_bytes())),
        (None, None) => None,
    };
    if let Some((kind, bytes)) = exact {
        out.push(kind);
        out.extend_from_slice(&bytes);
    } else {
        write_double(out, double);
    }
}

/// Writes a number that is a double. A whole one is never that to which another one is rounded.
fn write_double(out: &mut Vec<u8>, value: f64) {
    let (kind, counted) = if value.fract() == 0.0 && value.abs() < EXACT_BELOW {
        (b'#', value)
    } else {
        (b'~', round_number(value))
    };
    out.push(kind);
    out.extend_from_slice(&counted.to_bits().to_le_bytes());
}

/// Returns the double nearest to a number's first [`SIGNIFICANT_DIGITS`].
fn round_number(value: f64) -> f64 {
    round_by_arithmetic(value).unwrap_or_else(|| round_by_text(value))
}

/// Rounds with a power of ten that brings the digits before the point. The digits and the power are exact, so what one operation makes of them is the
/// nearest double. `None`: no such power is exact.
fn round_by_arithmetic(value: f64) -> Option<f64> {
    const LEAST: f64 = POWERS_OF_TEN[SIGNIFICANT_DIGITS - 1];
    const BEYOND: f64 = POWERS_OF_TEN[SIGNIFICANT_DIGITS];
    let magnitude = value.abs();
    let mut powers = POWERS_OF_TEN.iter();
    let rounded = if magnitude < BEYOND {
        let power = powers.find(|power| magnitude * **power >= LEAST)?;
        (magnitude * power).round() / power
    } else {
        let power = powers.find(|power| magnitude / **power < BEYOND)?;
        (magnitude / power).round() * power
    };
    Some(rounded.copysign(value))
}

fn round_by_text(value: f64) -> f64 {
    let rounded = format!("{value:.*e}", SIGNIFICANT_DIGITS - 1);
    rounded.parse().unwrap_or(value)
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let folded = fold_text(text);
    out.push(b'"');
    write_length(out, folded.len());
    out.extend_from_slice(folded.as_bytes());
}

/// Returns a text without what counts as nothing in it.
fn fold_text(text: &str) -> Cow<'_, str> {
    if is_folded(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(fold_characters(text))
    }
}

/// Returns whether a text is of ASCII characters alone, with single spaces between words and no other white space. Folding leaves it as it is.
fn is_folded(text: &str) -> bool {
    let mut after_space = true;
    for byte in text.bytes() {
        let is_space = byte == b' ';
        if !byte.is_ascii() || matches!(byte, b'\t'..=b'\r') || (is_space && after_space) {
            return false;
        }
        after_space = is_space;
    }
    text.is_empty() || !after_space
}

fn fold_characters(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for character in text.chars().filter_map(fold_character) {
        if !character.is_whitespace() {
            folded.push(character);
        } else if !folded.is_empty() && !folded.ends_with(' ') {
            folded.push(' ');
        }
    }
    folded.truncate(folded.trim_end().len());
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::instrument::InstrumentAliases;
    use serde_json::json;

    fn key_of(action_type: &str, parameters: &Value, reasoning: &str) -> Digest {
        let action =
            json!({"action_type": action_type, "parameters": parameters, "reasoning": reasoning});
        let action: Action = serde_json::from_value(action).expect("an action");
        let aliases = InstrumentAliases::new([("XBT", "BTC")]).expect("aliases");
        let instrument = action.symbol().map(|symbol| aliases.find_key(symbol));
        repetition_key(
            &"kyle".parse().expect("a name"),
            &action,
            instrument.as_ref(),
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
        for (value, rounded) in [
            (0.05, 0.05),
            (0.05 + 1e-12, 0.05),
            (0.123_456, 0.123_456),
            (0.123_456_4, 0.123_456),
            (0.123_456_6, 0.123_457),
            (-0.999_999_7, -1.0),
            (1234.5, 1234.5),
            (1_234_567.8, 1_234_570.0),
            (1.234_567_8e25, 1.234_57e25),
            (1.234_567_8e-16, 1.234_57e-16),
            (5e-324, 5e-324),
            (1.234_567_8e-300, 1.234_57e-300),
            (1.797_693_134_862_315_7e308, 1.797_69e308),
        ] {
            assert_eq!(round_number(value), rounded, "{value}");
        }
    }

    #[test]
    fn arithmetic_rounds_as_text_does() {
        let mut state = 1_u64;
        for exponent in -31..=12 {
            for _ in 0..100 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                // Of 16 digits: none is so near to the middle between two steps that arithmetic could take the other one.
                let value = (1e15 + (state >> 14) as f64) * 10_f64.powi(exponent);
                for value in [value, -value] {
                    let rounded = Some(round_by_text(value));
                    assert_eq!(round_by_arithmetic(value), rounded, "{value:e}");
                }
            }
        }
        for outside in [0.0, 1e-18, 1e29, f64::INFINITY, f64::NAN] {
            assert_eq!(round_by_arithmetic(outside), None, "{outside}");
        }
    }

    #[test]
    fn whole_numbers_are_the_same_with_and_without_a_point() {
        let write = |json: &str| {
            let mut out = Vec::new();
            write_json(&mut out, json);
            out
        };
        for (one, other, equal) in [
            ("5", "5.0", true),
            ("-5", "-5e0", true),
            ("999999999999999", "999999999999999.0", true),
            ("999999999999999", "999999999999998", false),
            ("1000000000000000000", "1000000000000000001", false),
            ("18446744073709551615", "18446744073709551614", false),
            ("18446744073709551615", "-1", false),
            ("1.0000001", "1.0000002", true),
            ("1.0000001", "1", false),
            ("1000000.7", "1000001", false),
            (r#"{"a":[1,{}]}"#, r#"{ "a": [1.0, { }] }"#, true),
            ("[1,[2]]", "[[1],2]", false),
            (r#"["a","b"]"#, r#"["a\"b"]"#, false),
            ("null", "false", false),
            ("{}", "[]", false),
        ] {
            assert_eq!(write(one) == write(other), equal, "{one} {other}");
        }
    }

    #[test]
    fn texts_that_are_folded_stay_as_they_are() {
        for (text, is_plain) in [
            ("", true),
            ("S000000000001", true),
            ("add one", true),
            ("a\u{1c}b\0", true),
            (" ", false),
            (" add", false),
            ("add ", false),
            ("add  one", false),
            ("add\tone", false),
            ("add\u{b}one\n", false),
            ("\r\n\u{c}", false),
            ("add\u{200b} one", false),
            ("add\u{85}one", false),
            ("ａｄｄ", false),
            ("Grüße", false),
        ] {
            assert_eq!(is_folded(text), is_plain, "{text:?}");
            assert_eq!(fold_text(text), fold_characters(text), "{text:?}");
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
        let priced = |field: &str| {
            let mut trade = digest_trade("BTC-USD", 0.05, "{}");
            trade[field] = json!(100.0);
            key_of("trade", &trade, "")
        };
        assert_ne!(priced("entry_price"), priced("take_profit"));
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
