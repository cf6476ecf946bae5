//! Which type an event has, and which channel it is published to.
//!
//! A type is `ark.` and the kind that the event has in `/v1/events`, mostly with a word that says more: `ark.decision.denied`.

use serde_json::Value;

use ark_model::control::Alert;
use ark_store::{AuditKind, AuditRow};

/// A channel of pub/sub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum EventChannel {
    /// About agents: failures, executions, quarantines, versions, and what operators change of an agent.
    AgentEvents,
    /// What is judged: decisions, approvals, requests for another Graveyard.
    GraveyardEvents,
    /// About the host: halts, and what operators change.
    SystemEvents,
    /// Alerts of the watchdog.
    Alerts,
}

impl EventChannel {
    /// Returns the name of the channel.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The type of an event, and its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventClass {
    /// The type.
    pub event_type: String,
    /// The channel.
    pub channel: EventChannel,
}

/// Classifies a row of the audit log. `detail` is its body, of anything but a decision; `breaks_rules` says whether the action of a decision
/// violates a rule.
#[must_use]
pub fn classify_row(row: &AuditRow, detail: &Value, breaks_rules: bool) -> EventClass {
    let word = match row.kind {
        AuditKind::Decision if breaks_rules => Some("violation"),
        AuditKind::Decision => row.outcome.map(Into::into),
        AuditKind::Control => detail["order"].as_str(),
        AuditKind::Execution | AuditKind::Approval => detail["status"].as_str(),
        AuditKind::Operator => row.action_type.as_deref(),
        AuditKind::Deployment => detail["step"].as_str(),
        AuditKind::Failure | AuditKind::Amendment => None,
    };
    let channel = match row.kind {
        AuditKind::Decision | AuditKind::Approval | AuditKind::Amendment => {
            EventChannel::GraveyardEvents
        }
        AuditKind::Failure | AuditKind::Execution => EventChannel::AgentEvents,
        AuditKind::Control | AuditKind::Operator if row.agent.is_some() => {
            EventChannel::AgentEvents
        }
        AuditKind::Control | AuditKind::Operator | AuditKind::Deployment => {
            EventChannel::SystemEvents
        }
    };
    EventClass {
        event_type: join_type(row.kind.as_str(), word),
        channel,
    }
}

/// Classifies an alert.
#[must_use]
pub fn classify_alert(alert: &Alert) -> EventClass {
    EventClass {
        event_type: join_type("alert", Some(alert.severity.as_str())),
        channel: EventChannel::Alerts,
    }
}

fn join_type(kind: &str, word: Option<&str>) -> String {
    match word {
        Some(word) => format!("ark.{kind}.{word}"),
        None => format!("ark.{kind}"),
    }
}

#[cfg(test)]
mod tests {
    use ark_model::control::AlertSeverity;
    use ark_model::decision::Outcome;
    use ark_model::ids::{Digest, Millis};
    use serde_json::json;

    use super::*;

    fn make_row(kind: AuditKind, agent: Option<&str>, action_type: Option<&str>) -> AuditRow {
        AuditRow {
            seq: 1,
            kind,
            id: "i".to_owned(),
            trace_id: None,
            agent: agent.map(|name| name.parse().unwrap()),
            action_type: action_type.map(str::to_owned),
            outcome: (kind == AuditKind::Decision).then_some(Outcome::Denied),
            at: Millis(1),
            body: String::new(),
            hash: Digest::from_bytes([0; 32]),
        }
    }

    #[test]
    fn every_kind_has_its_type_and_its_channel() {
        use EventChannel::{AgentEvents, GraveyardEvents, SystemEvents};
        let decision = make_row(AuditKind::Decision, Some("kyle"), Some("trade"));
        for (row, detail, breaks_rules, event_type, channel) in [
            (
                decision.clone(),
                json!(null),
                false,
                "ark.decision.denied",
                GraveyardEvents,
            ),
            (
                decision,
                json!(null),
                true,
                "ark.decision.violation",
                GraveyardEvents,
            ),
            (
                make_row(AuditKind::Approval, Some("kyle"), Some("trade")),
                json!({"status": "rejected"}),
                false,
                "ark.approval.rejected",
                GraveyardEvents,
            ),
            (
                make_row(AuditKind::Amendment, None, None),
                json!({}),
                false,
                "ark.amendment",
                GraveyardEvents,
            ),
            (
                make_row(AuditKind::Deployment, None, None),
                json!({"step": "went-back"}),
                false,
                "ark.deployment.went-back",
                SystemEvents,
            ),
            (
                make_row(AuditKind::Failure, Some("kyle"), None),
                json!({}),
                false,
                "ark.failure",
                AgentEvents,
            ),
            (
                make_row(AuditKind::Execution, Some("kyle"), Some("trade")),
                json!({"status": "filled"}),
                false,
                "ark.execution.filled",
                AgentEvents,
            ),
            (
                make_row(AuditKind::Control, Some("kyle"), None),
                json!({"order": "quarantine"}),
                false,
                "ark.control.quarantine",
                AgentEvents,
            ),
            (
                make_row(AuditKind::Control, None, None),
                json!({"order": "halt"}),
                false,
                "ark.control.halt",
                SystemEvents,
            ),
            (
                make_row(AuditKind::Operator, None, Some("token.create")),
                json!({}),
                false,
                "ark.operator.token.create",
                SystemEvents,
            ),
            (
                make_row(AuditKind::Operator, Some("kyle"), Some("state.set")),
                json!({}),
                false,
                "ark.operator.state.set",
                AgentEvents,
            ),
        ] {
            let class = classify_row(&row, &detail, breaks_rules);
            assert_eq!(
                (class.event_type.as_str(), class.channel),
                (event_type, channel)
            );
        }
        let alert = Alert {
            at_ms: Millis(1),
            severity: AlertSeverity::Warning,
            kind: "limit_fuel".to_owned(),
            agent: None,
            message: String::new(),
            observed: None,
            limit: None,
        };
        let class = classify_alert(&alert);
        assert_eq!(class.event_type, "ark.alert.warning");
        assert_eq!(class.channel.as_str(), "alerts");
    }
}
