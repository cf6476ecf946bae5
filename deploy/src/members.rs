//! Members of the host's answers.

use serde_json::Value;

/// The text of a member; empty if there is none.
pub(crate) fn text_of(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// The items of a member; none if it is no list.
pub(crate) fn items_of<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let items = value.get(name).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}
