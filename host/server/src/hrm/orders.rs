//! Orders on the system itself (halt, resume, quarantine, restore) as they are recorded and announced.

use serde_json::json;

use ark_model::control::{Alert, Order, Severity};
use ark_model::ids::{DecisionId, Millis, TraceId};
use ark_store::{AuditEntry, AuditKind, OutboxMessage};

use super::proposal::Instruction;

/// The topic on which alerts are announced.
pub const ALERT_TOPIC: &str = "ark.alert";

/// The row of the audit log.
pub(super) fn entry(instruction: &Instruction, trace_id: TraceId, now: Millis) -> AuditEntry {
    let Instruction {
        order,
        reason,
        by,
        from,
        ..
    } = instruction;
    let mut body = json!(order);
    body["reason"] = json!(reason);
    body["by"] = json!(by);
    if let Some(from) = from {
        body["from"] = json!(from);
    }
    AuditEntry {
        kind: AuditKind::Control,
        id: DecisionId::fresh().to_string(),
        trace_id: Some(trace_id),
        agent: order.agent().cloned(),
        action_type: None,
        outcome: None,
        at: now,
        body: body.to_string(),
    }
}

/// The alert that goes with an order.
pub(super) fn alert(instruction: &Instruction, now: Millis) -> Alert {
    let Instruction {
        order, reason, by, ..
    } = instruction;
    let (severity, kind) = match order {
        Order::Halt => (Severity::Critical, "halted"),
        Order::Resume => (Severity::Info, "resumed"),
        Order::Quarantine { .. } => (Severity::Critical, "quarantined"),
        Order::Restore { .. } => (Severity::Info, "restored"),
    };
    Alert {
        at_ms: now,
        severity,
        kind: kind.to_owned(),
        agent: order.agent().cloned(),
        message: format!("{by}: {reason}"),
        observed: None,
        limit: None,
    }
}

/// An alert as a message to the agents that subscribe to [`ALERT_TOPIC`].
#[must_use]
pub fn announcement(alert: &Alert, trace_id: TraceId) -> OutboxMessage {
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
