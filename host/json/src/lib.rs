//! The strict reading of JSON: every way into the host that takes JSON (bodies, parameters of guests, settings) reads it here.
//!
//! Invariants of a value that [`read_json`] returns:
//!
//! * No object has a key twice: readers differ in which of two equal keys they use, so what is judged and what is carried out could differ.
//! * Its text form is canonical and keeps every integer. An integer that fits neither `i64` nor `u64` is refused, since it would become a
//!   rounded double, and two different requests would count as equal. A number with a fraction or an exponent is a double by definition.
//!
//! [`read_plain_object`] reads the same without a tree, where an object is read for every decision.
//!
//! It also writes pieces of JSON text for the documents that are written for every decision ([`push_string`] and its like).
//!
//! This crate must not know actions, HTTP, or what a document means.

mod error;
mod members;
mod numbers;
mod unique;
mod write;

use std::cell::Cell;

use serde::de::DeserializeSeed;
use serde_json::Value;

use unique::UniqueKeysReader;

pub use error::{JsonError, JsonProblem};
pub use members::{Members, PlainObject, read_plain_object};
pub use numbers::is_exact_double;
pub use unique::UniqueKeysJson;
pub use write::{as_whole, push_flag, push_integer, push_number, push_string};

/// How deep arrays and objects may be nested.
pub const MAX_DEPTH: usize = 127;

/// Reads one JSON document in UTF-8.
///
/// # Errors
/// See [`JsonProblem`]. The error says at which path in the document it is.
pub fn read_json(text: &[u8]) -> Result<Value, JsonError> {
    if let Some(encoding) = find_byte_order_mark(text) {
        return Err(JsonError::outside(JsonProblem::ByteOrderMark(encoding)));
    }
    let (value, is_doubtful) = match read_value(text) {
        Ok(read) => read,
        Err(error) => {
            // Read again with path tracking, so that only a document that fails pays for it.
            let path = find_error_path(text);
            let problem = if error.is_data() {
                JsonProblem::Content(error)
            } else {
                JsonProblem::Syntax(error)
            };
            return Err(JsonError { path, problem });
        }
    };
    // Few documents have a number that is worth a search of the text.
    let altered = is_doubtful.then(|| numbers::find_altered_number(text));
    let Some(number) = altered.flatten() else {
        return Ok(value);
    };
    // What is no JSON in the number's place makes the reader stop there.
    let mut cut = text[..number.offset].to_vec();
    cut.push(b'?');
    Err(JsonError {
        path: find_error_path(&cut),
        problem: number.problem,
    })
}

/// Reads a value. Also returns whether one of its numbers may be another one in the text.
fn read_value(text: &[u8]) -> Result<(Value, bool), serde_json::Error> {
    let is_doubtful = Cell::new(false);
    let reader = UniqueKeysReader {
        is_doubtful: &is_doubtful,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, is_doubtful.get()))
}

/// Returns the encoding whose byte order mark a text begins with.
fn find_byte_order_mark(text: &[u8]) -> Option<&'static str> {
    [
        (&[0xef, 0xbb, 0xbf][..], "UTF-8"),
        (&[0xff, 0xfe][..], "UTF-16"),
        (&[0xfe, 0xff][..], "UTF-16"),
    ]
    .into_iter()
    .find_map(|(mark, encoding)| text.starts_with(mark).then_some(encoding))
}

/// Returns the path at which the reading of a document stops, empty outside of any field.
fn find_error_path(text: &[u8]) -> String {
    let deserializer = &mut serde_json::Deserializer::from_slice(text);
    let path = serde_path_to_error::deserialize::<_, UniqueKeysJson>(deserializer)
        .err()
        .map(|error| error.path().to_string())
        .unwrap_or_default();
    // `?` stands for a key that was not read to its end.
    path.trim_end_matches(['?', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_fields_are_named_by_path() {
        for (text, path, problem) in [
            ("", "", "is not JSON: EOF"),
            ("{", "", "is not JSON: EOF"),
            ("\u{feff}{}", "", "begins with a byte order mark of UTF-8"),
            (r#"{"a":{"b":[1,nul]}}"#, "a.b[1]", "is not JSON: expected"),
            (r#"{"a":1,"b":2,"a":3}"#, "a", "a key is given twice"),
            (
                r#"{"a":[{"b":1,"\u0062":1}]}"#,
                "a[0].b",
                "a key is given twice",
            ),
            (
                "18446744073709551616",
                "",
                "is the integer 18446744073709551616, which does not fit 64 bits",
            ),
            (
                "-9223372036854775809",
                "",
                "is the integer -9223372036854775809, ",
            ),
            (
                r#"{"a":"1","b":[2,{"c":9223372036854775808000}]}"#,
                "b[1].c",
                "is the integer 92",
            ),
            (
                r#"{"é\"9":{"x":[[99999999999999999999]]}}"#,
                "é\"9.x[0][0]",
                "is the integer 99",
            ),
            (
                r#"{"a": 1e-400}"#,
                "a",
                "is the number 1e-400, which a double rounds to 0",
            ),
            (
                r"[0, -0.00001e-999]",
                "[1]",
                "is the number -0.00001e-999, ",
            ),
            (r#"{"a": 1e400}"#, "a", "is not JSON: number out of range"),
            (r#"{"a": -1e400}"#, "a", "is not JSON: number out of range"),
            (
                r#"{"a": "\ud800"}"#,
                "a",
                "is not JSON: unexpected end of hex escape",
            ),
            (
                r#"{"a": "\ud800\u0041"}"#,
                "a",
                "is not JSON: lone leading surrogate",
            ),
            ("{\"a\": \"\0\"}", "a", "is not JSON: control character"),
            (r#"{"a": NaN}"#, "a", "is not JSON: expected value"),
            (r#"{"a": 01}"#, "a", "is not JSON: invalid number"),
            (r#"{"a": +1}"#, "a", "is not JSON: expected value"),
            ("{} {}", "", "is not JSON: trailing characters"),
        ] {
            let error = read_json(text.as_bytes()).unwrap_err();
            assert_eq!(error.path, path, "{text}: {error}");
            assert!(
                error.problem.to_string().starts_with(problem),
                "{text}: {error}"
            );
        }
        for mark in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}"] {
            let error = read_json(mark).unwrap_err();
            assert_eq!(error.to_string(), "begins with a byte order mark of UTF-16");
        }
        assert!(read_json(b"{\"a\":\"\xff\"}").is_err());
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read_json(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(read_json(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(read_json(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn no_altered_number_passes_unsearched() {
        for text in [
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "18446744073709551616",
            "18446744073709551616.0",
            "[1.5, 18446744073709551616, 1.5]",
            "1e18",
            "1e19",
            "-1e300",
            "1e-299",
            "1e-301",
            "3e-324",
            "2e-324",
            r#"{"a": [0.5, -1e-400], "b": 1}"#,
            "0",
            "-0",
            "0.0",
            "0e-999",
        ] {
            let altered = numbers::find_altered_number(text.as_bytes()).is_some();
            assert_eq!(read_json(text.as_bytes()).is_err(), altered, "{text}");
        }
    }

    #[test]
    fn raw_json_is_kept_in_canonical_form() {
        for (text, kept) in [
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            ("9007199254740993", "9007199254740993"),
            ("-0", "-0.0"),
            ("0e-999", "0.0"),
            ("0.000e5", "0.0"),
            ("1.0", "1.0"),
            ("1e30", "1e+30"),
            ("4.9e-324", "5e-324"),
            (
                r#""99999999999999999999 \\\" -99999999999999999999""#,
                r#""99999999999999999999 \\\" -99999999999999999999""#,
            ),
            (
                r#" {"b": [1, 2.50], "a": "\u0000\ud83d\ude00"} "#,
                r#"{"a":"\u0000😀","b":[1,2.5]}"#,
            ),
        ] {
            assert_eq!(
                read_json(text.as_bytes()).unwrap().to_string(),
                kept,
                "{text}"
            );
        }
    }
}
