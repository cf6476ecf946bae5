//! JSON from outside, as checks see it: read by [`ark_json`], an error naming the field.

use ark_json::{JsonError, read_json};
use serde_json::Value;

use crate::action::Family;

use super::error::FieldError;
use super::fields::{MAX_OPEN_JSON, MAX_TEXT, check_text_length, find_resembling_field};
use super::text::clip_for_error;

/// Parses one JSON value. The text form of the result is canonical: object keys sorted, no white space, every type as it was given.
///
/// # Errors
/// The text is longer than [`MAX_TEXT`], is not JSON, is nested more than 127 deep, gives a key twice, or has a number that would be rounded
/// to another. The error names `field` and the path in it.
pub fn canonical_json(field: &str, json: &str) -> Result<Value, FieldError> {
    check_text_length(field, json, MAX_TEXT)?;
    read_json_field(field, json)
}

/// As [`canonical_json`], for a text of any length.
///
/// # Errors
/// As [`canonical_json`].
pub fn read_json_field(field: &str, json: &str) -> Result<Value, FieldError> {
    read_json(json.as_bytes()).map_err(|error| json_field_error(field, &error))
}

/// The error at the field whose text it is about.
fn json_field_error(field: &str, error: &JsonError) -> FieldError {
    let path = clip_for_error(&error.path);
    let field = match path.as_bytes().first() {
        None => field.to_owned(),
        Some(b'[') => format!("{field}{path}"),
        Some(_) => format!("{field}.{path}"),
    };
    FieldError::new(field, error.problem.to_string(), error.problem.remedy())
}

/// Checks extra JSON and replaces it with its canonical text. No key may be that of a typed field of the family, in whatever spelling: a value
/// must be given in one place only, so that what a rule reads is what an executor reads.
pub(super) fn check_extra_json(json: &mut String, family: Family) -> Result<(), FieldError> {
    if json == "{}" {
        return Ok(());
    }
    check_text_length("parameters", json, MAX_OPEN_JSON)?;
    let value = canonical_json("parameters", json)?;
    let Some(object) = value.as_object() else {
        return Err(FieldError::new(
            "parameters",
            "has extra JSON that is not an object",
            "give a JSON object",
        ));
    };
    for key in object.keys() {
        let Some(typed) = find_resembling_field(family, key) else {
            continue;
        };
        let (problem, remedy) = if key == typed {
            let problem = "is given both as a typed parameter and in the extra JSON".to_owned();
            (problem, "give it once, typed".to_owned())
        } else {
            let problem = format!("is another spelling of the typed parameter `{typed}`");
            (problem, format!("give `{typed}`"))
        };
        let field = format!("parameters.{}", clip_for_error(key));
        return Err(FieldError::new(field, problem, remedy));
    }
    *json = value.to_string();
    Ok(())
}
