//! The forms of requests as JSON Schema: what [`crate::model::form::Fields`] and [`crate::model::check`] let pass, for readers of the
//! document. That both say the same is tested with data made from these forms (`tests/tests/openapi.rs`).
//!
//! `null` counts as absent, so every field that may be left out may be `null` too. Where a text's length is counted in bytes, `maxLength`
//! is what that allows at most.

use serde_json::{Map, Value, json};

/// The most that the database's integers hold.
const MOST: u64 = 9_223_372_036_854_775_807;
/// Plain text: no control characters.
const PLAIN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// Plain text that is not only white space.
const WORDS: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";
const NAME: &str = "#/components/schemas/Name";
const SYMBOL: &str = "^[A-Za-z0-9._/:-]{1,32}$";
const TOPIC: &str = r"^(?!ark\.)[a-z][a-z0-9._-]{0,127}$";
const VISIBLE: &str = "^[!-~]{1,200}$";
/// Base64 with padding, and no bits behind the last byte.
const BASE64: &str =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

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

fn words(description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 1024, "pattern": WORDS, "description": description})
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

fn whole(description: &str, least: u64, most: u64) -> Value {
    json!({"type": "integer", "format": "int64", "minimum": least, "maximum": most, "description": description})
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

fn by() -> (&'static str, Value) {
    let what = "Who does it. With a token its name, which may be left out; without one `operator` if left out.";
    ("by", words_of(what, 128))
}

fn updated_by() -> (&'static str, Value) {
    let what = "Who does it. With a token its name, which may be left out; without one `operator` if left out.";
    ("updated_by", plain(what, 128))
}

fn words_of(description: &str, most: usize) -> Value {
    let mut schema = words(description);
    schema["maxLength"] = json!(most);
    schema
}

fn reason() -> (&'static str, Value) {
    ("reason", words("Why, for the audit log."))
}

fn expected_revision() -> (&'static str, Value) {
    let what = "The revision that must still be the latest; 0: there must be none. In place of `If-Match` or `If-None-Match`.";
    ("expected_revision", whole(what, 0, MOST))
}

fn settings() -> (&'static str, Value) {
    let what =
        "Its settings, of which it says itself what they may be; none if left out. 64 KiB at most.";
    let any = json!({"$ref": "#/components/schemas/JsonValue"});
    (
        "settings",
        json!({"type": "object", "additionalProperties": any, "description": what}),
    )
}

fn mode() -> (&'static str, Value) {
    let what = "Whether its verdicts count (`enforce`, also if left out) or are recorded and compared (`shadow`).";
    ("mode", one_of(what, &["enforce", "shadow"]))
}

fn place() -> (&'static str, Value) {
    let what = "Its place among the others: lower ones are asked first, equal ones by name.";
    ("order", whole(what, 0, u64::from(crate::policies::LAST)))
}

/// A change of a policy that changes this at least. Settings can be taken away: `null` is one.
fn revised(required: &(&'static str, Value)) -> Value {
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

fn value() -> (&'static str, Value) {
    let what =
        "Any JSON value, nested 127 deep at most; integers of more than 64 bits are refused.";
    let mut schema = reference("JsonValue", what);
    schema["description"] = json!(what);
    ("value", schema)
}

fn json_value() -> Value {
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

/// Every form, by its name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut forms = action_forms();
    let families: Vec<Value> = forms
        .iter()
        .map(|(name, _)| json!({"$ref": format!("#/components/schemas/{name}")}))
        .collect();
    forms.push((
        "ActionRequest",
        json!({
            "description": "An action that is proposed. Which parameters it takes follows from its type.",
            "oneOf": families,
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
    // One key stands for the whole batch.
    let batched: Vec<Value> = action_forms()
        .into_iter()
        .map(|(_, mut form)| {
            form["properties"]["idempotency_key"] = json!({"type": "null"});
            form
        })
        .collect();
    let key = json!({"type": "string", "pattern": VISIBLE, "description": "As the header Idempotency-Key."});
    let any = |what: &str| json!({"description": what});
    let amount = |bounds: Value| ("amount", number("In the account's currency.", &bounds));
    let steps = whole("How many revisions back.", 1, MOST);
    let nothing = json!({"type": "null"});
    let mut rollback_steps = closed(
        "So many revisions back.",
        &[("steps", steps)],
        &[expected_revision(), updated_by()],
    );
    rollback_steps["properties"]["to_revision"] = nothing.clone();
    let mut rollback_to = closed(
        "To a revision.",
        &[("to_revision", whole("Its number.", 0, MOST))],
        &[expected_revision(), updated_by()],
    );
    rollback_to["properties"]["steps"] = nothing;
    let token_name = || {
        (
            "name",
            json!({"type": "string", "pattern": "^(?!watchdog$)[a-z][a-z0-9_-]{0,63}$", "description": "Its name, which no other token has or had."}),
        )
    };
    let expires = || {
        (
            "expires_at_ms",
            whole(
                "When it ends, in milliseconds since 1970 (UTC): a moment to come; if left out, never.",
                1,
                MOST,
            ),
        )
    };
    forms.extend([
        ("JsonValue", json_value()),
        (
            "BatchRequest",
            closed(
                "Actions that are judged in their order and recorded together.",
                &[("actions", json!({"type": "array", "minItems": 1, "maxItems": 100, "items": {"oneOf": batched}}))],
                &[("idempotency_key", key.clone())],
            ),
        ),
        (
            "SignalRequest",
            closed(
                "Something that agents are told.",
                &[("topic", json!({"type": "string", "pattern": TOPIC, "description": "The topic, e.g. market.tick; those that start with `ark.` are the host's."}))],
                &[
                    ("payload", any("Any JSON value.")),
                    ("trace_id", trace_id("The trace to join.")),
                    ("idempotency_key", key),
                    ("ttl_ms", whole("How long it may wait, in milliseconds; if left out, for good.", 1, 31_536_000_000)),
                ],
            ),
        ),
        (
            "ExecutionRequest",
            closed(
                "What an executor reports of an approved trade.",
                &[
                    ("execution_id", json!({"type": "string", "pattern": VISIBLE, "description": "The executor's own id of this report: a second one changes nothing."})),
                    ("decision_id", reference("DecisionId", "The approved action.")),
                    ("status", one_of("What became of it.", &["filled", "partially_filled", "cancelled", "rejected"])),
                ],
                &[
                    ("filled_size_pct", number("How much was carried out in all so far, as a fraction of capital; all of it if left out.", &json!({"minimum": 0, "maximum": 1}))),
                    ("price", number("At which price.", &json!({"exclusiveMinimum": 0}))),
                    ("realized_pnl_pct", number("What it realised, as a fraction of capital; a loss is negative.", &json!({"minimum": -100, "maximum": 100}))),
                ],
            ),
        ),
        (
            "AmendmentRequest",
            closed(
                "A wish for another rule.",
                &[
                    ("rule", text("The rule's name, of those that GET /v1/graveyard lists.", 64)),
                    ("proposed_value", json!({"type": ["boolean", "number", "string", "array", "object"], "description": "What it should be."})),
                    ("justification", words("Why.")),
                ],
                &[by()],
            ),
        ),
        ("OrderRequest", closed("An order to the host.", &[reason()], &[by()])),
        ("ResolutionRequest", closed("What is said to an approval or a rejection.", &[("comment", words("Why, for the audit log."))], &[by()])),
        (
            "ListEntryRequest",
            json!({
                "description": "An entry of a list, in the form of that list.",
                "oneOf": [
                    closed("Of `restricted`, `client_orders` and `validated_sources`.", &[reason()], &[by()]),
                    closed("Of `consents`.", &[("granted", flag("Granted, or refused.")), reason()], &[by()]),
                    closed(
                        "Of `vetoes`: it holds for what matches every part it names.",
                        &[("words", words("The user's words.")), reason()],
                        &[
                            ("agent", name("The agent.")),
                            ("action_type", json!({"type": "string", "minLength": 1, "maxLength": 256, "description": "The action type."})),
                            ("symbol", json!({"type": "string", "minLength": 1, "maxLength": 256, "description": "The symbol."})),
                            by(),
                        ],
                    ),
                ],
            }),
        ),
        ("CapitalRequest", closed("The capital.", &[amount(json!({"minimum": 0.01, "maximum": 1e15})), reason()], &[by()])),
        ("ResultRequest", closed("A result of today that no execution report told of; a loss is negative.", &[amount(json!({"minimum": -1e15, "maximum": 1e15})), reason()], &[by()])),
        ("StateRequest", closed("A value of an agent's state.", &[value()], &[expected_revision(), updated_by()])),
        ("RollbackRequest", json!({"description": "Where to go back to.", "oneOf": [rollback_steps, rollback_to]})),
        (
            "MemoryRequest",
            closed(
                "Something an agent is to remember.",
                &[
                    ("kind", plain("Its kind, e.g. observation.", 64)),
                    ("content", json!({"type": "string", "minLength": 1, "maxLength": 65_536, "description": "The text."})),
                ],
                &[
                    ("metadata", json!({"type": "object", "description": "What machines may want to know of it."})),
                    ("ttl_seconds", whole("How long it is kept, in seconds; for good if left out.", 1, 3_153_600_000)),
                    updated_by(),
                ],
            ),
        ),
        (
            "SettingRequest",
            closed(
                "A setting.",
                &[value()],
                &[("description", text("What it is for.", 1024)), expected_revision(), updated_by()],
            ),
        ),
        (
            "TruthRequest",
            closed(
                "Something held true by all agents.",
                &[value(), ("agent", reference("Name", "The agent that holds it true, whose manifest grants truth-set."))],
                &[
                    ("confidence", number("How sure; 1 if left out.", &json!({"minimum": 0, "maximum": 1}))),
                    ("sources", json!({"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 256}, "description": "Where it is from."})),
                    expected_revision(),
                    updated_by(),
                ],
            ),
        ),
        (
            "TokenRequest",
            json!({
                "description": "A token.",
                "oneOf": [
                    closed(
                        "Of a submitter, bound to the names it may propose in.",
                        &[
                            token_name(),
                            ("role", one_of("Its role.", &["submitter"])),
                            ("agents", json!({"type": "array", "minItems": 1, "maxItems": 64, "items": {"$ref": NAME}, "description": "In whose names it may propose."})),
                        ],
                        &[expires(), by()],
                    ),
                    closed(
                        "Of any other role.",
                        &[token_name(), ("role", one_of("Its role.", &["reader", "approver", "operator", "admin"]))],
                        &[("agents", json!({"type": "array", "maxItems": 0, "items": {"$ref": NAME}})), expires(), by()],
                    ),
                ],
            }),
        ),
        (
            "UploadRequest",
            json!({
                "type": "object",
                "description": "A version of an agent: manifest and component in one, so that what was cut off or mixed up is refused. The component may have 32 MiB.",
                "properties": {
                    "manifest": {"$ref": "#/components/schemas/Manifest"},
                    "component": {"type": "string", "contentEncoding": "base64", "pattern": BASE64, "description": "The component in standard Base64 with padding."},
                    "rollout": {"type": "boolean", "default": true, "description": "It serves from now on; else it is kept until it is rolled out."},
                    "reason": or_null(words("Why, for the audit log.")),
                    "by": or_null(by().1),
                },
                "required": ["manifest", "component"],
                "additionalProperties": false,
            }),
        ),
        (
            "RolloutRequest",
            closed(
                "Which version is to serve.",
                &[("number", whole("The version's number (GET /v1/agents/{name}), or 0 for the agents' directory.", 0, MOST))],
                &[reason(), by()],
            ),
        ),
        (
            "CanaryRequest",
            json!({
                "description": "Which version is tried out, and on how much.",
                "oneOf": [
                    closed(
                        "A trial.",
                        &[
                            ("number", whole("The version's number (GET /v1/agents/{name}), or 0 for the agents' directory.", 0, MOST)),
                            ("share", number("Its part of the signals: 0.05 is 5 %.", &json!({"exclusiveMinimum": 0, "maximum": 1}))),
                        ],
                        &[reason(), by()],
                    ),
                    closed("The end of the trial.", &[("share", json!({"type": "number", "const": 0}))], &[reason(), by()]),
                ],
            }),
        ),
        (
            "PolicyUploadRequest",
            closed(
                "A version of an operator policy: its component pinned by its digest. The component may have 32 MiB.",
                &[
                    ("component", json!({"type": "string", "contentEncoding": "base64", "pattern": BASE64, "description": "The component in standard Base64 with padding."})),
                    ("sha256", reference("Digest", "The component's SHA-256.")),
                ],
                &[settings(), mode(), place(), expected_revision(), reason(), by()],
            ),
        ),
        (
            "PolicyRevisionRequest",
            json!({
                "description": "What is to be different of a policy whose component stays; one of them at least.",
                "anyOf": [revised(&settings()), revised(&mode()), revised(&place())],
            }),
        ),
        (
            "PolicyRolloutRequest",
            closed(
                "Which version is to be in force.",
                &[("number", whole("The version's number (GET /v1/policies/{name}).", 0, MOST))],
                &[mode(), expected_revision(), reason(), by()],
            ),
        ),
        (
            "PolicyRollbackRequest",
            closed("The version that was enforced before is to be so again.", &[], &[expected_revision(), reason(), by()]),
        ),
        ("RollbackAgentRequest", closed("The version that served before is to serve again.", &[], &[reason(), by()])),
    ]);
    forms
}
