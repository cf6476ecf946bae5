//! The forms of actions as JSON Schema, one for each family of action types: what `ark_model::form::parse_action` lets pass, for readers of the
//! document. That both say the same is tested with data made from these forms (`tests/tests/system/api/openapi.rs`).
//!
//! `null` counts as left out, so every field that may be left out may be `null` too. Where a text's length is counted in bytes, `maxLength`
//! is the most characters that allows.

use serde_json::{Map, Value, json};

use crate::api::http::fields::{PLAIN, SYMBOL, SYMBOL_FORMAT, VISIBLE};
use ark_model::instrument::MAX_SYMBOL_CHARS;

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

/// The types that are no family's own: a custom action is named as none of them.
const FAMILY_TYPES: &str = "trade|order|buy|sell|open_position|close_position|data_handling|collect_data|store_data|share_data|\
    file_operation|delete|remove|execute_code|message|publish|report|log|modify_graveyard|update_ethics|change_rules|\
    disable_watchdog|disable_audit|clear_halt|override_user";

const TRADES: [&str; 3] = ["trade", "order", "open_position"];
const DATA: [&str; 4] = ["data_handling", "collect_data", "store_data", "share_data"];
const MESSAGES: [&str; 4] = ["message", "publish", "report", "log"];
/// Attempts on the system itself.
const SYSTEM: [&str; 7] = [
    "modify_graveyard",
    "update_ethics",
    "change_rules",
    "disable_watchdog",
    "disable_audit",
    "clear_halt",
    "override_user",
];

/// The form of each family of actions.
fn action_forms() -> Vec<(&'static str, Value)> {
    let types = |types: &[&str]| json!({"enum": types});
    let custom = format!("^(?!(?:{FAMILY_TYPES})$)[a-z][a-z0-9_.-]{{0,63}}$");
    let open = parameters(&[], &[]);
    let close = parameters(&[("symbol", symbol())], &[("position_size_pct", size())]);
    let form = |name, description, types: Value, needs_parameters, parameters: Value| {
        let form = family(description, &types, needs_parameters, &parameters);
        (name, form)
    };
    vec![
        form(
            "TradeForm",
            "A trade.",
            types(&TRADES),
            true,
            trade_parameters(&["buy", "sell"]),
        ),
        form(
            "BuyForm",
            "A purchase.",
            types(&["buy"]),
            true,
            trade_parameters(&["buy"]),
        ),
        form(
            "SellForm",
            "A sale.",
            types(&["sell"]),
            true,
            trade_parameters(&["sell"]),
        ),
        form(
            "CloseForm",
            "A position is closed, wholly or in part.",
            types(&["close_position"]),
            true,
            close,
        ),
        form(
            "DataForm",
            "Something is done with data.",
            types(&DATA),
            false,
            data_parameters(),
        ),
        form(
            "FileForm",
            "Something is done to a file.",
            types(&["file_operation"]),
            true,
            file_parameters(&["read", "write", "delete", "remove", "destroy"], true),
        ),
        form(
            "DeleteForm",
            "A file is deleted.",
            types(&["delete"]),
            true,
            file_parameters(&["delete", "destroy"], false),
        ),
        form(
            "RemoveForm",
            "A file is removed.",
            types(&["remove"]),
            true,
            file_parameters(&["remove", "destroy"], false),
        ),
        form(
            "CodeForm",
            "Code is run.",
            types(&["execute_code"]),
            true,
            code_parameters(),
        ),
        form(
            "MessageForm",
            "A message is sent.",
            types(&MESSAGES),
            false,
            message_parameters(),
        ),
        form(
            "SystemForm",
            "An attempt on the system itself. It is judged, and never carried out by the host.",
            types(&SYSTEM),
            false,
            open.clone(),
        ),
        form(
            "CustomForm",
            "Any other action.",
            json!({"pattern": custom}),
            false,
            open,
        ),
    ]
}

fn symbol() -> Value {
    json!({"type": "string", "format": SYMBOL_FORMAT, "minLength": 1, "maxLength": MAX_SYMBOL_CHARS, "pattern": SYMBOL,
        "description": "The instrument, e.g. BTC-USD. Every spelling of it counts as the same one."})
}

fn size() -> Value {
    let bounds = json!({"minimum": 0, "maximum": 1});
    number("A fraction of capital: 0.05 is 5 %.", &bounds)
}

fn trade_parameters(sides: &[&str]) -> Value {
    let positive = |what| number(what, &json!({"exclusiveMinimum": 0}));
    let side = one_of(
        "The side; buy if neither this nor the action type says.",
        sides,
    );
    let ratio = json!({"minimum": 0});
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
                number("Expected gain over risked loss.", &ratio),
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
}

fn file_parameters(verbs: &[&str], needs_verb: bool) -> Value {
    let verb = ("operation", one_of("What is done.", verbs));
    let path = ("path", plain("The file.", 4096));
    if needs_verb {
        parameters(&[verb, path], &[])
    } else {
        parameters(&[path], &[verb])
    }
}

fn data_parameters() -> Value {
    let destination = "Where it goes: `internal`, also if left out, or the receiver.";
    let mut schema = parameters(
        &[],
        &[
            (
                "subject",
                plain("The person or thing the data is about.", 256),
            ),
            ("contains_personal_data", flag("Personal data is in it.")),
            (
                "data_sensitivity",
                one_of("How sensitive it is.", &["low", "medium", "high"]),
            ),
            ("encryption", flag("It is encrypted.")),
            ("anonymized", flag("It is anonymised.")),
            ("destination", plain(destination, 256)),
            ("purpose", plain("The purpose.", 256)),
            ("user_consent", flag("Only `false` counts.")),
        ],
    );
    // The operation follows from the action type; given twice, the two could differ.
    schema["properties"]["operation"] = json!({"not": {}});
    schema
}

fn code_parameters() -> Value {
    let mut code = text("The source text.", 65_536);
    code["minLength"] = json!(1);
    let language = plain("The language.", 256);
    parameters(&[("code", code)], &[("language", language)])
}

fn message_parameters() -> Value {
    let topic =
        json!({"type": "string", "pattern": TOPIC, "description": "The topic it is published on."});
    parameters(
        &[],
        &[
            ("topic", topic),
            ("to", name("The one agent it is for.")),
            ("symbol", symbol()),
            ("text", text("The text.", 65_536)),
            (
                "payload",
                json!({"description": "One JSON value for machines."}),
            ),
        ],
    )
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
