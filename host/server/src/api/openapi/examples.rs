//! Examples made from the document: values that fit a schema, and each call as a command line.

use serde_json::{Map, Value, json};

/// How deep values are nested at most: schemas may refer to each other.
const MAX_DEPTH: usize = 5;
/// Values of schemas whose form a generated text would not have.
const KNOWN: [(&str, &str); 8] = [
    ("Name", "kenny"),
    ("DecisionId", "019a0000-0000-7000-8000-000000000001"),
    ("AuditId", "019a0000-0000-7000-8000-000000000002"),
    ("SignalId", "019a0000-0000-7000-8000-000000000003"),
    ("TraceId", "0af7651916cd43dd8448eb211c80319c"),
    (
        "Digest",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ),
    ("Actor", "ada"),
    ("Reason", "checked by hand"),
];

/// Which fields of an object an example has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those that must be given.
    Required,
    /// All fields of the form.
    All,
}

/// A value that fits a schema.
pub(super) fn sample_value(document: &Value, schema: &Value, extent: Extent) -> Value {
    sample_at(document, schema, extent, MAX_DEPTH)
}

fn sample_at(document: &Value, schema: &Value, extent: Extent, depth: usize) -> Value {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap_or(to);
        if let Some((_, known)) = KNOWN.iter().find(|(known, _)| *known == name) {
            return json!(known);
        }
        let target = to.strip_prefix('#').and_then(|it| document.pointer(it));
        return match target {
            Some(target) if depth > 0 => sample_at(document, target, extent, depth - 1),
            _ => json!({}),
        };
    }
    let given = [
        schema.get("example"),
        schema["examples"].get(0),
        schema.get("default"),
        schema["enum"].get(0),
    ];
    if let Some(given) = given.into_iter().flatten().next() {
        return given.clone();
    }
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(first) = schema[alternatives].get(0) {
            return sample_at(document, first, extent, depth);
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = Map::new();
        for part in parts {
            if let Value::Object(fields) = sample_at(document, part, extent, depth) {
                whole.extend(fields);
            }
        }
        return Value::Object(whole);
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or("null"),
        _ => return json!("any value"),
    };
    match kind {
        "object" => sample_object(document, schema, extent, depth),
        "array" if depth == 0 => json!([]),
        "array" => json!([sample_at(document, &schema["items"], extent, depth - 1)]),
        "boolean" => json!(true),
        "integer" => sample_integer(schema),
        "number" => json!(0.05),
        "string" => sample_text(schema),
        _ => Value::Null,
    }
}

fn sample_object(document: &Value, schema: &Value, extent: Extent, depth: usize) -> Value {
    let required = schema["required"].as_array();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let fields = properties.filter(|(name, _)| {
        let is_required = required.is_some_and(|all| all.iter().any(|one| one == name.as_str()));
        depth > 0 && (is_required || extent == Extent::All)
    });
    let fields = fields.map(|(name, property)| {
        let value = sample_at(document, property, extent, depth - 1);
        (name.clone(), value)
    });
    Value::Object(fields.collect())
}

fn sample_integer(schema: &Value) -> Value {
    let least = schema["minimum"].as_u64().unwrap_or(1);
    let most = schema["maximum"].as_u64().unwrap_or(u64::MAX);
    json!(5.max(least).min(most))
}

fn sample_text(schema: &Value) -> Value {
    match schema["format"].as_str() {
        Some("date-time") => json!("2026-11-27T05:44:07.000Z"),
        Some("moment") => json!("2026-11-27T00:00:00Z"),
        Some("symbol") => json!("BTC-USD"),
        _ if schema["pattern"]
            .as_str()
            .is_some_and(|it| it.contains("a-z")) =>
        {
            json!("kenny")
        }
        _ => json!("text"),
    }
}

/// A call as a command line of `curl`.
pub(super) fn render_curl(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let mut target = path.to_owned();
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    for parameter in parameters.filter(|parameter| parameter["in"] == "path") {
        let name = parameter["name"].as_str().unwrap_or_default();
        let value = match sample_value(document, &parameter["schema"], Extent::Required) {
            Value::String(text) => text,
            other => other.to_string(),
        };
        target = target.replace(&format!("{{{name}}}"), &value);
    }
    let mut command = String::from("curl -s");
    if method != "GET" {
        command.push_str(" -X ");
        command.push_str(method);
    }
    command.push_str(" localhost:8000");
    command.push_str(&target);
    if operation["security"].get(0).is_some() {
        command.push_str(" \\\n  -H \"authorization: Bearer $ARK_TOKEN\"");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if body.is_object() {
        let body = sample_value(document, body, Extent::Required);
        let body = format!("{body:#}").replace('\'', "'\\''");
        command.push_str(" \\\n  -H 'content-type: application/json' -d '");
        command.push_str(&body);
        command.push('\'');
    }
    command
}

/// The JSON of a call's answer.
pub(super) fn find_answer(document: &Value, operation: &Value) -> Option<String> {
    let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
    let is_described = schema.as_object().is_some_and(|schema| !schema.is_empty());
    is_described.then(|| format!("{:#}", sample_value(document, schema, Extent::All)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_follow_the_schema_and_end() {
        let document = json!({"components": {"schemas": {
            "Tree": {"type": "object", "required": ["name"], "properties": {
                "name": {"$ref": "#/components/schemas/Name"},
                "leaf": {"type": ["string", "null"], "enum": ["green", null]},
                "next": {"$ref": "#/components/schemas/Tree"},
                "sizes": {"type": "array", "items": {"type": "number"}},
            }},
            "Name": {"type": "string"},
        }}});
        let tree = json!({"$ref": "#/components/schemas/Tree"});
        let least = sample_value(&document, &tree, Extent::Required);
        assert_eq!(least, json!({"name": "kenny"}));
        let whole = sample_value(&document, &tree, Extent::All);
        assert_eq!(whole["leaf"], "green");
        assert_eq!(whole["sizes"], json!([0.05]));
        assert_eq!(whole["next"]["name"], "kenny");
        let operation = json!({
            "security": [{"token": []}],
            "parameters": [{"in": "path", "name": "name", "schema": {"$ref": "#/components/schemas/Name"}}],
            "requestBody": {"content": {"application/json": {"schema": {"type": "string", "example": "it's"}}}},
        });
        assert_eq!(
            render_curl(&document, "PUT", "/v1/trees/{name}", &operation),
            "curl -s -X PUT localhost:8000/v1/trees/kenny \\\n  -H \"authorization: Bearer $ARK_TOKEN\" \\\n  \
             -H 'content-type: application/json' -d '\"it'\\''s\"'"
        );
    }
}
