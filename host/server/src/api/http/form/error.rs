//! What serde reports of a request, and how it becomes a [`FieldError`].

use std::fmt::Display;

use serde::de::{Error, Expected, Unexpected};
use serde_json::Value;

use ark_model::check::{FieldError, clip_for_error};
use ark_model::similar::find_similar;

/// Why an input does not fit a request's form.
#[derive(Debug)]
pub(super) enum FormError {
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
    pub(super) fn into_field_error(
        self,
        path: &str,
        describe: impl Fn(&str) -> Option<String>,
    ) -> FieldError {
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
                    suggest_name(&name, known),
                )
            }
            Self::Invalid { problem, remedy } => {
                let field = if path.is_empty() { "body" } else { path };
                let remedy = remedy
                    .or_else(|| {
                        // A description need not be what can be given ("of this agent"): it stands behind a colon.
                        describe(path).map(|it| format!("correct `{path}`: {}", sentence_part(&it)))
                    })
                    .unwrap_or_else(|| "see GET /docs for its form".to_owned());
                FieldError::new(field, problem, remedy)
            }
        }
    }

    /// A value that is not what is wanted.
    pub(super) fn invalid(value: &Value, wanted: &str) -> Self {
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
fn suggest_name(name: &str, known: &[&str]) -> String {
    match find_similar(name, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => "leave it out".to_owned(),
        None => format!("known are: {}", known.join(", ")),
    }
}

/// Choices as they are named in a remedy.
pub(super) fn join_choices(choices: &[&str]) -> String {
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
