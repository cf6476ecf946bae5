//! Reads typed requests: from the JSON document of a body, and from the texts of a path, a query or headers.
//!
//! A request is a type that derives `Deserialize`; this module hands it its input and turns what serde reports into a [`FieldError`]: the
//! field, what is wrong with it and what would be right. A type says what would be right in the `expected` part of its own serde errors
//! (see [`super::fields`]), so nothing here parses a message.
//!
//! What differs from `serde_json`: `5.0` is an integer, as JSON means it.

mod error;
mod input;

use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::Value;

use ark_model::check::FieldError;

pub(crate) use error::describe_value;
use input::{JsonInput, TextInput};

/// Reads a request from its JSON document. `describe` gives the description of a field of this request, as the remedy when it is missing.
///
/// # Errors
/// The first field that is missing, unknown, of another type or out of its range.
pub(crate) fn read_document<T: DeserializeOwned>(
    document: Value,
    describe: impl Fn(&str) -> Option<String>,
) -> Result<T, FieldError> {
    if !document.is_object() {
        let problem = format!("is {}", describe_value(&document));
        return Err(FieldError::new("body", problem, "give a JSON object"));
    }
    serde_path_to_error::deserialize(JsonInput(document)).map_err(|error| {
        let path = error.path().to_string();
        error.into_inner().into_field_error(&path, describe)
    })
}

/// Reads the parameters of a path, a query or headers from their names and texts.
///
/// # Errors
/// The first parameter that is missing, unknown, malformed or out of its range.
pub(crate) fn read_parameters<T: DeserializeOwned>(
    parameters: impl IntoIterator<Item = (String, String)>,
    describe: impl Fn(&str) -> Option<String>,
) -> Result<T, FieldError> {
    let parameters = parameters
        .into_iter()
        .map(|(name, text)| (name, TextInput(text)));
    serde_path_to_error::deserialize(MapDeserializer::new(parameters)).map_err(|error| {
        let path = error.path().to_string();
        error.into_inner().into_field_error(&path, describe)
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use ark_model::ids::{Digest, Name, SignalId, TraceId};

    use super::*;
    use crate::api::http::fields::{Actor, Key, RevisionNumber};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct Form {
        key: Key,
        revision: Option<RevisionNumber>,
        by: Option<Actor>,
        parts: Option<Vec<BodyPart>>,
        on: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct BodyPart {
        size: f64,
    }

    #[test]
    fn an_error_names_the_field_and_the_remedy() {
        let describe = |field: &str| (field == "key").then(|| "The key.".to_owned());
        for (document, expected) in [
            (json!([]), "body: is a list; give a JSON object"),
            (json!({}), "key: is missing; add `key`: the key"),
            (json!({"key": 7}), "key: is the number 7; give a string"),
            (
                json!({"key": ""}),
                "key: is \"\"; give 1 to 256 bytes without control characters",
            ),
            (
                json!({"key": "k", "revison": 1}),
                "revison: unknown field; did you mean `revision`?",
            ),
            (
                json!({"key": "k", "zzz": 1}),
                "zzz: unknown field; known are: key, revision, by, parts, on",
            ),
            (
                json!({"key": "k", "revision": 1.5}),
                "revision: is the number 1.5; give a whole number, 0 or more",
            ),
            (
                json!({"key": "k", "revision": 1e300}),
                "revision: is the number 1e+300; give a whole number, 0 or more",
            ),
            (
                json!({"key": "k", "parts": [{"size": 1}, {"size": "1"}]}),
                "parts[1].size: is the string \"1\"; give a number",
            ),
            (
                json!({"key": "k", "parts": [{"size": 9_007_199_254_740_993_u64}]}),
                "parts[0].size: is the number 9007199254740993; give an integer of at most 53 bits, which a double holds, or a float with a decimal point",
            ),
            (
                json!({"key": "k", "parts": [{}]}),
                "parts[0].size: is missing; add `size`",
            ),
            (
                json!({"key": "k", "on": "yes"}),
                "on: is the string \"yes\"; give true or false",
            ),
            (
                json!({"key": "k", "by": " "}),
                "by: is \" \"; give 1 to 128 bytes of plain text that is not blank",
            ),
        ] {
            let error = read_document::<Form>(document.clone(), describe).unwrap_err();
            assert_eq!(error.to_string(), expected, "{document}");
        }
        let form: Form = read_document(
            json!({"key": "k", "revision": 3.0, "by": null, "parts": [{"size": 1}]}),
            describe,
        )
        .unwrap();
        assert_eq!(form.revision.map(u64::from), Some(3));
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct Ids {
        agent: Option<Name>,
        signal: Option<SignalId>,
        trace: Option<TraceId>,
        digest: Option<Digest>,
        odd: Option<Odd>,
    }

    /// A value whose type says what is wrong and not what would be right.
    #[derive(Debug)]
    struct Odd;

    impl<'de> Deserialize<'de> for Odd {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let number = u64::deserialize(deserializer)?;
            if number % 2 == 1 {
                return Ok(Self);
            }
            Err(serde::de::Error::custom("is even"))
        }
    }

    #[test]
    fn an_error_is_a_sentence_whatever_the_description_says() {
        let describe = |field: &str| {
            let text = match field {
                "agent" => "Of this agent.",
                "odd" => "Only those of this number.",
                _ => return None,
            };
            Some(text.to_owned())
        };
        for (pair, expected) in [
            (
                ("agent", ""),
                "agent: is \"\"; give a name: 1 to 64 of a-z, 0-9, '-', '_', starting with a letter",
            ),
            (("signal", "7"), "signal: is \"7\"; give a UUID"),
            (
                ("trace", "7"),
                "trace: is \"7\"; give a trace id: 32 lower-case hexadecimal digits, not all zero",
            ),
            (
                ("digest", "7"),
                "digest: is \"7\"; give a SHA-256 digest: 64 hexadecimal digits",
            ),
            (
                ("odd", "8"),
                "odd: is even; correct `odd`: only those of this number",
            ),
        ] {
            let pairs = [(pair.0.to_owned(), pair.1.to_owned())];
            let error = read_parameters::<Ids>(pairs, describe).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn parameters_are_parsed_from_their_texts() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            read_parameters::<Form>(pairs, |_| None)
        };
        let form = read(&[("key", "5"), ("revision", "5"), ("on", "true")]).unwrap();
        assert_eq!(String::from(form.key), "5");
        assert_eq!(form.revision.map(u64::from), Some(5));
        assert_eq!(form.on, Some(true));
        for (pairs, expected) in [
            (
                [("key", "k"), ("on", "1")],
                "on: is \"1\"; give true or false",
            ),
            (
                [("key", "k"), ("revision", "-1")],
                "revision: is \"-1\"; give a whole number, 0 or more",
            ),
            (
                [("key", "k"), ("revision", "99999999999999999999")],
                "revision: is \"99999999999999999999\"; give a whole number, 0 or more",
            ),
            (
                [("key", "k"), ("onn", "true")],
                "onn: unknown field; did you mean `on`?",
            ),
        ] {
            assert_eq!(read(&pairs).unwrap_err().to_string(), expected);
        }
    }
}
