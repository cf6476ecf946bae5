//! The one strict reading of JSON documents from outside.

use serde_json::Value;

use crate::check::{FieldError, clip_for_error};
use crate::json::UniqueKeysJson;

/// Reads a JSON document in which no object has the same key twice.
///
/// # Errors
/// The text is not JSON, is nested more than 127 deep, or has an object with the same key twice. The error names the field in which reading
/// stopped, or `body` outside of any field.
pub fn parse_json(body: &[u8]) -> Result<Value, FieldError> {
    let read = serde_json::from_slice::<UniqueKeysJson>(body);
    read.map(|document| document.0).map_err(|error| {
        // Read again with path tracking, so that only a request that fails pays for it.
        let deserializer = &mut serde_json::Deserializer::from_slice(body);
        let located = serde_path_to_error::deserialize::<_, UniqueKeysJson>(deserializer)
            .err()
            .map(|e| e.path().to_string());
        // `?` stands for a key that was not read to its end.
        let field = located
            .as_deref()
            .map(|path| path.trim_end_matches(['?', '.']))
            .filter(|path| !path.is_empty());
        let field = field.map_or_else(|| "body".to_owned(), clip_for_error);
        if error.is_data() {
            return FieldError::new(field, error.to_string(), "give each key once");
        }
        FieldError::new(
            field,
            format!("is not JSON: {error}"),
            "send one JSON object in UTF-8, nested 127 deep at most",
        )
    })
}
