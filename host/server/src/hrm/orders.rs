//! Orders on the system itself (halt, resume, quarantine, restore) as they are recorded and announced.

use serde_json::json;

use ark_model::control::{Alert, AlertSeverity, Order};
use ark_model::ids::{AuditId, Millis, TraceId};
use ark_store::{AuditEntry, AuditKind, OutboxMessage};

use super::proposal::IssuedOrder;

/// The topic on which alerts are announced.
pub const ALERT_TOPIC: &str = "ark.alert";

/// The row of the audit log.
pub(super) fn order_audit_entry(
    instruction: &IssuedOrder,
    trace_id: TraceId,
    now: Millis,
) -> AuditEntry {
    let IssuedOrder {
        order,
        reason,
        by,
        origin_host: from,
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
        id: AuditId::fresh(),
        trace_id: Some(trace_id),
        agent: order.agent().cloned(),
        action_type: None,
        outcome: None,
        at: now,
        body: body.to_string(),
    }
}

/// The alert that goes with an order.
pub(super) fn order_alert(instruction: &IssuedOrder, now: Millis) -> Alert {
    let IssuedOrder {
        order, reason, by, ..
    } = instruction;
    let (severity, kind) = match order {
        Order::Halt => (AlertSeverity::Critical, "halted"),
        Order::Resume => (AlertSeverity::Info, "resumed"),
        Order::Quarantine { .. } => (AlertSeverity::Critical, "quarantined"),
        Order::Restore { .. } => (AlertSeverity::Info, "restored"),
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
