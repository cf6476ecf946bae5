//! The forms of requests as JSON Schema: what [`ark_model::form::Fields`] and [`ark_model::check`] let pass, for readers of the
//! document. That both say the same is tested with data made from these forms (`tests/tests/system/api/openapi.rs`).
//!
//! `null` counts as absent, so every field that may be left out may be `null` too. Where a text's length is counted in bytes, `maxLength`
//! is what that allows at most.

mod actions;
mod fields;

use serde_json::{Value, json};

use actions::action_forms;
use fields::{
    BASE64, MOST, NAME, TOPIC, VISIBLE, by, closed, expected_revision, flag, json_value, mode,
    name, number, one_of, or_null, place, plain, reason, reference, revised, settings, text,
    trace_id, updated_by, value, whole, words,
};

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
