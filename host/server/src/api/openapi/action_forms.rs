//! The forms of actions as JSON Schema, made from the built-in action types and typed fields that `ark_model::action` states: what
//! `ark_model::form::parse_action` lets pass, for readers of the document. That both say the same is tested with data made from these forms
//! (`tests/tests/system/api/openapi.rs`).
//!
//! `null` counts as left out, so every field that may be left out may be `null` too. Where a text's length is counted in bytes, `maxLength`
//! is the most characters that allows.

use serde_json::{Map, Value, json};

use ark_model::action::{BUILT_IN_TYPES, Family, FieldForm, TypedField};
use ark_model::instrument::MAX_SYMBOL_CHARS;

use crate::api::http::fields::{PLAIN, SYMBOL, SYMBOL_FORMAT, VISIBLE};

/// A topic that is not the host's own.
const TOPIC: &str = r"^(?!ark\.)[a-z][a-z0-9._-]{0,127}$";

/// The schema of any JSON value that is kept.
const JSON_VALUE: &str = "#/components/schemas/JsonValue";

/// The schema of the choice of criticalities.
const CRITICALITY: &str = "#/components/schemas/Criticality";

/// The forms of the families, of any action, and of a batch, by their names.
pub(super) fn all_forms() -> Vec<(String, Value)> {
    let mut forms: Vec<(String, Value)> = action_forms()
        .into_iter()
        .map(|(name, form)| (name.to_owned(), form))
        .collect();
    let references: Vec<Value> = forms
        .iter()
        .map(|(name, _)| json!({"$ref": format!("#/components/schemas/{name}")}))
        .collect();
    // One key stands for the whole batch.
    let batched: Vec<(String, Value)> = forms
        .iter()
        .map(|(name, form)| {
            let mut form = form.clone();
            if let Some(properties) = form["properties"].as_object_mut() {
                properties.remove("idempotency_key");
            }
            (format!("Batched{name}"), form)
        })
        .collect();
    let batched_references: Vec<Value> = batched
        .iter()
        .map(|(name, _)| json!({"$ref": format!("#/components/schemas/{name}")}))
        .collect();
    forms.extend(batched);
    forms.push((
        "BatchedAction".to_owned(),
        json!({
            "description": "An action of a batch: as one that is proposed alone, without a key of its own.",
            "oneOf": batched_references,
        }),
    ));
    forms.push((
        "ActionRequest".to_owned(),
        json!({
            "description": "An action that is proposed. Which parameters it takes follows from its type.",
            "oneOf": references,
            "examples": [{
                "agent": "api",
                "action_type": "buy",
                "parameters": {
                    "symbol": "BTC-USD", "position_size_pct": 0.05, "entry_price": 100.0, "stop_loss": 95.0, "risk_reward_ratio": 2.5,
                },
                "reasoning": "momentum",
            }, {
                "agent": "api",
                "action_type": "execute_code",
                "parameters": {"language": "python", "code": "print(6 * 7)"},
                "reasoning": "a calculation that a person must approve first (rule 11)",
            }],
        }),
    ));
    let key = json!({"type": "string", "pattern": VISIBLE, "description": "As the header Idempotency-Key."});
    forms.push((
        "BatchRequest".to_owned(),
        closed_schema(
            "Actions that are judged in their order and recorded together.",
            &[("actions", json!({"type": "array", "minItems": 1, "maxItems": 100, "items": {"$ref": "#/components/schemas/BatchedAction"}}))],
            &[("idempotency_key", key)],
        ),
    ));
    forms
}

/// The parameters of a family: the fields that rules read, and any others, which only policies of the operator read.
fn parameters_schema(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let mut schema = closed_schema(
        "What rules read, and whatever else an operator's policy reads: 16 KiB of JSON at most.",
        required,
        optional,
    );
    schema["additionalProperties"] = json!({"$ref": JSON_VALUE});
    schema
}

fn family_schema(
    description: &str,
    types: &Value,
    needs_parameters: bool,
    parameters: &Value,
) -> Value {
    let mut action_type = json!({"type": "string", "description": "What is to be done."});
    if let (Some(action_type), Some(types)) = (action_type.as_object_mut(), types.as_object()) {
        action_type.extend(types.clone());
    }
    let mut required = vec![
        (
            "agent",
            reference_schema("Name", "Who proposes: a loaded agent or a submitter."),
        ),
        ("action_type", action_type),
    ];
    let mut optional = vec![
        ("reasoning", text_schema("Why (rule 24).", 65_536)),
        (
            "sources",
            json!({"type": "array", "maxItems": 64, "items": plain_schema("A source.", 256), "description": "Names of the data sources it rests on (rule 21)."}),
        ),
        (
            "reversible",
            flag_schema("It can be undone; true if left out."),
        ),
        (
            "rollback_plan",
            text_schema("How it would be undone (rule 25).", 65_536),
        ),
        (
            "external",
            flag_schema("It acts outside the host; if left out, by its kind."),
        ),
        (
            "criticality",
            json!({"$ref": CRITICALITY, "description": "How much depends on it; normal if left out."}),
        ),
        (
            "trace_id",
            trace_id("The trace to join; else that of `traceparent`, else a fresh one."),
        ),
        (
            "idempotency_key",
            json!({"type": "string", "pattern": VISIBLE, "description": "As the header Idempotency-Key."}),
        ),
    ];
    if needs_parameters {
        required.push(("parameters", parameters.clone()));
    } else {
        optional.push(("parameters", parameters.clone()));
    }
    closed_schema(description, &required, &optional)
}

/// The built-in action types of a family, but for those that have a form of their own.
fn types_of(family: Family, without: &[&str]) -> Value {
    let types: Vec<&str> = BUILT_IN_TYPES
        .iter()
        .filter(|(name, of)| *of == family && !without.contains(name))
        .map(|(name, _)| *name)
        .collect();
    json!({"enum": types})
}

/// The form of each family of actions.
fn action_forms() -> Vec<(&'static str, Value)> {
    let only = |action_type: &str| json!({"enum": [action_type]});
    let built_in: Vec<&str> = BUILT_IN_TYPES.iter().map(|(name, _)| *name).collect();
    let declared = format!("^(?!(?:{})$)[a-z][a-z0-9_.-]{{0,63}}$", built_in.join("|"));
    let open = || parameters_schema(&[], &[]);
    let form = |name, description, types: Value, needs_parameters, parameters: Value| {
        let form = family_schema(description, &types, needs_parameters, &parameters);
        (name, form)
    };
    vec![
        form(
            "TradeForm",
            "A trade.",
            types_of(Family::Trade, &["buy", "sell"]),
            true,
            typed_parameters(Family::Trade, None),
        ),
        form(
            "BuyForm",
            "A purchase.",
            only("buy"),
            true,
            typed_parameters(Family::Trade, Some(("side", &["buy"]))),
        ),
        form(
            "SellForm",
            "A sale.",
            only("sell"),
            true,
            typed_parameters(Family::Trade, Some(("side", &["sell"]))),
        ),
        form(
            "CloseForm",
            "A position is closed, wholly or in part.",
            types_of(Family::ClosePosition, &[]),
            true,
            typed_parameters(Family::ClosePosition, None),
        ),
        form(
            "DataForm",
            "Something is done with data.",
            types_of(Family::Data, &[]),
            false,
            typed_parameters(Family::Data, Some(("operation", &[]))),
        ),
        form(
            "FileForm",
            "Something is done to a file.",
            types_of(Family::File, &["delete", "remove"]),
            true,
            typed_parameters(Family::File, None),
        ),
        form(
            "DeleteForm",
            "A file is deleted.",
            only("delete"),
            true,
            typed_parameters(Family::File, Some(("operation", &["delete", "destroy"]))),
        ),
        form(
            "RemoveForm",
            "A file is removed.",
            only("remove"),
            true,
            typed_parameters(Family::File, Some(("operation", &["remove", "destroy"]))),
        ),
        form(
            "CodeForm",
            "Code is run.",
            types_of(Family::Code, &[]),
            true,
            typed_parameters(Family::Code, None),
        ),
        form(
            "MessageForm",
            "A message is sent.",
            types_of(Family::Message, &[]),
            false,
            typed_parameters(Family::Message, None),
        ),
        form(
            "SystemForm",
            "An attempt on the system itself. It is judged, and never carried out by the host.",
            types_of(Family::System, &[]),
            false,
            open(),
        ),
        form(
            "CustomForm",
            "An action of a type that the operator declares, with the parameters of its declaration. An action of a type that is neither built in nor declared is denied.",
            json!({"pattern": declared}),
            false,
            open(),
        ),
    ]
}

/// The typed parameters of a family. `implied` is the field that the action types of the form imply, with the values they allow; without one
/// the field cannot be given.
fn typed_parameters(family: Family, implied: Option<(&str, &'static [&'static str])>) -> Value {
    let mut required = Vec::new();
    let mut optional = Vec::new();
    let mut implied_only = None;
    for field in family.typed_fields() {
        match implied {
            Some((name, [])) if name == field.name => implied_only = Some(name),
            Some((name, values)) if name == field.name => {
                optional.push((field.name, one_of(field.description, values)));
            }
            _ if field.required => required.push((field.name, field_schema(field))),
            _ => optional.push((field.name, field_schema(field))),
        }
    }
    let mut schema = parameters_schema(&required, &optional);
    if let Some(name) = implied_only {
        // It follows from the action type; given twice, the two could differ.
        schema["properties"][name] = json!({"not": {}});
    }
    schema
}

fn field_schema(field: &TypedField) -> Value {
    let what = field.description;
    match field.form {
        FieldForm::Symbol => {
            json!({"type": "string", "format": SYMBOL_FORMAT, "minLength": 1, "maxLength": MAX_SYMBOL_CHARS, "pattern": SYMBOL, "description": what})
        }
        FieldForm::Fraction => number_schema(what, &json!({"minimum": 0, "maximum": 1})),
        FieldForm::Positive => number_schema(what, &json!({"exclusiveMinimum": 0})),
        FieldForm::NotNegative => number_schema(what, &json!({"minimum": 0})),
        FieldForm::Number => number_schema(what, &json!({})),
        FieldForm::Flag => flag_schema(what),
        FieldForm::Choice(values) => one_of(what, values),
        FieldForm::Label => plain_schema(what, 256),
        FieldForm::Text => text_schema(what, 65_536),
        FieldForm::Code => {
            let mut schema = text_schema(what, 65_536);
            schema["minLength"] = json!(1);
            schema
        }
        FieldForm::Path => plain_schema(what, 4096),
        FieldForm::Topic => json!({"type": "string", "pattern": TOPIC, "description": what}),
        FieldForm::AgentName => name_schema(what),
        FieldForm::Json => json!({"$ref": JSON_VALUE, "description": what}),
    }
}

/// The same, or `null`, or left out.
fn or_null(schema: Value) -> Value {
    match schema {
        // A choice stands apart from `null`: generators make one type of it then, and three of a list of types with `null` among the values.
        Value::Object(mut object) if object.contains_key("enum") || is_choice(&object) => {
            let description = object.remove("description");
            json!({"oneOf": [object, {"type": "null"}], "description": description})
        }
        Value::Object(mut object) if object.contains_key("type") => {
            object.insert("type".to_owned(), json!([object["type"], "null"]));
            Value::Object(object)
        }
        other => other,
    }
}

/// Whether a schema refers to a choice with a name of its own.
fn is_choice(schema: &Map<String, Value>) -> bool {
    schema.get("$ref").and_then(Value::as_str) == Some(CRITICALITY)
}

fn name_schema(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$", "description": description})
}

fn trace_id(description: &str) -> Value {
    json!({"type": "string", "pattern": "^(?!0{32})[0-9a-f]{32}$", "description": description})
}

fn text_schema(description: &str, most: usize) -> Value {
    json!({"type": "string", "maxLength": most, "description": description})
}

fn plain_schema(description: &str, most: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": most, "pattern": PLAIN, "description": description})
}

fn flag_schema(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

fn number_schema(description: &str, bounds: &Value) -> Value {
    let mut schema = json!({"type": "number", "description": description});
    if let (Some(schema), Some(bounds)) = (schema.as_object_mut(), bounds.as_object()) {
        schema.extend(bounds.clone());
    }
    schema
}

fn reference_schema(name: &str, description: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}"), "description": description})
}

fn one_of(description: &str, values: &[&str]) -> Value {
    json!({"type": "string", "enum": values, "description": description})
}

/// A JSON object of these fields and no others.
fn closed_schema(
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
