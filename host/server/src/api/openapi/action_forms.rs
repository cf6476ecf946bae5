//! The forms of actions as JSON Schema, one for each family of action types: what `ark_model::form::parse_action` lets pass, for readers of the
//! document. That both say the same is tested with data made from these forms (`tests/tests/openapi.rs`).
//!
//! `null` counts as left out, so every field that may be left out may be `null` too. Where a text's length is counted in bytes, `maxLength`
//! is the most characters that allows.

use serde_json::{Map, Value, json};

use crate::api::http::fields::{PLAIN, VISIBLE};

/// A symbol.
const SYMBOL: &str = "^[A-Za-z0-9._/:-]{1,32}$";
/// A topic that is not the host's own.
const TOPIC: &str = r"^(?!ark\.)[a-z][a-z0-9._-]{0,127}$";

/// The forms of the families, of any action, and of a batch, by their names.
pub(super) fn all_forms() -> Vec<(&'static str, Value)> {
    let mut forms = action_forms();
    let references: Vec<Value> = forms
        .iter()
        .map(|(name, _)| json!({"$ref": format!("#/components/schemas/{name}")}))
        .collect();
    // One key stands for the whole batch.
    let batched: Vec<Value> = forms
        .iter()
        .map(|(_, form)| {
            let mut form = form.clone();
            form["properties"]["idempotency_key"] = json!({"type": "null"});
            form
        })
        .collect();
    forms.push((
        "ActionRequest",
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
            }],
        }),
    ));
    let key = json!({"type": "string", "pattern": VISIBLE, "description": "As the header Idempotency-Key."});
    forms.push((
        "BatchRequest",
        closed(
            "Actions that are judged in their order and recorded together.",
            &[("actions", json!({"type": "array", "minItems": 1, "maxItems": 100, "items": {"oneOf": batched}}))],
            &[("idempotency_key", key)],
        ),
    ));
    forms
}

/// The parameters of a family: the fields that rules read, and any others, which only policies of the operator read.
fn parameters(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let mut schema = closed(
        "What rules read, and whatever else an operator's policy reads: 16 KiB of JSON at most.",
        required,
        optional,
    );
    schema["additionalProperties"] = json!(true);
    schema
}

fn family(description: &str, types: &Value, needs_parameters: bool, parameters: &Value) -> Value {
    let mut action_type = json!({"type": "string", "description": "What is to be done."});
    if let (Some(action_type), Some(types)) = (action_type.as_object_mut(), types.as_object()) {
        action_type.extend(types.clone());
    }
    let mut required = vec![
        (
            "agent",
            reference("Name", "Who proposes: a loaded agent or a submitter."),
        ),
        ("action_type", action_type),
    ];
    let mut optional = vec![
        ("reasoning", text("Why (rule 24).", 65_536)),
        (
            "sources",
            json!({"type": "array", "maxItems": 64, "items": plain("A source.", 256), "description": "Names of the data sources it rests on (rule 21)."}),
        ),
        ("reversible", flag("It can be undone; true if left out.")),
        (
            "rollback_plan",
            text("How it would be undone (rule 25).", 65_536),
        ),
        (
            "external",
            flag("It acts outside the host; if left out, by its kind."),
        ),
        (
            "criticality",
            one_of(
                "How much depends on it; normal if left out.",
                &["low", "normal", "high", "critical"],
            ),
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
    closed(description, &required, &optional)
}

fn action_forms() -> Vec<(&'static str, Value)> {
    let symbol = || json!({"type": "string", "pattern": SYMBOL, "description": "The instrument, e.g. BTC-USD."});
    let size = || {
        number(
            "A fraction of capital: 0.05 is 5 %.",
            &json!({"minimum": 0, "maximum": 1}),
        )
    };
    let positive = |what| number(what, &json!({"exclusiveMinimum": 0}));
    let types = |types: &[&str]| json!({"enum": types});
    let trade = |side: &Value| {
        let mut side = side.clone();
        side["description"] = json!("Which way; buy if neither this nor the action type says.");
        parameters(
            &[("symbol", symbol()), ("position_size_pct", size())],
            &[
                ("side", side),
                ("leverage", positive("1 if left out.")),
                ("entry_price", positive("The expected price.")),
                (
                    "stop_loss",
                    number("The price at which the position is given up.", &json!({})),
                ),
                (
                    "take_profit",
                    positive("The price at which the profit is taken."),
                ),
                (
                    "risk_reward_ratio",
                    number("Expected gain over risked loss.", &json!({"minimum": 0})),
                ),
                (
                    "material_nonpublic",
                    flag("It rests on material non-public information."),
                ),
                (
                    "manipulative_intent",
                    flag("It is meant to move the market."),
                ),
                (
                    "ahead_of_client_order",
                    flag("It runs ahead of a client's order."),
                ),
            ],
        )
    };
    let file = |verbs: &[&str], needs: bool| {
        let verb = ("operation", one_of("What is done.", verbs));
        let path = (
            "path",
            json!({"type": "string", "minLength": 1, "maxLength": 4096, "pattern": PLAIN, "description": "The file."}),
        );
        if needs {
            parameters(&[verb, path], &[])
        } else {
            parameters(&[path], &[verb])
        }
    };
    let side = |sides: &[&str]| json!({"type": "string", "enum": sides});
    let mut data = parameters(
        &[],
        &[
            ("subject", plain("Whose data it is.", 256)),
            ("contains_personal_data", flag("Personal data is in it.")),
            (
                "data_sensitivity",
                one_of("How delicate it is.", &["low", "medium", "high"]),
            ),
            ("encryption", flag("It is encrypted.")),
            ("anonymized", flag("It is anonymised.")),
            (
                "destination",
                plain(
                    "Where it goes: `internal`, also if left out, or the receiver.",
                    256,
                ),
            ),
            ("purpose", plain("What for.", 256)),
            ("user_consent", flag("Only `false` counts.")),
        ],
    );
    // What is done follows from the action type; said twice it could be said differently.
    data["properties"]["operation"] = json!({"not": {}});
    let code = parameters(
        &[(
            "code",
            json!({"type": "string", "minLength": 1, "maxLength": 65_536, "description": "The source text."}),
        )],
        &[("language", plain("The language.", 256))],
    );
    let message = parameters(
        &[],
        &[
            (
                "topic",
                json!({"type": "string", "pattern": TOPIC, "description": "The topic it is published on."}),
            ),
            ("to", name("The one agent it is for.")),
            ("symbol", symbol()),
            ("text", text("Words.", 65_536)),
            (
                "payload",
                json!({"description": "One JSON value for machines."}),
            ),
        ],
    );
    let open = parameters(&[], &[]);
    let system = [
        "modify_graveyard",
        "update_ethics",
        "change_rules",
        "disable_watchdog",
        "disable_audit",
        "clear_halt",
        "override_user",
    ];
    let taken = "trade|order|buy|sell|open_position|close_position|data_handling|collect_data|store_data|share_data|\
        file_operation|delete|remove|execute_code|message|publish|report|log|modify_graveyard|update_ethics|change_rules|\
        disable_watchdog|disable_audit|clear_halt|override_user";
    let custom = json!({"pattern": format!("^(?!(?:{taken})$)[a-z][a-z0-9_.-]{{0,63}}$")});
    vec![
        (
            "TradeForm",
            family(
                "A trade.",
                &types(&["trade", "order", "open_position"]),
                true,
                &trade(&side(&["buy", "sell"])),
            ),
        ),
        (
            "BuyForm",
            family(
                "A purchase.",
                &types(&["buy"]),
                true,
                &trade(&side(&["buy"])),
            ),
        ),
        (
            "SellForm",
            family("A sale.", &types(&["sell"]), true, &trade(&side(&["sell"]))),
        ),
        (
            "CloseForm",
            family(
                "A position is closed, wholly or in part.",
                &types(&["close_position"]),
                true,
                &parameters(&[("symbol", symbol())], &[("position_size_pct", size())]),
            ),
        ),
        (
            "DataForm",
            family(
                "Something is done with data.",
                &types(&["data_handling", "collect_data", "store_data", "share_data"]),
                false,
                &data,
            ),
        ),
        (
            "FileForm",
            family(
                "Something is done to a file.",
                &types(&["file_operation"]),
                true,
                &file(&["read", "write", "delete", "remove", "destroy"], true),
            ),
        ),
        (
            "DeleteForm",
            family(
                "A file is deleted.",
                &types(&["delete"]),
                true,
                &file(&["delete", "destroy"], false),
            ),
        ),
        (
            "RemoveForm",
            family(
                "A file is removed.",
                &types(&["remove"]),
                true,
                &file(&["remove", "destroy"], false),
            ),
        ),
        (
            "CodeForm",
            family("Code is run.", &types(&["execute_code"]), true, &code),
        ),
        (
            "MessageForm",
            family(
                "Something is said.",
                &types(&["message", "publish", "report", "log"]),
                false,
                &message,
            ),
        ),
        (
            "SystemForm",
            family(
                "An attempt on the system itself. It is judged, and never carried out by the host.",
                &types(&system),
                false,
                &open,
            ),
        ),
        (
            "CustomForm",
            family("Anything else.", &custom, false, &open),
        ),
    ]
}

/// The same, or `null`, or left out.
fn or_null(schema: Value) -> Value {
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

fn name(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$", "description": description})
}

fn trace_id(description: &str) -> Value {
    json!({"type": "string", "pattern": "^(?!0{32})[0-9a-f]{32}$", "description": description})
}

fn text(description: &str, most: usize) -> Value {
    json!({"type": "string", "maxLength": most, "description": description})
}

fn plain(description: &str, most: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": most, "pattern": PLAIN, "description": description})
}

fn flag(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

fn number(description: &str, bounds: &Value) -> Value {
    let mut schema = json!({"type": "number", "description": description});
    if let (Some(schema), Some(bounds)) = (schema.as_object_mut(), bounds.as_object()) {
        schema.extend(bounds.clone());
    }
    schema
}

fn reference(name: &str, description: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}"), "description": description})
}

fn one_of(description: &str, values: &[&str]) -> Value {
    json!({"type": "string", "enum": values, "description": description})
}

/// A JSON object of these fields and no others.
fn closed(description: &str, required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
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
