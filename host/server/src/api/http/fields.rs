//! Types of single request fields: each is read, checked and described in one place.
//!
//! `text_field!`, `integer_field!` and `number_field!` make a newtype with its own `Deserialize` (what is out of form is refused with what would
//! be right) and its own schema (the same bounds, as JSON Schema). A field that may be left out is an `Option` of it, and `null` counts as left
//! out. Where a text's length is counted in bytes, `maxLength` is the most characters that allows.

use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use utoipa::openapi::ObjectBuilder;

use crate::hrm::redaction::redact_text;
use ark_model::check::FieldError;
use ark_model::instrument::MAX_SYMBOL_CHARS;
use ark_model::state::canonical_value;

/// The largest integer that the database holds, and so the largest revision, sequence number or time.
pub(crate) const MAX_INTEGER: u64 = 9_223_372_036_854_775_807;
/// Plain text: no control characters.
pub(crate) const PLAIN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// Plain text in which something can be seen: not only white space and characters of [`INVISIBLE`], which stand here as a class of characters.
pub(crate) const NOT_BLANK: &str = concat!(
    r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f",
    "\u{ad}\u{300}-\u{36f}\u{483}-\u{489}\u{61c}\u{115f}-\u{1160}\u{17b4}-\u{17b5}\u{180b}-\u{180f}\u{1ab0}-\u{1aff}",
    "\u{1dc0}-\u{1dff}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{2060}-\u{206f}\u{20d0}-\u{20ff}\u{2800}\u{3164}",
    "\u{fe00}-\u{fe0f}\u{fe20}-\u{fe2f}\u{feff}\u{ffa0}\u{fff0}-\u{fffb}\u{13441}-\u{13442}\u{1bca0}-\u{1bca3}",
    "\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}",
    r"][^\x00-\x1f\x7f-\x9f]*$"
);
/// Characters that show nothing by themselves though they are no white space: zero-width and formatting characters, fillers, blanks, and the
/// blocks of combining marks.
const INVISIBLE: [std::ops::RangeInclusive<char>; 24] = [
    '\u{ad}'..='\u{ad}',
    '\u{300}'..='\u{36f}',
    '\u{483}'..='\u{489}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{1ab0}'..='\u{1aff}',
    '\u{1dc0}'..='\u{1dff}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{20d0}'..='\u{20ff}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{fe20}'..='\u{fe2f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{13441}'..='\u{13442}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];
/// Visible ASCII characters, as idempotency keys and execution ids have.
pub(crate) const VISIBLE: &str = "^[!-~]{1,200}$";
/// Longer texts are not repeated in an error.
const MAX_REPEATED_BYTES: usize = 128;

/// Makes a newtype of a text: `bytes` is its length, `pattern` the regular expression of its schema, `accepts` what else it must fulfil.
macro_rules! text_field {
    (
        $(#[doc = $doc:literal])+
        $name:ident($form:literal, bytes: $bytes:expr, pattern: $pattern:expr, accepts: $accepts:expr)
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(String);

        impl From<$name> for String {
            fn from(field: $name) -> Self {
                field.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let accepts: fn(&str) -> bool = $accepts;
                $crate::api::http::fields::read_text(deserializer, $bytes, accepts, $form).map(Self)
            }
        }

        $crate::api::http::fields::field_schema! {
            $(#[doc = $doc])+
            $name => $crate::api::http::fields::text_schema($bytes, $pattern)
        }
    };
}
pub(crate) use text_field;

/// Makes a newtype of an integer in a range.
macro_rules! integer_field {
    ($(#[doc = $doc:literal])+ $name:ident($form:literal, $range:expr)) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(u64);

        impl From<$name> for u64 {
            fn from(field: $name) -> Self {
                field.0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = u64::deserialize(deserializer)?;
                if $range.contains(&number) {
                    return Ok(Self(number));
                }
                let given = serde::de::Unexpected::Unsigned(number);
                Err(serde::de::Error::invalid_value(given, &$form))
            }
        }

        $crate::api::http::fields::field_schema! {
            $(#[doc = $doc])+
            $name => $crate::api::http::fields::integer_schema($range)
        }
    };
}
pub(crate) use integer_field;

/// Makes a newtype of a finite number in a range. `schema` sets the same bounds on the schema.
macro_rules! number_field {
    ($(#[doc = $doc:literal])+ $name:ident($form:literal, accepts: $accepts:expr, schema: $schema:expr)) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(crate) struct $name(f64);

        impl From<$name> for f64 {
            fn from(field: $name) -> Self {
                field.0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = f64::deserialize(deserializer)?;
                let accepts: fn(f64) -> bool = $accepts;
                if number.is_finite() && accepts(number) {
                    return Ok(Self(number));
                }
                let given = serde::de::Unexpected::Float(number);
                Err(serde::de::Error::invalid_value(given, &$form))
            }
        }

        $crate::api::http::fields::field_schema! {
            $(#[doc = $doc])+
            $name => {
                let bound: fn(utoipa::openapi::ObjectBuilder) -> utoipa::openapi::ObjectBuilder = $schema;
                bound(utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::Number))
            }
        }
    };
}
pub(crate) use number_field;

/// Gives a field's type its name and its schema; the documentation is the schema's description.
macro_rules! field_schema {
    ($(#[doc = $doc:literal])+ $name:ident => $schema:expr) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $schema
                    .description(Some(concat!($($doc),+).trim()))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed(stringify!($name))
            }
        }
    };
}
pub(crate) use field_schema;

/// Reads a text of so many bytes that is accepted; `form` says what would be right.
pub(crate) fn read_text<'de, D: Deserializer<'de>>(
    deserializer: D,
    bytes: std::ops::RangeInclusive<usize>,
    accepts: fn(&str) -> bool,
    form: &'static str,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if bytes.contains(&text.len()) && accepts(&text) {
        return Ok(text);
    }
    if text.len() > MAX_REPEATED_BYTES {
        let given = format!("{} bytes long", text.len());
        return Err(D::Error::invalid_value(Unexpected::Other(&given), &form));
    }
    Err(D::Error::invalid_value(Unexpected::Str(&text), &form))
}

/// The schema of a text of so many bytes that matches a pattern.
pub(crate) fn text_schema(
    bytes: std::ops::RangeInclusive<usize>,
    pattern: Option<&str>,
) -> ObjectBuilder {
    let least = *bytes.start();
    ObjectBuilder::new()
        .schema_type(utoipa::openapi::Type::String)
        .min_length((least > 0).then_some(least))
        .max_length(Some(*bytes.end()))
        .pattern(pattern)
}

/// What a symbol must be, as a pattern: no control characters, and a letter or digit. The format says that there is more to it
/// ([`check_symbol`](ark_model::instrument::check_symbol)).
pub(crate) const SYMBOL: &str =
    r"^[^\x00-\x1f\x7f-\x9f]*(?:[0-9A-Za-z]|[^\x00-\x9f])[^\x00-\x1f\x7f-\x9f]*$";
/// The name of the format of symbols.
pub(crate) const SYMBOL_FORMAT: &str = "symbol";

/// The schema of a symbol.
pub(crate) fn symbol_schema() -> ObjectBuilder {
    use utoipa::openapi::SchemaFormat;
    text_schema(1..=MAX_SYMBOL_CHARS, Some(SYMBOL))
        .format(Some(SchemaFormat::Custom(SYMBOL_FORMAT.to_owned())))
}

/// The schema of a symbol that may be left out.
pub(crate) fn optional_symbol_schema() -> ObjectBuilder {
    use utoipa::openapi::Type::{Null, String};
    use utoipa::openapi::schema::SchemaType;
    symbol_schema().schema_type([String, Null].into_iter().collect::<SchemaType>())
}

/// The schema of an integer in a range.
pub(crate) fn integer_schema(range: std::ops::RangeInclusive<u64>) -> ObjectBuilder {
    use utoipa::openapi::{KnownFormat, SchemaFormat};
    ObjectBuilder::new()
        .schema_type(utoipa::openapi::Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(*range.start()))
        .maximum(Some(*range.end()))
}

/// Whether a text has no control characters.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Whether a text is plain and something in it can be seen.
pub(crate) fn is_not_blank(text: &str) -> bool {
    let shows =
        |c: char| !c.is_whitespace() && !INVISIBLE.iter().any(|invisible| invisible.contains(&c));
    is_plain(text) && text.chars().any(shows)
}

/// The most bytes of a reason.
const REASON_BYTES: usize = 1024;
/// What a reason must be.
const REASON_FORM: &str = "1 to 1024 bytes of plain text that is not blank";

/// Why something is done, for the audit log. What looks like a secret or personal data is redacted as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason(String);

impl Reason {
    /// What is recorded when no reason is given.
    pub(crate) fn none_given() -> Self {
        Self("none given".to_owned())
    }
}

/// The text of a reason, redacted, if it is in form.
#[must_use]
pub fn validate_reason(text: &str) -> Option<String> {
    (text.len() <= REASON_BYTES && is_not_blank(text)).then(|| redact_text(text))
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A text that is refused is not repeated: it has not been redacted.
        let given = || format!("empty, blank, not plain or too long ({} bytes)", text.len());
        validate_reason(&text)
            .map(Self)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Other(&given()), &REASON_FORM))
    }
}

field_schema! {
    /// Why something is done, for the audit log. What looks like a secret or personal data is redacted as it is read.
    Reason => text_schema(1..=REASON_BYTES, Some(NOT_BLANK))
}

text_field! {
    /// Who does it. With a token its name, which may be left out; without one `operator` if left out.
    Actor("1 to 128 bytes of plain text that is not blank", bytes: 1..=128, pattern: Some(NOT_BLANK), accepts: is_not_blank)
}

text_field! {
    /// A key. In a path it is one segment: `/` in it is written %2F.
    Key("1 to 256 bytes without control characters", bytes: 1..=256, pattern: Some(PLAIN), accepts: is_plain)
}

text_field! {
    /// A key under which a request is carried out once.
    IdempotencyKeyText("1 to 200 visible ASCII characters", bytes: 1..=200, pattern: Some(VISIBLE),
        accepts: |key| key.bytes().all(|byte| byte.is_ascii_graphic()))
}

integer_field! {
    /// A revision: from 1; 0 where there is none.
    RevisionNumber("a revision: a whole number, 0 or more", 0..=MAX_INTEGER)
}

integer_field! {
    /// The number of a version.
    VersionNumber("the number of a version", 0..=MAX_INTEGER)
}

integer_field! {
    /// A moment, in milliseconds since 1970 (UTC).
    Moment("milliseconds since 1970 (UTC)", 0..=MAX_INTEGER)
}

/// Any JSON value but `null`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NotNull(serde_json::Value);

impl From<NotNull> for serde_json::Value {
    fn from(value: NotNull) -> Self {
        value.0
    }
}

impl<'de> Deserialize<'de> for NotNull {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => {
                let form = "any JSON value but null";
                Err(D::Error::invalid_type(Unexpected::Unit, &form))
            }
            value => Ok(Self(value)),
        }
    }
}

field_schema! {
    /// Any JSON value but `null`.
    NotNull => any_schema()
}

/// Any JSON value that is kept: nested 127 deep at most; integers of more than 64 bits are refused.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct JsonValue(serde_json::Value);

impl JsonValue {
    /// The canonical text of the value of the field `value`.
    ///
    /// # Errors
    /// The value is too long.
    pub(crate) fn to_canonical(&self) -> Result<String, FieldError> {
        canonical_value("value", &self.0.to_string())
    }
}

field_schema! {
    /// Any JSON value that is kept: nested 127 deep at most, with integers of at most 64 bits.
    JsonValue => any_schema()
}

/// The schema of any JSON value. It says no more: a schema that named itself would have no type in most languages, and a client made from it would
/// not compile.
fn any_schema() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invisible_reason_counts_as_missing() {
        for blank in [
            "",
            "  ",
            "\u{200b}\u{feff}",
            "\u{115f}\u{1160}\u{3164}\u{ffa0}",
            "\u{301}\u{302}",
            "\u{2800}",
            " \u{200d} \u{e0061}",
            "\u{ad}\u{34f}",
        ] {
            assert_eq!(validate_reason(blank), None, "{blank:?}");
        }
        for reason in ["done", "7", "傾向", "e\u{301}", "…", "\u{3164}x"] {
            assert!(validate_reason(reason).is_some(), "{reason}");
        }
    }

    #[test]
    fn the_pattern_that_is_published_accepts_what_is_accepted() {
        let pattern = regex::Regex::new(NOT_BLANK).unwrap();
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            assert_eq!(
                pattern.is_match(&text),
                is_not_blank(&text),
                "U+{:04X}",
                u32::from(c)
            );
        }
    }
}
