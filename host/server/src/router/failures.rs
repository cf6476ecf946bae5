//! The units that complete a delivery as failed, each with its row of the audit log.

use ark_model::ids::{AuditId, Millis, Name, SignalId, TraceId};
use ark_model::signal::Signal;
use ark_store::{AuditEntry, AuditKind, DeliveryCompletion, DeliveryResult, ExpiredDelivery, Unit};

/// Makes the unit for a delivery that no agent was handed. `kind` and `reason` stand in the audit row.
pub(super) fn undelivered_unit(
    delivery: &ExpiredDelivery,
    kind: &str,
    reason: &str,
    now: Millis,
) -> Unit {
    let body = serde_json::json!({
        "signal_id": delivery.signal,
        "kind": kind,
        "reason": reason,
    });
    let ExpiredDelivery {
        agent,
        signal,
        trace_id,
    } = delivery;
    failed_delivery_unit(
        AuditId::fresh(),
        agent,
        (*signal, *trace_id),
        reason.to_owned(),
        &body,
        now,
    )
}

/// Names the delivery of a signal to an agent.
pub(super) fn delivery_of(agent: &Name, signal: &Signal) -> ExpiredDelivery {
    ExpiredDelivery {
        agent: agent.clone(),
        signal: signal.id,
        trace_id: signal.trace_id,
    }
}

/// Makes the unit that completes a delivery as failed. `body` is that of the audit row.
pub(super) fn failed_delivery_unit(
    id: AuditId,
    agent: &Name,
    (signal, trace_id): (SignalId, TraceId),
    reason: String,
    body: &serde_json::Value,
    now: Millis,
) -> Unit {
    Unit {
        audit: vec![AuditEntry {
            kind: AuditKind::Failure,
            id,
            trace_id: Some(trace_id),
            agent: Some(agent.clone()),
            action_type: None,
            outcome: None,
            at: now,
            body: body.to_string(),
            subject: None,
        }],
        delivery: Some(DeliveryCompletion {
            signal,
            agent: agent.clone(),
            result: DeliveryResult::Failed {
                reason,
                failure: id,
            },
            at: now,
        }),
        at: now,
        may_use_reserve: true,
        ..Unit::default()
    }
}
