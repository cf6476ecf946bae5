//! Members of the host's answers.

use serde_json::Value;

use crate::output::print_line;

/// The text of a member; empty if there is none.
pub(super) fn text_field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The items of a member; none if it is no list.
pub(super) fn array_field<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Whether a member is true.
pub(super) fn is_true(value: &Value, name: &str) -> bool {
    value.get(name) == Some(&Value::Bool(true))
}

/// Says how the next page is asked for, where there is one.
pub(super) fn print_next_cursor(page: &Value) {
    if let Some(cursor) = page["next_cursor"].as_str() {
        print_line!("more with --cursor {cursor}");
    }
}
