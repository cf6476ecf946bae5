//! What agents keep in the Mutable Core: state, memories, truths. Values are JSON texts that were checked when they entered the host.

use serde::{Deserialize, Serialize};

use super::check::{FieldError, canonical_json, clip_for_error};

/// The prefix of the keys whose values are secrets.
pub const SECRET_PREFIX: &str = "secret/";

/// Returns whether the values under this key are secrets.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    key.starts_with(SECRET_PREFIX)
}

/// Checks a key of the state, the truth map or the configuration: 1 to 256 bytes of UTF-8 without control characters.
///
/// # Errors
/// The key has another form. The error names `field`.
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

/// Returns the canonical text of one JSON value. Every type stays as it was given: an integer remains an integer, `1.0` a float.
///
/// # Errors
/// As [`canonical_json`]. The error names `field`.
pub fn canonical_value(field: &str, json: &str) -> Result<String, FieldError> {
    canonical_json(field, json).map(|value| value.to_string())
}

/// A value of an agent's state with its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// One JSON value, as text.
    pub value_json: String,
    /// The revision: from 1, without gaps for each agent and key; a deletion is a revision.
    pub revision: u64,
}

/// A write to an agent's state, buffered until the invocation is committed. An invocation has one write for each key: the last value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The key: 1 to 256 bytes of UTF-8 without control characters.
    pub key: String,
    /// The new value, as JSON text; absent: the key is deleted.
    pub value_json: Option<String>,
    /// The revision that the invocation saw (0: the key did not exist). If the key is at another revision when the invocation is committed, the
    /// whole commit fails.
    pub expected: u64,
    /// Whether the key has a value at that revision.
    pub was_live: bool,
}

/// Something that an agent remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The kind, e.g. `observation`.
    pub kind: String,
    /// The content.
    pub content: String,
    /// A JSON object, as text.
    pub metadata_json: String,
}

/// A memory to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMemory {
    /// The memory.
    pub memory: Memory,
    /// The time to live, in seconds; absent: the memory does not expire.
    pub ttl_seconds: Option<u64>,
}

/// A value of the truth map, which all agents share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// One JSON value, as text.
    pub value_json: String,
    /// The confidence, 0 to 1.
    pub confidence: f64,
    /// The names of the sources.
    pub sources: Vec<String>,
}

/// A truth to be written under its key.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthWrite {
    /// The key: as [`StateWrite::key`].
    pub key: String,
    /// The truth.
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
        for (bad, field) in [
            ("18446744073709551616", "value"),
            ("[\"x\\\"\", -9223372036854775809]", "value[1]"),
            ("{\"a\": {\"b\": 99999999999999999999}}", "value.a.b"),
            ("", "value"),
            ("{", "value"),
            ("NaN", "value"),
            ("1e999", "value"),
        ] {
            assert_eq!(
                canonical_value("value", bad).unwrap_err().field,
                field,
                "{bad}"
            );
        }
    }
}
