//! Members of the host's answers.

use serde_json::Value;

/// Returns the text of a member; empty if there is none.
#[must_use]
pub fn text_field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the items of a member; none if it is not a list.
#[must_use]
pub fn array_field<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let items = value.get(name).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

/// Returns whether a member is true.
#[must_use]
pub fn is_true(value: &Value, name: &str) -> bool {
    value.get(name) == Some(&Value::Bool(true))
}
