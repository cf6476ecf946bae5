//! The forms of actions, one for each family of action types.

use serde_json::{Value, json};

use super::fields::{
    PLAIN, SYMBOL, TOPIC, VISIBLE, closed, flag, name, number, one_of, plain, reference, text,
    trace_id,
};

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

pub(super) fn action_forms() -> Vec<(&'static str, Value)> {
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
