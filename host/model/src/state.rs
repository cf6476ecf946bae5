//! What agents keep in the Mutable Core: state, memories, truths. Values are JSON text, checked where they enter.

use serde::{Deserialize, Serialize};

use super::check::{FieldError, canonical_json, clip_for_error};

/// What the keys of secrets start with.
pub const SECRET_PREFIX: &str = "secret/";

/// Whether the values under this key are secrets.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    key.starts_with(SECRET_PREFIX)
}

/// Checks a key of the state, the truth map or the configuration: 1 to 256 bytes of UTF-8 without control characters.
///
/// # Errors
/// It is none; the error names `field`.
pub fn check_key(field: &str, key: &str) -> Result<(), FieldError> {
    if (1..=256).contains(&key.len()) && !key.chars().any(char::is_control) {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!("is {:?}", clip_for_error(key)),
        "give 1 to 256 bytes without control characters",
    ))
}

/// The canonical text of one JSON value, with every type as it was given.
///
/// # Errors
/// It is no JSON, too long, or has an integer of more than 64 bits, which would silently become a rounded float.
pub fn canonical_value(field: &str, json: &str) -> Result<String, FieldError> {
    let value = canonical_json(field, json)?;
    if let Some(integer) = rounded_integer(json) {
        return Err(FieldError::new(
            field,
            format!(
                "has the integer {}, which does not fit 64 bits",
                clip_for_error(integer)
            ),
            "give it as a string, or as a float with a decimal point",
        ));
    }
    Ok(value.to_string())
}

/// The first integer of a JSON text that fits neither `i64` nor `u64`.
fn rounded_integer(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let rest = &json[at..];
                let end = rest
                    .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                    .unwrap_or(rest.len());
                let number = &rest[..end];
                let integer = !number.contains(['.', 'e', 'E']);
                if integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(number);
                }
                at += end;
            }
            _ => at += 1,
        }
    }
    None
}

/// A value of an agent's state with its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// One JSON value, as text.
    pub value_json: String,
    /// Its revision: from 1, contiguous per (agent, key); deletions count.
    pub revision: u64,
}

/// A write to an agent's state, buffered by an invocation until its commit. One per key: the last value wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The key: 1 to 256 bytes of UTF-8 without control characters.
    pub key: String,
    /// The new value (JSON text); `None` deletes.
    pub value_json: Option<String>,
    /// The revision the invocation saw (0: no such key) and that must still hold at commit. A commit that finds another fails whole.
    pub expected: u64,
}

/// Something an agent remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Its kind, e.g. `observation`.
    pub kind: String,
    /// Its content.
    pub content: String,
    /// A JSON object, as text.
    pub metadata_json: String,
}

/// A memory to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMemory {
    /// The memory.
    pub memory: Memory,
    /// How long it is kept, in seconds; `None`: for good.
    pub ttl_seconds: Option<u64>,
}

/// Something held true by all agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// One JSON value, as text.
    pub value_json: String,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// Where it is from.
    pub sources: Vec<String>,
}

/// A truth to be written under its key.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthWrite {
    /// The key: as for [`StateWrite::key`].
    pub key: String,
    /// What is held true.
    pub truth: Truth,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_as_it_was_given() {
        for (given, kept) in [
            ("\"a\\\"1\"", "\"a\\\"1\""),
            ("1", "1"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.0", "1.0"),
            ("1e3", "1000.0"),
            ("0.1", "0.1"),
            ("true", "true"),
            ("null", "null"),
            ("[1, 1.0, [], {}]", "[1,1.0,[],{}]"),
            (
                "{\"a\": \"123456789012345678901234567890\"}",
                "{\"a\":\"123456789012345678901234567890\"}",
            ),
        ] {
            assert_eq!(canonical_value("value", given).as_deref(), Ok(kept));
        }
        for bad in [
            "18446744073709551616",
            "[\"x\\\"\", -9223372036854775809]",
            "",
            "{",
            "NaN",
            "1e999",
        ] {
            assert_eq!(
                canonical_value("value", bad).unwrap_err().field,
                "value",
                "{bad}"
            );
        }
    }
}
