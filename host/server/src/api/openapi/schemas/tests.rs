//! Each schema is compared with the JSON that the type's own serialisation gives. The values name every field, so a field that is added to a
//! type does not compile here until it is in the value, and is not accepted until it is in the schema.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use ark_model::action::{
    Action, Change, ClosePosition, Criticality, Custom, DataHandling, DataOperation, ExecuteCode,
    Family, FileOperation, FileVerb, Message, Parameters, Sensitivity, Side, SystemChange, Trade,
};
use ark_model::control::{Alert, AlertSeverity, Halt, Quarantine, QuarantineCause};
use ark_model::decision::ApprovalGiven;
use ark_model::facts::{ApprovalFact, Consent, Facts};
use ark_model::ids::{AuditId, DecisionId, Digest, Millis, Name, Share, SignalId, TraceId};
use ark_model::verdict::{ObservedValue, Rule, Severity};
use ark_runtime::{Limits, LimitsTable, Manifest, Quotas, QuotasTable, SettingsProblem};

use super::actions::{
    ActionSchema, ClosePositionSchema, CustomSchema, DataHandlingSchema, ExecuteCodeSchema,
    FileOperationSchema, MessageSchema, SystemChangeSchema, TradeSchema,
};
use super::ids::{
    AuditIdSchema, DecisionIdSchema, DigestSchema, MillisSchema, NameSchema, ObservedValueSchema,
    ShareSchema, SignalIdSchema, TraceIdSchema,
};
use super::limits::{LimitsSchema, LimitsTableSchema, QuotasTableSchema};
use super::records::{
    AlertSchema, ApprovalGivenSchema, FactsSchema, HaltSchema, ManifestSchema, QuarantineSchema,
    RuleSchema, SettingsProblemSchema,
};

/// The schema of a type, and those it refers to, by name.
struct Schemas {
    own: Value,
    named: BTreeMap<String, Value>,
}

impl Schemas {
    fn of<T: ToSchema>() -> Self {
        let mut named = Vec::new();
        T::schemas(&mut named);
        Self {
            own: json!(T::schema()),
            named: named
                .into_iter()
                .map(|(name, schema)| (name, json!(schema)))
                .collect(),
        }
    }

    /// Returns the first place in a value that its schema does not describe.
    fn find_breach(&self, schema: &Value, value: &Value, place: &str) -> Option<String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/components/schemas/");
            let Some(schema) = self.named.get(name) else {
                return Some(format!("{place}: {name} is not described"));
            };
            return self.find_breach(schema, value, place);
        }
        for alternatives in ["oneOf", "anyOf"] {
            if let Some(schemas) = schema[alternatives].as_array() {
                let fits = |schema| self.find_breach(schema, value, place).is_none();
                return (!schemas.iter().any(fits))
                    .then(|| format!("{place}: {value} fits none of {schemas:?}"));
            }
        }
        let kinds = match &schema["type"] {
            Value::Null => return None,
            Value::Array(kinds) => kinds.clone(),
            kind => vec![kind.clone()],
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !kinds
            .iter()
            .any(|allowed| allowed == kind || (allowed == "number" && kind == "integer"))
        {
            return Some(format!("{place}: {value} is not {kinds:?}"));
        }
        if let Some(names) = schema["enum"].as_array()
            && !names.contains(value)
        {
            return Some(format!("{place}: {value} is not one of {names:?}"));
        }
        match value {
            Value::Array(items) => items
                .iter()
                .find_map(|item| self.find_breach(&schema["items"], item, place)),
            Value::Object(fields) => fields.iter().find_map(|(field, value)| {
                let schema = schema["properties"]
                    .get(field)
                    .or_else(|| schema.get("additionalProperties"));
                match schema {
                    Some(schema) => self.find_breach(schema, value, &format!("{place}.{field}")),
                    None => Some(format!("{place}.{field} is not described")),
                }
            }),
            _ => None,
        }
    }
}

/// Asserts that a schema describes a value that has every field, and that what it requires is in a value without its optional fields.
#[track_caller]
fn assert_described<T: ToSchema>(full: &impl Serialize, least: &impl Serialize) {
    let schemas = Schemas::of::<T>();
    let (full, least) = (json!(full), json!(least));
    for value in [&full, &least] {
        assert_eq!(schemas.find_breach(&schemas.own, value, "value"), None);
    }
    let keys = |value: &Value| -> BTreeSet<String> {
        value
            .as_object()
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default()
    };
    assert_eq!(keys(&full), keys(&schemas.own["properties"]));
    for field in schemas.own["required"].as_array().into_iter().flatten() {
        let field = field.as_str().expect("a name");
        assert!(least.get(field).is_some(), "{field} is left out of {least}");
    }
}

fn make_text() -> String {
    "text".to_owned()
}

fn make_object() -> String {
    r#"{"a":1}"#.to_owned()
}

fn make_name() -> Name {
    "kyle".parse().expect("a name")
}

/// Parameters of each family, with every field.
fn full_parameters() -> [Parameters; 8] {
    [
        Parameters::Trade(Trade {
            symbol: make_text(),
            side: Side::Buy,
            position_size_pct: 0.05,
            leverage: 1.0,
            entry_price: Some(1.0),
            stop_loss: Some(1.0),
            take_profit: Some(1.0),
            risk_reward_ratio: Some(1.0),
            material_nonpublic: true,
            manipulative_intent: true,
            ahead_of_client_order: true,
            extra_json: make_object(),
        }),
        Parameters::ClosePosition(ClosePosition {
            symbol: make_text(),
            position_size_pct: Some(0.5),
            extra_json: make_object(),
        }),
        Parameters::Data(DataHandling {
            operation: DataOperation::Share,
            subject: Some(make_text()),
            contains_personal_data: true,
            data_sensitivity: Some(Sensitivity::High),
            encryption: true,
            anonymized: true,
            destination: Some(make_text()),
            purpose: Some(make_text()),
            user_consent: Some(false),
            extra_json: make_object(),
        }),
        Parameters::File(FileOperation {
            operation: FileVerb::Write,
            path: make_text(),
            extra_json: make_object(),
        }),
        Parameters::Code(ExecuteCode {
            language: Some(make_text()),
            code: make_text(),
            extra_json: make_object(),
        }),
        Parameters::Message(Message {
            topic: Some(make_text()),
            to: Some(make_text()),
            symbol: Some(make_text()),
            text: Some(make_text()),
            payload_json: Some(make_object()),
            extra_json: make_object(),
        }),
        Parameters::System(SystemChange {
            change: Change::ClearHalt,
            parameters_json: make_object(),
        }),
        Parameters::Custom(Custom {
            kind: make_text(),
            parameters_json: make_object(),
        }),
    ]
}

#[test]
fn the_parameters_of_each_family_are_as_described() {
    let [trade, close, data, file, code, message, system, custom] =
        full_parameters().map(|parameters| json!(parameters));
    let without = |value: &Value, optional: &[&str]| {
        let mut value = value.clone();
        let fields = value.as_object_mut().expect("an object");
        fields.retain(|field, _| !optional.contains(&field.as_str()));
        value
    };
    let prices = [
        "entry_price",
        "stop_loss",
        "take_profit",
        "risk_reward_ratio",
        "extra_json",
    ];
    assert_described::<TradeSchema>(&trade, &without(&trade, &prices));
    let optional = ["position_size_pct", "extra_json"];
    assert_described::<ClosePositionSchema>(&close, &without(&close, &optional));
    let optional = [
        "subject",
        "data_sensitivity",
        "destination",
        "purpose",
        "user_consent",
        "extra_json",
    ];
    assert_described::<DataHandlingSchema>(&data, &without(&data, &optional));
    assert_described::<FileOperationSchema>(&file, &without(&file, &["extra_json"]));
    assert_described::<ExecuteCodeSchema>(&code, &without(&code, &["language", "extra_json"]));
    assert_described::<MessageSchema>(&message, &json!({}));
    assert_described::<SystemChangeSchema>(&system, &system);
    assert_described::<CustomSchema>(&custom, &custom);
}

#[test]
fn an_action_is_as_described() {
    // The name of a custom action says its family, so the family is left out.
    let with_family = |parameters: &Parameters| parameters.family() != Family::Custom;
    for parameters in full_parameters().into_iter().filter(with_family) {
        // A type of another family, so that the family is stated.
        let action_type = match parameters {
            Parameters::Custom(_) => "buy",
            _ => "text",
        };
        let full = Action {
            action_type: action_type.to_owned(),
            parameters,
            reasoning: Some(make_text()),
            sources: vec![make_text()],
            reversible: true,
            rollback_plan: Some(make_text()),
            external: Some(true),
            criticality: Criticality::Normal,
        };
        let least = Action {
            reasoning: None,
            sources: Vec::new(),
            rollback_plan: None,
            external: None,
            ..full.clone()
        };
        assert_described::<ActionSchema>(&full, &least);
    }
}

#[test]
fn facts_are_as_described_with_their_own_defaults() {
    let full = Facts {
        agent: make_text(),
        now_ms: 1,
        approval: ApprovalFact::Human,
        halt_active: true,
        audit_writable: true,
        pin_holds: true,
        watchdog_beating: true,
        symbol_restricted: true,
        client_order_pending: true,
        opposite_trade_age: Some(1.5),
        promotion_age: Some(1.5),
        symbol_exposure: 0.1,
        daily_loss: 0.1,
        open_positions: 1,
        personal_data: vec![make_text()],
        credentials: vec![make_text()],
        consent: Consent::Granted,
        causal_depth: 1,
        identical_actions: 1,
        unvalidated_sources: vec![make_text()],
        veto: Some(make_text()),
    };
    assert_described::<FactsSchema>(&full, &Facts::default());
    let schema = Schemas::of::<FactsSchema>().own;
    for (field, value) in json!(Facts::default()).as_object().expect("an object") {
        assert_eq!(&schema["properties"][field]["default"], value, "{field}");
    }
}

#[test]
fn records_are_as_described() {
    let rule = Rule {
        number: 1,
        name: make_text(),
        category: make_text(),
        severity: Severity::High,
        hold: true,
        description: make_text(),
    };
    assert_described::<RuleSchema>(&rule, &rule);
    let given = ApprovalGiven {
        held: DecisionId::fresh(),
        by: make_text(),
    };
    assert_described::<ApprovalGivenSchema>(&given, &given);
    let quarantine = Quarantine {
        agent: make_name(),
        cause: QuarantineCause::Latency,
        reason: make_text(),
        by: make_text(),
        at_ms: Millis(1),
    };
    assert_described::<QuarantineSchema>(&quarantine, &quarantine);
    let halt = Halt {
        reason: make_text(),
        by: make_text(),
        at_ms: Millis(1),
    };
    assert_described::<HaltSchema>(&halt, &halt);
    let alert = Alert {
        at_ms: Millis(1),
        severity: AlertSeverity::Critical,
        kind: make_text(),
        agent: Some(make_name()),
        message: make_text(),
        observed: Some(1.5),
        limit: Some(1.5),
    };
    let host_alert = Alert {
        agent: None,
        observed: None,
        limit: None,
        ..alert.clone()
    };
    assert_described::<AlertSchema>(&alert, &host_alert);
    let problem = SettingsProblem {
        field: make_text(),
        problem: make_text(),
        remedy: make_text(),
    };
    assert_described::<SettingsProblemSchema>(&problem, &problem);
}

#[test]
fn manifests_and_limits_are_as_described() {
    let limits = Limits::default();
    assert_described::<LimitsSchema>(&limits, &limits);
    let table: LimitsTable = serde_json::from_value(json!(limits)).expect("the limits as a table");
    assert_described::<LimitsTableSchema>(&table, &LimitsTable::default());
    let quotas: QuotasTable =
        serde_json::from_value(json!(Quotas::default())).expect("the quotas as a table");
    assert_described::<QuotasTableSchema>(&quotas, &QuotasTable::default());
    let manifest = Manifest {
        name: make_name(),
        version: make_text(),
        component: make_text(),
        sha256: Digest::hash_bytes(b"component"),
        description: make_text(),
        topics: vec![make_text()],
        actions: vec![make_text()],
        capabilities: vec![make_text()],
        limits: table,
        quotas,
        signature: Some(make_text()),
        config: BTreeMap::from([(make_text(), json!([1, null]))]),
    };
    let least = json!({
        "name": manifest.name, "version": manifest.version, "component": manifest.component, "sha256": manifest.sha256,
    });
    serde_json::from_value::<Manifest>(least.clone()).expect("the least manifest");
    assert_described::<ManifestSchema>(&manifest, &least);
}

#[test]
fn ids_and_numbers_are_as_described() {
    fn check_schema<T: ToSchema>(value: &impl Serialize) {
        let schemas = Schemas::of::<T>();
        let value = json!(value);
        assert_eq!(schemas.find_breach(&schemas.own, &value, "value"), None);
        let Some(pattern) = schemas.own["pattern"].as_str() else {
            return;
        };
        // `regex` has no look-ahead; what it excludes, an id of zeros, is not made here.
        let pattern = regex::Regex::new(&pattern.replace("(?!0{32})", "")).expect("a pattern");
        let text = value.as_str().expect("a text");
        assert!(pattern.is_match(text), "{text} is not {pattern}");
    }
    check_schema::<DecisionIdSchema>(&DecisionId::fresh());
    check_schema::<AuditIdSchema>(&AuditId::fresh());
    check_schema::<SignalIdSchema>(&SignalId::fresh());
    check_schema::<TraceIdSchema>(&TraceId::fresh());
    check_schema::<DigestSchema>(&Digest::hash_bytes(b""));
    check_schema::<NameSchema>(&make_name());
    check_schema::<MillisSchema>(&Millis(1));
    check_schema::<ShareSchema>(&Share::new(0.5));
    for observed in [
        ObservedValue::None,
        ObservedValue::Flag(true),
        ObservedValue::Number(1.5),
        ObservedValue::Text(make_text()),
    ] {
        check_schema::<ObservedValueSchema>(&observed);
    }
}

/// The documentation of each field of a struct in the text of a file.
fn read_documentation(source: &str, name: &str) -> BTreeMap<String, String> {
    let head = format!("pub struct {name} {{\n");
    let (_, body) = source.split_once(&head).expect("the struct");
    let (body, _) = body.split_once("\n}").expect("its end");
    let mut fields = BTreeMap::new();
    let mut documentation = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            documentation.push(text);
        } else if let Some((field, _)) = line
            .strip_prefix("pub ")
            .and_then(|field| field.split_once(':'))
        {
            fields.insert(field.to_owned(), documentation.join("\n"));
            documentation.clear();
        }
    }
    fields
}

/// A schema states the documentation of its type's fields again: it must be the same.
#[test]
fn fields_are_documented_as_their_types_are() {
    fn compare_fields<T: ToSchema>(source: &str, name: &str) {
        let schema = Schemas::of::<T>().own;
        let fields = read_documentation(source, name);
        assert!(!fields.is_empty(), "{name}");
        for (field, documentation) in fields {
            let property = &schema["properties"][&field];
            // An optional reference to another schema is a choice, whose part has the text.
            let choices = property["oneOf"].as_array().into_iter().flatten();
            let shown = [property]
                .into_iter()
                .chain(choices)
                .find_map(|part| part["description"].as_str());
            assert_eq!(shown, Some(documentation.as_str()), "{name}.{field}");
        }
    }
    let action = include_str!("../../../../../model/src/action/proposal.rs");
    compare_fields::<ActionSchema>(action, "Action");
    let parameters = include_str!("../../../../../model/src/action/parameters.rs");
    compare_fields::<TradeSchema>(parameters, "Trade");
    compare_fields::<ClosePositionSchema>(parameters, "ClosePosition");
    compare_fields::<DataHandlingSchema>(parameters, "DataHandling");
    compare_fields::<FileOperationSchema>(parameters, "FileOperation");
    compare_fields::<ExecuteCodeSchema>(parameters, "ExecuteCode");
    compare_fields::<MessageSchema>(parameters, "Message");
    compare_fields::<SystemChangeSchema>(parameters, "SystemChange");
    compare_fields::<CustomSchema>(parameters, "Custom");
    let facts = include_str!("../../../../../model/src/facts.rs");
    compare_fields::<FactsSchema>(facts, "Facts");
    compare_fields::<RuleSchema>(include_str!("../../../../../model/src/verdict.rs"), "Rule");
    let decision = include_str!("../../../../../model/src/decision.rs");
    compare_fields::<ApprovalGivenSchema>(decision, "ApprovalGiven");
    let control = include_str!("../../../../../model/src/control.rs");
    compare_fields::<QuarantineSchema>(control, "Quarantine");
    compare_fields::<HaltSchema>(control, "Halt");
    compare_fields::<AlertSchema>(control, "Alert");
    let manifest = include_str!("../../../../../runtime/src/manifest.rs");
    compare_fields::<ManifestSchema>(manifest, "Manifest");
    let problem = include_str!("../../../../../runtime/src/policy/error.rs");
    compare_fields::<SettingsProblemSchema>(problem, "SettingsProblem");
}
