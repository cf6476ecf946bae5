//! The settings of an operator policy.

use std::fmt;
use std::sync::Arc;

use ark_json::UniqueKeysJson;
use serde::de::{Error as _, Unexpected};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::check::{FieldError, read_json_field};
use super::ids::Digest;

/// The longest settings, in bytes of their canonical text.
pub const MAX_SETTINGS: usize = 64 * 1024;

/// A policy's settings: one JSON object, kept as its canonical text (keys sorted, no key twice, no white space, finite numbers) of at most
/// [`MAX_SETTINGS`] bytes. Equal settings have equal digests. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Settings(Arc<str>);

impl Settings {
    /// Reads the text of a JSON object.
    ///
    /// # Errors
    /// The text is not JSON, is not an object, is too long, or has an object with the same key twice. The error names the field `settings`.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.len() > 4 * MAX_SETTINGS {
            return Err(too_long(text.len()));
        }
        Self::from_value(read_json_field("settings", text)?)
    }

    /// Makes settings from a JSON value that was read already.
    ///
    /// # Errors
    /// The value is not an object, or is too long. The error names the field `settings`.
    pub fn from_value(value: Value) -> Result<Self, FieldError> {
        let Value::Object(mut object) = value else {
            let found = match value {
                Value::Null => "null",
                Value::Bool(_) => "true or false",
                Value::Number(_) => "a number",
                Value::String(_) => "a string",
                _ => "an array",
            };
            return Err(FieldError::new(
                "settings",
                format!("is {found}"),
                "give one JSON object, e.g. {\"allowed\": [\"BTC-USD\"]}",
            ));
        };
        object.sort_keys();
        object.values_mut().for_each(Value::sort_all_objects);
        let text = Value::Object(object).to_string();
        if text.len() > MAX_SETTINGS {
            return Err(too_long(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// Returns the canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the SHA-256 of the canonical text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::hash_bytes(self.0.as_bytes())
    }
}

fn too_long(bytes: usize) -> FieldError {
    FieldError::new(
        "settings",
        format!("is {bytes} bytes long"),
        format!("give {MAX_SETTINGS} bytes at most"),
    )
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let UniqueKeysJson(value) = UniqueKeysJson::deserialize(deserializer)?;
        Self::from_value(value).map_err(
            |FieldError {
                 problem, remedy, ..
             }| {
                // A reader of forms writes "is" and "give" itself.
                let given = problem.strip_prefix("is ").unwrap_or(&problem);
                let wanted = remedy.strip_prefix("give ").unwrap_or(&remedy);
                D::Error::invalid_value(Unexpected::Other(given), &wanted)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_one_form() {
        let settings =
            Settings::parse(r#" {"b": [1, 2.50, {"z":null,"y":true}], "a":"é"} "#).unwrap();
        assert_eq!(
            settings.as_str(),
            r#"{"a":"é","b":[1,2.5,{"y":true,"z":null}]}"#
        );
        let again: Settings = serde_json::from_str(settings.as_str()).unwrap();
        assert_eq!(again, settings);
        assert_eq!(serde_json::to_string(&settings).unwrap(), settings.as_str());
        assert_eq!(
            settings.digest(),
            Digest::hash_bytes(settings.as_str().as_bytes())
        );
        // As a table of ark.toml arrives.
        let table: Settings = toml::from_str("b = [1, 2.5, { z = 1 }, 2026-12-25]").unwrap();
        assert_eq!(table.as_str(), r#"{"b":[1,2.5,{"z":1},"2026-12-25"]}"#);
    }

    #[test]
    fn ambiguous_json_objects_are_refused() {
        for (text, problem) in [
            ("", "is not JSON"),
            ("[]", "is an array"),
            ("null", "is null"),
            ("1", "is a number"),
            (r#"{"a":1,"a":2}"#, "twice"),
            (r#"{"a":[{"b":1,"b":1}]}"#, "twice"),
            (r#"{"a":1e999}"#, "is not JSON"),
            (r#"{"a":NaN}"#, "is not JSON"),
            (
                &format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_SETTINGS)),
                "bytes long",
            ),
            (
                &format!(r#"{{"a":"{}"}}"#, "x".repeat(5 * MAX_SETTINGS)),
                "bytes long",
            ),
            (
                &format!(r#"{{"a":{}1{}}}"#, "[".repeat(500), "]".repeat(500)),
                "recursion",
            ),
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.field.starts_with("settings"), "{error}");
            assert!(error.problem.contains(problem), "{error}");
        }
        assert!(serde_json::from_str::<Settings>("[1]").is_err());
        assert!(toml::from_str::<Settings>("a = nan").is_err());
    }
}
