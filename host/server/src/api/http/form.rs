//! Reads typed requests: from the JSON document of a body, and from the texts of a path, a query or headers.
//!
//! A request is a type that derives `Deserialize`; this module hands it its input and turns what serde reports into a [`FieldError`]: the
//! field, what is wrong with it and what would be right. A type says what would be right in the `expected` part of its own serde errors
//! (see [`super::fields`]), so nothing here parses a message.
//!
//! What differs from `serde_json`: `5.0` is an integer, as JSON means it.

use std::fmt::Display;

use serde::de::value::{
    MapAccessDeserializer, MapDeserializer, SeqDeserializer, StringDeserializer,
};
use serde::de::{
    DeserializeOwned, Deserializer, Error, Expected, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Number, Value};

use ark_model::check::{FieldError, clip_for_error};

/// A name that is at least this similar (Jaro-Winkler, 0 to 1) to an unknown one is suggested in its place.
const SIMILAR: f64 = 0.8;

/// The largest integer up to which every integer is a double: 2^53.
const MAX_EXACT_DOUBLE: f64 = 9_007_199_254_740_992.0;

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

/// Why an input does not fit a request's form.
#[derive(Debug)]
pub(crate) enum FormError {
    /// A required field is absent.
    Missing(&'static str),
    /// A field that the form does not have.
    Unknown {
        /// The name as it was given.
        name: String,
        /// The names the form has.
        known: &'static [&'static str],
    },
    /// A value of another type, or out of its range.
    Invalid {
        /// What the value is.
        problem: String,
        /// What would be right, if the type says it.
        remedy: Option<String>,
    },
}

impl FormError {
    /// The error at the field where it occurred. `path` is the path to the value being read, `.` for the whole input.
    fn into_field_error(self, path: &str, describe: impl Fn(&str) -> Option<String>) -> FieldError {
        let path = match path {
            "." => "",
            path => path,
        };
        match self {
            Self::Missing(name) => {
                let remedy = if path.is_empty() {
                    describe(name)
                } else {
                    None
                };
                let field = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                };
                let remedy = remedy.map_or_else(
                    || format!("add `{name}`"),
                    |description| format!("add `{name}`: {}", sentence_part(&description)),
                );
                FieldError::new(field, "is missing", remedy)
            }
            Self::Unknown { name, known } => {
                let field = if path.is_empty() { &name } else { path };
                FieldError::new(
                    clip_for_error(field),
                    "unknown field",
                    suggest(&name, known),
                )
            }
            Self::Invalid { problem, remedy } => {
                let field = if path.is_empty() { "body" } else { path };
                let remedy = remedy
                    .or_else(|| describe(path).map(|it| format!("give {}", sentence_part(&it))))
                    .unwrap_or_else(|| "see GET /docs for its form".to_owned());
                FieldError::new(field, problem, remedy)
            }
        }
    }

    fn invalid(value: &Value, wanted: &str) -> Self {
        Self::Invalid {
            problem: format!("is {}", describe_value(value)),
            remedy: Some(format!("give {wanted}")),
        }
    }
}

impl Display for FormError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "`{name}` is missing"),
            Self::Unknown { name, .. } => write!(f, "unknown field `{}`", clip_for_error(name)),
            Self::Invalid { problem, .. } => f.write_str(problem),
        }
    }
}

impl std::error::Error for FormError {}

impl Error for FormError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Invalid {
            problem: message.to_string(),
            remedy: None,
        }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(unexpected, expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let wanted = match expected.as_str() {
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more, within its range",
            "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number within its range",
            other => other,
        };
        Self::Invalid {
            problem: format!("is {}", describe_unexpected(unexpected)),
            remedy: Some(format!("give {wanted}")),
        }
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::Invalid {
            problem: format!("has {length} items"),
            remedy: Some(format!("give {expected}")),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::Invalid {
            problem: format!("is {:?}", clip_for_error(variant)),
            remedy: Some(format!("give {}", join_choices(expected))),
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::Unknown {
            name: field.to_owned(),
            known: expected,
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Invalid {
            problem: format!("has `{field}` more than once"),
            remedy: Some("give each name once".to_owned()),
        }
    }
}

/// What to do about an unknown name: the known name that is most like it, or else every known one.
pub(crate) fn suggest(name: &str, known: &[&str]) -> String {
    let closest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match closest {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => "leave it out".to_owned(),
        None => format!("known are: {}", known.join(", ")),
    }
}

fn join_choices(choices: &[&str]) -> String {
    match choices {
        [] => "something else".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A description as the end of a sentence: without its full stop, its first letter small.
fn sentence_part(description: &str) -> String {
    let text = description.trim().trim_end_matches('.');
    let mut letters = text.chars();
    let second_is_small = letters.clone().nth(1).is_none_or(|c| !c.is_uppercase());
    match letters.next() {
        Some(first) if second_is_small => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// A value as it is named in an error.
pub(crate) fn describe_value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {:?}", clip_for_error(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn describe_unexpected(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Bool(flag) => flag.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => format!("{:?}", clip_for_error(text)),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Other(text) => text.to_owned(),
        other => other.to_string(),
    }
}

/// A JSON value as the input of a request's form.
struct JsonInput(Value);

impl IntoDeserializer<'_, FormError> for JsonInput {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl JsonInput {
    /// The number as an integer, if it is one.
    fn to_integer(&self) -> Option<Number> {
        let number = self.0.as_number()?;
        if number.is_u64() || number.is_i64() {
            return Some(number.clone());
        }
        let double = number.as_f64()?;
        let exact = double.fract() == 0.0 && double.abs() <= MAX_EXACT_DOUBLE;
        exact.then(|| format!("{double:.0}").parse().ok())?
    }

    fn visit_integer<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        wanted: &str,
    ) -> Result<V::Value, FormError> {
        let Some(number) = self.to_integer() else {
            return Err(FormError::invalid(&self.0, wanted));
        };
        match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => visitor.visit_u64(number),
            (None, Some(number)) => visitor.visit_i64(number),
            (None, None) => Err(FormError::invalid(&self.0, wanted)),
        }
    }
}

/// Methods for the types of one kind: the value is visited if it is of this kind, refused with what is wanted otherwise.
macro_rules! deserialize_kinds {
    ($($method:ident: $check:ident, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
            if self.0.$check() {
                self.deserialize_any(visitor)
            } else {
                Err(FormError::invalid(&self.0, $wanted))
            }
        }
    )*};
}

/// Methods for the integer types.
macro_rules! deserialize_integers {
    ($($method:ident)*: $wanted:literal) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
            self.visit_integer(visitor, $wanted)
        }
    )*};
}

impl<'de> Deserializer<'de> for JsonInput {
    type Error = FormError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::String(text) => visitor.visit_string(text),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, Some(number)) => visitor.visit_f64(number),
                (None, None, None) => Err(FormError::invalid(
                    &Value::Number(number),
                    "a number that fits a double",
                )),
            },
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(JsonInput)))
            }
            Value::Object(fields) => {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name, JsonInput(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            value => visitor.visit_some(Self(value)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(StringDeserializer::new(text)),
            Value::Object(fields) => {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name, JsonInput(value)));
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(fields)))
            }
            other => Err(FormError::invalid(&other, &join_choices(variants))),
        }
    }

    deserialize_kinds! {
        deserialize_bool: is_boolean, "true or false";
        deserialize_f32: is_number, "a number";
        deserialize_f64: is_number, "a number";
        deserialize_str: is_string, "a string";
        deserialize_string: is_string, "a string";
        deserialize_seq: is_array, "a list";
        deserialize_map: is_object, "a JSON object";
    }
    deserialize_integers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64: "a whole number, 0 or more"
    }
    deserialize_integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64: "a whole number"
    }
    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The text of a parameter as the input of a request's form.
struct TextInput(String);

impl IntoDeserializer<'_, FormError> for TextInput {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl TextInput {
    fn parse<T: std::str::FromStr>(&self, wanted: &str) -> Result<T, FormError> {
        self.0.parse().map_err(|_| FormError::Invalid {
            problem: format!("is {:?}", clip_for_error(&self.0)),
            remedy: Some(format!("give {wanted}")),
        })
    }
}

/// Methods that parse the text as the type a visitor wants.
macro_rules! parse_texts {
    ($($method:ident, $visit:ident, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
            visitor.$visit(self.parse($wanted)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for TextInput {
    type Error = FormError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        visitor.visit_enum(StringDeserializer::new(self.0))
    }

    parse_texts! {
        deserialize_bool, visit_bool, "true or false";
        deserialize_u8, visit_u8, "a whole number, 0 or more";
        deserialize_u16, visit_u16, "a whole number, 0 or more";
        deserialize_u32, visit_u32, "a whole number, 0 or more";
        deserialize_u64, visit_u64, "a whole number, 0 or more";
        deserialize_i8, visit_i8, "a whole number";
        deserialize_i16, visit_i16, "a whole number";
        deserialize_i32, visit_i32, "a whole number";
        deserialize_i64, visit_i64, "a whole number";
        deserialize_f32, visit_f32, "a number";
        deserialize_f64, visit_f64, "a number";
    }
    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::api::http::fields::{Actor, Key, RevisionNumber};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct Form {
        key: Key,
        revision: Option<RevisionNumber>,
        by: Option<Actor>,
        parts: Option<Vec<Part>>,
        on: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct Part {
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
