//! Which texts of an action are redacted, before anything is judged or stored.
//!
//! What was found is attested as a fact, by kind and never by value, so that a rule can deny an action for what it contained. Every free text and
//! every open JSON of an action is searched by [`ark_redaction`], which says what is found. Symbols, topics and the names of agents are
//! identifiers: credentials are found in them, digits are left alone.
//!
//! Must not know: rules, storage.

use ark_model::action::{Action, Parameters};

pub use ark_redaction::{Findings, redact_text};

use ark_redaction::Redactor;

const SYMBOL: &str = "parameters.symbol";

/// An action after redaction.
#[derive(Debug, Clone, PartialEq)]
pub struct RedactedAction {
    /// The action, redacted.
    pub action: Action,
    /// The kinds of credentials and personal data that were found.
    pub findings: Findings,
    /// How many bytes of texts were searched.
    pub text_bytes: usize,
    /// The identifier that held a credential, e.g. `parameters.symbol`. What is left of it names something else, so such an action must be
    /// denied.
    pub altered_identifier: Option<&'static str>,
}

/// Replaces every credential in an action by `[credential:KIND]` and every item of personal data by `[personal:KIND]`. The action type stays:
/// it says how the action is judged, and its form has no room for most secrets.
#[must_use]
pub fn redact_action(mut action: Action) -> RedactedAction {
    let mut redactor = Redactor::default();
    let texts = [&mut action.reasoning, &mut action.rollback_plan];
    for text in texts.into_iter().flatten().chain(&mut action.sources) {
        redactor.redact_text(text);
    }
    let altered_identifier = redact_parameters(&mut redactor, &mut action.parameters);
    RedactedAction {
        action,
        text_bytes: redactor.searched_bytes(),
        findings: redactor.into_findings(),
        altered_identifier,
    }
}

/// Redacts the parameters. Returns the identifier that was altered.
fn redact_parameters(redactor: &mut Redactor, parameters: &mut Parameters) -> Option<&'static str> {
    let mut altered = None;
    let mut redact_identifier =
        |redactor: &mut Redactor, field: &'static str, text: &mut String| {
            if redactor.redact_identifier(text) {
                altered = Some(field);
            }
        };
    match parameters {
        Parameters::Trade(trade) => {
            redact_identifier(redactor, SYMBOL, &mut trade.symbol);
            redactor.redact_json(&mut trade.extra_json);
        }
        Parameters::ClosePosition(close) => {
            redact_identifier(redactor, SYMBOL, &mut close.symbol);
            redactor.redact_json(&mut close.extra_json);
        }
        Parameters::Data(data) => {
            let texts = [&mut data.subject, &mut data.destination, &mut data.purpose];
            for text in texts.into_iter().flatten() {
                redactor.redact_text(text);
            }
            redactor.redact_json(&mut data.extra_json);
        }
        Parameters::File(file) => {
            redactor.redact_text(&mut file.path);
            redactor.redact_json(&mut file.extra_json);
        }
        Parameters::Code(code) => {
            for text in code.language.iter_mut().chain([&mut code.code]) {
                redactor.redact_text(text);
            }
            redactor.redact_json(&mut code.extra_json);
        }
        Parameters::Message(message) => {
            for (field, text) in [
                ("parameters.topic", &mut message.topic),
                ("parameters.to", &mut message.to),
                (SYMBOL, &mut message.symbol),
            ] {
                if let Some(text) = text {
                    redact_identifier(redactor, field, text);
                }
            }
            if let Some(text) = &mut message.text {
                redactor.redact_text(text);
            }
            if let Some(payload) = &mut message.payload_json {
                redactor.redact_json(payload);
            }
            redactor.redact_json(&mut message.extra_json);
        }
        Parameters::System(system) => {
            redactor.redact_json(&mut system.parameters_json);
        }
        Parameters::Custom(custom) => {
            redactor.redact_json(&mut custom.parameters_json);
        }
    }
    altered
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::check::check_action;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "cases write JSON in place")]
    fn make_action(action_type: &str, parameters: serde_json::Value) -> Action {
        let action = json!({
            "action_type": action_type, "parameters": parameters, "criticality": "normal",
            "reasoning": "password = hunter22xx", "rollback_plan": "ask bob@example.com", "sources": ["redis://:hunter22xx@cache:6379/0"],
        });
        check_action(serde_json::from_value(action).expect("an action")).expect("in form")
    }

    #[test]
    fn no_free_text_of_any_family_keeps_what_is_found() {
        const SECRET: &str = "DB_PASSWORD=hunter22xx";
        let extra = r#"{"note":{"client_secret":"hunter22xx"}}"#;
        for action in [
            make_action(
                "trade",
                json!({"symbol": "BTC-USD", "side": "buy", "position_size_pct": 0.01, "leverage": 1.0, "extra_json": extra}),
            ),
            make_action(
                "close_position",
                json!({"symbol": "BTC-USD", "extra_json": extra}),
            ),
            make_action(
                "store_data",
                json!({"operation": "store", "subject": SECRET, "destination": SECRET, "purpose": SECRET, "contains_personal_data": true,
                    "encryption": true, "anonymized": false, "extra_json": extra}),
            ),
            make_action(
                "file_operation",
                json!({"operation": "write", "path": "/srv/DB_PASSWORD=hunter22xx", "extra_json": extra}),
            ),
            make_action(
                "execute_code",
                json!({"language": SECRET, "code": SECRET, "extra_json": extra}),
            ),
            make_action(
                "message",
                json!({"text": SECRET, "payload_json": extra, "extra_json": extra}),
            ),
        ] {
            let RedactedAction {
                action, findings, ..
            } = redact_action(action);
            let json = serde_json::to_string(&action).expect("JSON");
            assert!(
                !json.contains("hunter22xx") && !json.contains("bob@"),
                "{json}"
            );
            assert_eq!(findings.credentials, ["password", "url-password"], "{json}");
            assert_eq!(findings.personal_data, ["email"]);
        }
    }

    #[test]
    fn identifiers_lose_credentials_and_keep_their_digits() {
        let message = |topic: &str| {
            let action = json!({"action_type": "message", "criticality": "normal", "parameters": {"topic": topic, "text": "x"}});
            redact_action(serde_json::from_value(action).expect("an action"))
        };
        let token = format!("a.ark_{}", "0123456789abcdef".repeat(4));
        let redacted = message(&token);
        assert_eq!(redacted.findings.credentials, ["ark-token"]);
        assert_eq!(redacted.altered_identifier, Some("parameters.topic"));
        let json = serde_json::to_string(&redacted.action).expect("JSON");
        assert!(!json.contains("0123456789abcdef"), "{json}");
        let redacted = message("cards.4111111111111111");
        assert_eq!(redacted.findings, Findings::default());
        assert_eq!(redacted.altered_identifier, None);
        let json = serde_json::to_string(&redacted.action).expect("JSON");
        assert!(json.contains("cards.4111111111111111"), "{json}");
    }
}
