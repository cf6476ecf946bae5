//! From the canonical JSON of the host's model to the SDK's types. Panics with the field on anything unexpected.

use ark_guest::policy::{
    Action, Approval, Change, ClosePosition, Consent, Criticality, Custom, DataHandling,
    DataOperation, ExecuteCode, Facts, FileOperation, FileVerb, Message, Parameters, Sensitivity,
    Side, SystemChange, Trade,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

struct Fields(Map<String, Json>);

impl Fields {
    fn of(json: Json) -> Self {
        match json {
            Json::Object(map) => Self(map),
            other => panic!("not an object: {other}"),
        }
    }

    fn optional<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        self.0
            .remove(key)
            .map(|value| serde_json::from_value(value).unwrap_or_else(|e| panic!("{key}: {e}")))
    }

    fn required<T: DeserializeOwned>(&mut self, key: &str) -> T {
        self.optional(key)
            .unwrap_or_else(|| panic!("{key} is missing"))
    }

    fn or<T: DeserializeOwned>(&mut self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    fn extra(&mut self) -> String {
        self.or("extra_json", "{}".to_owned())
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let name: String = self.required(key);
        pick(key, &name, choices)
    }

    fn finish(self) {
        assert!(self.0.is_empty(), "unknown fields: {:?}", self.0);
    }
}

fn pick<T: Copy>(key: &str, name: &str, choices: &[(&str, T)]) -> T {
    choices
        .iter()
        .find(|(choice, _)| *choice == name)
        .unwrap_or_else(|| panic!("{key}: unknown {name:?}"))
        .1
}

/// A whole action.
pub fn action(json: Json) -> Action {
    let mut fields = Fields::of(json);
    let action_type: String = fields.required("action_type");
    let parameters = parameters(&action_type, Fields::of(fields.required("parameters")));
    let action = Action {
        action_type,
        parameters,
        reasoning: fields.optional("reasoning"),
        sources: fields.or("sources", Vec::new()),
        reversible: fields.required("reversible"),
        rollback_plan: fields.optional("rollback_plan"),
        external: fields.optional("external"),
        criticality: fields.choice(
            "criticality",
            &[
                ("low", Criticality::Low),
                ("normal", Criticality::Normal),
                ("high", Criticality::High),
                ("critical", Criticality::Critical),
            ],
        ),
    };
    fields.finish();
    action
}

fn parameters(action_type: &str, mut fields: Fields) -> Parameters {
    let parameters = match action_type {
        "trade" | "order" | "buy" | "sell" | "open_position" => Parameters::Trade(Trade {
            symbol: fields.required("symbol"),
            side: fields.choice("side", &[("buy", Side::Buy), ("sell", Side::Sell)]),
            position_size_pct: fields.required("position_size_pct"),
            leverage: fields.required("leverage"),
            entry_price: fields.optional("entry_price"),
            stop_loss: fields.optional("stop_loss"),
            take_profit: fields.optional("take_profit"),
            risk_reward_ratio: fields.optional("risk_reward_ratio"),
            material_nonpublic: fields.required("material_nonpublic"),
            manipulative_intent: fields.required("manipulative_intent"),
            ahead_of_client_order: fields.required("ahead_of_client_order"),
            extra_json: fields.extra(),
        }),
        "close_position" => Parameters::ClosePosition(ClosePosition {
            symbol: fields.required("symbol"),
            position_size_pct: fields.optional("position_size_pct"),
            extra_json: fields.extra(),
        }),
        "data_handling" | "collect_data" | "store_data" | "share_data" => {
            Parameters::Data(DataHandling {
                operation: fields.choice(
                    "operation",
                    &[
                        ("handle", DataOperation::Handle),
                        ("collect", DataOperation::Collect),
                        ("store", DataOperation::Store),
                        ("share", DataOperation::Share),
                    ],
                ),
                subject: fields.optional("subject"),
                contains_personal_data: fields.required("contains_personal_data"),
                data_sensitivity: fields.optional::<String>("data_sensitivity").map(|name| {
                    let choices = [
                        ("low", Sensitivity::Low),
                        ("medium", Sensitivity::Medium),
                        ("high", Sensitivity::High),
                    ];
                    pick("data_sensitivity", &name, &choices)
                }),
                encryption: fields.required("encryption"),
                anonymized: fields.required("anonymized"),
                destination: fields.optional("destination"),
                purpose: fields.optional("purpose"),
                user_consent: fields.optional("user_consent"),
                extra_json: fields.extra(),
            })
        }
        "file_operation" | "delete" | "remove" => Parameters::File(FileOperation {
            operation: fields.choice(
                "operation",
                &[
                    ("read", FileVerb::Read),
                    ("write", FileVerb::Write),
                    ("delete", FileVerb::Delete),
                    ("remove", FileVerb::Remove),
                    ("destroy", FileVerb::Destroy),
                ],
            ),
            path: fields.required("path"),
            extra_json: fields.extra(),
        }),
        "execute_code" => Parameters::Code(ExecuteCode {
            language: fields.optional("language"),
            code: fields.required("code"),
            extra_json: fields.extra(),
        }),
        "message" | "publish" | "report" | "log" => Parameters::Message(Message {
            topic: fields.optional("topic"),
            to: fields.optional("to"),
            symbol: fields.optional("symbol"),
            text: fields.optional("text"),
            payload_json: fields.optional("payload_json"),
            extra_json: fields.extra(),
        }),
        "modify_graveyard" | "update_ethics" | "change_rules" | "disable_watchdog"
        | "disable_audit" | "clear_halt" | "override_user" => Parameters::System(SystemChange {
            change: fields.choice(
                "change",
                &[
                    ("modify_graveyard", Change::ModifyGraveyard),
                    ("update_ethics", Change::UpdateEthics),
                    ("change_rules", Change::ChangeRules),
                    ("disable_watchdog", Change::DisableWatchdog),
                    ("disable_audit", Change::DisableAudit),
                    ("clear_halt", Change::ClearHalt),
                    ("override_user", Change::OverrideUser),
                ],
            ),
            parameters_json: fields.required("parameters_json"),
        }),
        _ => Parameters::Custom(Custom {
            kind: fields.required("kind"),
            parameters_json: fields.required("parameters_json"),
        }),
    };
    fields.finish();
    parameters
}

/// Facts, those not named at their neutral value.
pub fn facts(json: Json) -> Facts {
    let mut fields = Fields::of(json);
    let neutral = Facts::default();
    let approvals = [
        ("none", Approval::None),
        ("operator", Approval::Operator),
        ("human", Approval::Human),
    ];
    let consents = [
        ("unknown", Consent::Unknown),
        ("granted", Consent::Granted),
        ("refused", Consent::Refused),
    ];
    let facts = Facts {
        agent: fields.or("agent", neutral.agent),
        now_ms: fields.or("now_ms", neutral.now_ms),
        approval: fields
            .optional::<String>("approval")
            .map_or(neutral.approval, |name| pick("approval", &name, &approvals)),
        halt_active: fields.or("halt_active", neutral.halt_active),
        audit_writable: fields.or("audit_writable", neutral.audit_writable),
        pin_holds: fields.or("pin_holds", neutral.pin_holds),
        watchdog_beating: fields.or("watchdog_beating", neutral.watchdog_beating),
        symbol_restricted: fields.or("symbol_restricted", neutral.symbol_restricted),
        client_order_pending: fields.or("client_order_pending", neutral.client_order_pending),
        opposite_trade_age: fields.optional("opposite_trade_age"),
        promotion_age: fields.optional("promotion_age"),
        symbol_exposure: fields.or("symbol_exposure", neutral.symbol_exposure),
        daily_loss: fields.or("daily_loss", neutral.daily_loss),
        open_positions: fields.or("open_positions", neutral.open_positions),
        personal_data: fields.or("personal_data", neutral.personal_data),
        credentials: fields.or("credentials", neutral.credentials),
        consent: fields
            .optional::<String>("consent")
            .map_or(neutral.consent, |name| pick("consent", &name, &consents)),
        causal_depth: fields.or("causal_depth", neutral.causal_depth),
        identical_actions: fields.or("identical_actions", neutral.identical_actions),
        unvalidated_sources: fields.or("unvalidated_sources", neutral.unvalidated_sources),
        veto: fields.optional("veto"),
    };
    fields.finish();
    facts
}
