//! The reading of JSON documents from outside.

use ark_json::read_json;
use serde_json::Value;

use crate::check::{FieldError, clip_for_error};

/// Reads a JSON document in which no object has the same key twice and every integer fits 64 bits.
///
/// # Errors
/// As [`ark_json::read_json`]. The error names the field in which reading stopped, or `body` outside of any field.
pub fn parse_json(body: &[u8]) -> Result<Value, FieldError> {
    read_json(body).map_err(|error| {
        let field = match error.path.as_str() {
            "" => "body".to_owned(),
            path => clip_for_error(path),
        };
        FieldError::new(field, error.problem.to_string(), error.problem.remedy())
    })
}
