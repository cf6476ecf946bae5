//! The forms of single fields, and of objects made of them.

use serde_json::{Map, Value, json};

/// The most that the database's integers hold.
pub(super) const MOST: u64 = 9_223_372_036_854_775_807;
/// Plain text: no control characters.
pub(super) const PLAIN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// Plain text that is not only white space.
const WORDS: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";
pub(super) const NAME: &str = "#/components/schemas/Name";
pub(super) const SYMBOL: &str = "^[A-Za-z0-9._/:-]{1,32}$";
pub(super) const TOPIC: &str = r"^(?!ark\.)[a-z][a-z0-9._-]{0,127}$";
pub(super) const VISIBLE: &str = "^[!-~]{1,200}$";
/// Base64 with padding, and no bits behind the last byte.
pub(super) const BASE64: &str =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// The same, or `null`, or left out.
pub(super) fn or_null(schema: Value) -> Value {
    match schema {
        Value::Object(mut object) if object.contains_key("type") => {
            object.insert("type".to_owned(), json!([object["type"], "null"]));
            if let Some(Value::Array(values)) = object.get_mut("enum") {
                values.push(Value::Null);
            }
            Value::Object(object)
        }
        other => other,
    }
}

pub(super) fn name(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$", "description": description})
}

pub(super) fn trace_id(description: &str) -> Value {
    json!({"type": "string", "pattern": "^(?!0{32})[0-9a-f]{32}$", "description": description})
}

pub(super) fn text(description: &str, most: usize) -> Value {
    json!({"type": "string", "maxLength": most, "description": description})
}

pub(super) fn plain(description: &str, most: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": most, "pattern": PLAIN, "description": description})
}

pub(super) fn words(description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 1024, "pattern": WORDS, "description": description})
}

pub(super) fn flag(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

pub(super) fn number(description: &str, bounds: &Value) -> Value {
    let mut schema = json!({"type": "number", "description": description});
    if let (Some(schema), Some(bounds)) = (schema.as_object_mut(), bounds.as_object()) {
        schema.extend(bounds.clone());
    }
    schema
}

pub(super) fn whole(description: &str, least: u64, most: u64) -> Value {
    json!({"type": "integer", "format": "int64", "minimum": least, "maximum": most, "description": description})
}

pub(super) fn reference(name: &str, description: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}"), "description": description})
}

pub(super) fn one_of(description: &str, values: &[&str]) -> Value {
    json!({"type": "string", "enum": values, "description": description})
}

/// A JSON object of these fields and no others.
pub(super) fn closed(
    description: &str,
    required: &[(&str, Value)],
    optional: &[(&str, Value)],
) -> Value {
    let mut properties: Map<String, Value> = required
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    for (name, schema) in optional {
        properties.insert((*name).to_owned(), or_null(schema.clone()));
    }
    let required: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

pub(super) fn by() -> (&'static str, Value) {
    let what = "Who does it. With a token its name, which may be left out; without one `operator` if left out.";
    ("by", words_of(what, 128))
}

pub(super) fn updated_by() -> (&'static str, Value) {
    let what = "Who does it. With a token its name, which may be left out; without one `operator` if left out.";
    ("updated_by", plain(what, 128))
}

fn words_of(description: &str, most: usize) -> Value {
    let mut schema = words(description);
    schema["maxLength"] = json!(most);
    schema
}

pub(super) fn reason() -> (&'static str, Value) {
    ("reason", words("Why, for the audit log."))
}

pub(super) fn expected_revision() -> (&'static str, Value) {
    let what = "The revision that must still be the latest; 0: there must be none. In place of `If-Match` or `If-None-Match`.";
    ("expected_revision", whole(what, 0, MOST))
}

pub(super) fn settings() -> (&'static str, Value) {
    let what =
        "Its settings, of which it says itself what they may be; none if left out. 64 KiB at most.";
    let any = json!({"$ref": "#/components/schemas/JsonValue"});
    (
        "settings",
        json!({"type": "object", "additionalProperties": any, "description": what}),
    )
}

pub(super) fn mode() -> (&'static str, Value) {
    let what = "Whether its verdicts count (`enforce`, also if left out) or are recorded and compared (`shadow`).";
    ("mode", one_of(what, &["enforce", "shadow"]))
}

pub(super) fn place() -> (&'static str, Value) {
    let what = "Its place among the others: lower ones are asked first, equal ones by name.";
    (
        "order",
        whole(what, 0, u64::from(crate::policies::LAST_PLACE)),
    )
}

/// A change of a policy that changes this at least. Settings can be taken away: `null` is one.
pub(super) fn revised(required: &(&'static str, Value)) -> Value {
    let mut required = required.clone();
    if required.0 == "settings" {
        required.1 = or_null(required.1);
    }
    let others = [settings(), mode(), place()]
        .into_iter()
        .filter(|(name, _)| *name != required.0);
    let common = [expected_revision(), reason(), by()];
    let optional: Vec<_> = others.chain(common).collect();
    closed("What is to be different.", &[required], &optional)
}

pub(super) fn value() -> (&'static str, Value) {
    let what =
        "Any JSON value, nested 127 deep at most; integers of more than 64 bits are refused.";
    let mut schema = reference("JsonValue", what);
    schema["description"] = json!(what);
    ("value", schema)
}

pub(super) fn json_value() -> Value {
    let own = json!({"$ref": "#/components/schemas/JsonValue"});
    json!({
        "description": "A JSON value whose integers fit 64 bits.",
        "anyOf": [
            {"type": ["null", "boolean", "string"]},
            {"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX},
            {"type": "number"},
            {"type": "array", "items": own},
            {"type": "object", "additionalProperties": own},
        ],
    })
}
