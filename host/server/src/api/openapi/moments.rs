//! The second form of moments in the document: a schema of an answer that has `decided_at_ms` has `decided_at` too.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::http::moments::moment_name;

/// Where the schemas are.
const SCHEMAS: &str = "#/components/schemas/";

/// Adds to the schemas of answers what [`crate::api::http::moments`] adds to answers. Requests do not have it.
pub(super) fn add_moments(document: &mut Value) {
    let mut of_requests = BTreeSet::new();
    for item in document["paths"]
        .as_object()
        .into_iter()
        .flat_map(|it| it.values())
    {
        for operation in item.as_object().into_iter().flat_map(|it| it.values()) {
            collect_schemas(document, &operation["requestBody"], &mut of_requests);
        }
    }
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else {
        return;
    };
    for (name, schema) in schemas {
        if !of_requests.contains(name) {
            add_to_schema(schema);
        }
    }
}

/// Collects the names of the schemas that a value refers to, directly or through others.
fn collect_schemas(document: &Value, value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let name = object
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|to| to.strip_prefix(SCHEMAS));
            if let Some(name) = name
                && names.insert(name.to_owned())
            {
                collect_schemas(document, &document["components"]["schemas"][name], names);
            }
            for value in object.values() {
                collect_schemas(document, value, names);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect_schemas(document, item, names);
            }
        }
        _ => {}
    }
}

fn add_to_schema(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get_mut("properties") {
                let names: Vec<String> = properties
                    .keys()
                    .filter_map(|field| moment_name(field).map(str::to_owned))
                    .collect();
                for name in names {
                    let description = format!(
                        "`{name}_ms` as RFC 3339 in UTC; absent where that is absent or `null`."
                    );
                    let moment = json!({"type": "string", "format": "date-time", "description": description});
                    properties.insert(name, moment);
                }
            }
            for value in object.values_mut() {
                add_to_schema(value);
            }
        }
        Value::Array(items) => {
            for item in items {
                add_to_schema(item);
            }
        }
        _ => {}
    }
}
