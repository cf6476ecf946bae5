//! Orders on the host (halt, resume, quarantine, restore) and how they are recorded and announced.

use serde::{Deserialize, Serialize};
use serde_json::json;

use ark_model::control::{Alert, AlertSeverity, Order};
use ark_model::ids::{AuditId, Millis, TraceId};
use ark_store::{AuditEntry, AuditKind, OutboxMessage};

use crate::hrm::topics::ALERT_TOPIC;

use super::idempotency::IdempotencyKey;

/// An order together with who gives it and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedOrder {
    /// The order.
    pub order: Order,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The reason, for the audit log.
    pub reason: String,
    /// The actor: `watchdog`, or an operator's name.
    pub by: String,
    /// The host of the fleet at which it was given. `None`: this host.
    pub origin_host: Option<String>,
    /// The idempotency key, unique for the actor.
    pub idempotency: Option<IdempotencyKey>,
}

/// The answer to an order that is durable. Stored as the answer of an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReceipt {
    /// `false`: the order was in force already, with the reason it was first given.
    pub changed: bool,
    /// When it came into force.
    pub at: Millis,
}

impl IssuedOrder {
    /// Whether the order halts or quarantines: then it is in force at once.
    pub(in crate::hrm) const fn tightens(&self) -> bool {
        matches!(self.order, Order::Halt | Order::Quarantine { .. })
    }

    /// The order's row of the audit log.
    pub(in crate::hrm) fn audit_entry(&self, now: Millis) -> AuditEntry {
        let mut body = json!(self.order);
        body["reason"] = json!(self.reason);
        body["by"] = json!(self.by);
        if let Some(host) = &self.origin_host {
            body["from"] = json!(host);
        }
        AuditEntry {
            kind: AuditKind::Control,
            id: AuditId::fresh(),
            trace_id: Some(self.trace_id),
            agent: self.order.agent().cloned(),
            action_type: None,
            outcome: None,
            at: now,
            body: body.to_string(),
            subject: None,
        }
    }

    /// The alert that is raised with the order.
    pub(in crate::hrm) fn alert(&self, now: Millis) -> Alert {
        let (severity, kind) = match self.order {
            Order::Halt => (AlertSeverity::Critical, "halted"),
            Order::Resume => (AlertSeverity::Info, "resumed"),
            Order::Quarantine { .. } => (AlertSeverity::Critical, "quarantined"),
            Order::Restore { .. } => (AlertSeverity::Info, "restored"),
        };
        Alert {
            at_ms: now,
            severity,
            kind: kind.to_owned(),
            agent: self.order.agent().cloned(),
            message: format!("{}: {}", self.by, self.reason),
            observed: None,
            limit: None,
        }
    }
}

/// Returns the message that announces an alert to the agents that subscribe to [`ALERT_TOPIC`].
#[must_use]
pub fn alert_message(alert: &Alert, trace_id: TraceId) -> OutboxMessage {
    OutboxMessage {
        topic: ALERT_TOPIC.to_owned(),
        to: None,
        payload_json: json!(alert).to_string(),
        trace_id,
        sender: None,
        causal_depth: 1,
        at: alert.at_ms,
    }
}
