//! Execution reports: what an executor did with an approved action.
//!
//! Invariants: a report is booked once, whatever its id; what an operator must know of it is an alert of the same commit.
//!
//! Must not know: how a report is booked (the ledger does), HTTP.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::hrm::error::HrmError;
use crate::hrm::ledger::{Booking, Fill, FillAlert};
use crate::hrm::record::{decode_action, decode_facts};
use crate::hrm::request::{ExecutionReceipt, ExecutionReport, HrmReply, alert_message};
use crate::hrm::topics::EXECUTION_TOPIC;
use ark_model::action::Parameters;
use ark_model::control::{Alert, AlertSeverity};
use ark_model::decision::Outcome;
use ark_model::ids::{AuditId, Millis, TraceId};
use ark_model::meters::EXECUTION_ALERTS;
use ark_model::size::Size;
use ark_store::{AuditEntry, AuditKind, LedgerChange, OutboxMessage, ReportedExecution, Unit};

use super::state::Arbiter;

/// The kind of the alert that a fill was reported after its order had ended.
pub const LATE_FILL: &str = EXECUTION_ALERTS[0];
/// The kind of the alert that more was filled than was approved.
pub const OVERFILL: &str = EXECUTION_ALERTS[1];
/// The kind of the alert that a close traded more than was open.
pub const UNMATCHED_CLOSE: &str = EXECUTION_ALERTS[2];

impl Arbiter {
    /// Records an execution report. A report that was recorded before is acknowledged and changes nothing.
    pub(super) fn record_execution(
        &mut self,
        report: &ExecutionReport,
        reply: HrmReply<ExecutionReceipt>,
    ) {
        let now = Millis::now();
        let mut unit = self.begin_unit(now);
        match self.stage_execution(report, now, &mut unit) {
            Ok(receipt) if receipt.duplicate => {
                self.abandon_unit(unit);
                let (scope, key) = (report.idempotency_scope(), report.idempotency_key());
                self.repeat_answer(&scope, &key.key, reply, Ok(receipt));
            }
            Ok(receipt) => self.submit_unit(unit, reply, move || receipt),
            Err(error) => {
                self.abandon_unit(unit);
                reply(Err(error));
            }
        }
    }

    fn stage_execution(
        &mut self,
        report: &ExecutionReport,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<ExecutionReceipt, HrmError> {
        let unknown = HrmError::UnknownDecision(report.decision_id);
        let decided = self
            .store
            .audit_entry(&report.decision_id.to_string())?
            .filter(|row| row.kind == AuditKind::Decision);
        let Some(decided) = decided else {
            return Err(unknown);
        };
        let (Some(agent), Some(trace_id)) = (decided.agent, decided.trace_id) else {
            return Err(unknown);
        };
        let scope = report.idempotency_scope();
        let key = report.idempotency_key();
        if self.find_answer(&scope, &key)?.is_some() {
            return Ok(ExecutionReceipt {
                duplicate: true,
                trace_id,
            });
        }
        if decided.outcome != Some(Outcome::Approved) {
            let outcome = decided.outcome.map_or("no decision", Outcome::as_str);
            return Err(HrmError::NotExecutable(format!("its outcome is {outcome}")));
        }
        let booking = self.book_report(report, &decided.body, now, unit)?;
        let payload = execution_payload(report, &booking, now);
        let announces = self.announcing.load(Ordering::Acquire);
        if announces && booking.is_news {
            let causal_depth =
                decode_facts(&decided.body).map_or(1, |facts| facts.causal_depth.saturating_add(1));
            unit.outbox.push(OutboxMessage {
                topic: EXECUTION_TOPIC.to_owned(),
                to: None,
                payload_json: payload.to_string(),
                trace_id,
                sender: None,
                causal_depth,
                at: now,
            });
        }
        let mut body = payload;
        if let Some(by) = &report.by {
            body["by"] = json!(by);
        }
        let id = AuditId::fresh();
        self.stage_answer(&scope, Some(key), || id.to_string(), unit);
        unit.audit.push(AuditEntry {
            kind: AuditKind::Execution,
            id,
            trace_id: Some(trace_id),
            agent: Some(agent),
            action_type: decided.action_type,
            outcome: None,
            at: now,
            body: body.to_string(),
            subject: None,
        });
        stage_alerts(&booking, trace_id, announces, now, unit);
        unit.ledger.extend(booking.changes);
        unit.ledger.push(LedgerChange::Execution(ReportedExecution {
            reporter: report.reporter().to_owned(),
            execution_id: report.execution_id.clone(),
            decision_id: report.decision_id,
            status: report.status,
            filled: report.filled,
            price: report.price,
            realised: report.realised,
            at: now,
        }));
        Ok(ExecutionReceipt {
            duplicate: false,
            trace_id,
        })
    }

    /// Books a report in the ledger. `decided` is the record of the decision.
    ///
    /// # Errors
    /// [`HrmError::NotExecutable`] for an action that is neither a trade nor a close; [`HrmError::ReportRefused`] for a report that does not fit its order.
    fn book_report(
        &mut self,
        report: &ExecutionReport,
        decided: &str,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<Booking, HrmError> {
        let id = report.decision_id;
        if self.ledger.find_order(id).is_none()
            && may_have_order(decided)
            && let Some(order) = self.store.trade_order(id)?
        {
            unit.ledger.extend(self.ledger.restore_order(order, now));
        }
        let fill = Fill {
            status: report.status,
            filled: report.filled.map(Size::from_fraction),
            price: report.price,
            realised: report.realised,
            at: now,
        };
        let booked = self.ledger.book_report(id, &fill).ok_or_else(|| {
            HrmError::NotExecutable("it is neither a trade nor a close_position".to_owned())
        })?;
        Ok(booked?)
    }
}

/// Whether a recorded action may have an order: a trade, a close, or one that cannot be read. Nothing is searched for others.
fn may_have_order(decided: &str) -> bool {
    decode_action(decided).map_or(true, |action| {
        matches!(
            action.parameters,
            Parameters::Trade(_) | Parameters::ClosePosition(_)
        )
    })
}

/// Returns the body of a report's audit row, which is also the payload of the signal that announces it.
fn execution_payload(report: &ExecutionReport, booking: &Booking, now: Millis) -> Value {
    let order = &booking.order;
    json!({
        "execution_id": report.execution_id,
        "decision_id": report.decision_id,
        "agent": order.agent,
        "symbol": &*order.symbol,
        "status": report.status.as_str(),
        "filled_size_pct": report.filled,
        "price": report.price,
        "realized_pnl_pct": booking.realised,
        "order_state": order.state.as_str(),
        "order_filled_pct": order.filled.as_fraction(),
        "added_size_pct": booking.added.as_fraction(),
        "at_ms": now,
    })
}

/// Adds the alerts of a report to the unit, and announces them to the subscribers.
fn stage_alerts(
    booking: &Booking,
    trace_id: TraceId,
    announces: bool,
    now: Millis,
    unit: &mut Unit,
) {
    let order = &booking.order;
    let subject = format!("order {} in {}", order.decision_id, order.symbol);
    for alert in &booking.alerts {
        let (kind, size, what) = match *alert {
            FillAlert::Late { size } => (
                LATE_FILL,
                size,
                format!("was {} when a fill was reported", order.state.as_str()),
            ),
            FillAlert::Over { size } => (
                OVERFILL,
                size,
                format!("was filled beyond its size of {}", order.size),
            ),
            FillAlert::Unmatched { size } => (
                UNMATCHED_CLOSE,
                size,
                "closed more than was open".to_owned(),
            ),
        };
        tracing::warn!(kind, order = %order.decision_id, agent = %order.agent, %size, "an execution needs attention");
        let alert = Alert {
            at_ms: now,
            severity: AlertSeverity::Critical,
            kind: kind.to_owned(),
            agent: Some(order.agent.clone()),
            message: format!("{subject} {what}: {size} of capital is booked as exposure"),
            observed: Some(size.as_fraction()),
            limit: None,
        };
        if announces {
            unit.outbox.push(alert_message(&alert, trace_id));
        }
        unit.alerts.push(alert);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::form::{parse_action, parse_json};

    #[test]
    fn an_order_is_searched_only_for_what_may_have_one() {
        for (action_type, parameters, may_have_one) in [
            (
                "trade",
                json!({ "symbol": "X", "position_size_pct": 0.01 }),
                true,
            ),
            ("close_position", json!({ "symbol": "X" }), true),
            ("publish", json!({ "topic": "t", "text": "t" }), false),
            ("message", json!({ "to": "ben", "text": "t" }), false),
        ] {
            let proposed =
                json!({ "agent": "ann", "action_type": action_type, "parameters": parameters })
                    .to_string();
            let parsed = parse_action(parse_json(proposed.as_bytes()).unwrap()).unwrap();
            let recorded = json!({ "action": parsed.action }).to_string();
            assert!(decode_action(&recorded).is_ok(), "{recorded}");
            assert_eq!(may_have_order(&recorded), may_have_one, "{recorded}");
        }
        // What this program cannot read may be what a later one recorded of a trade.
        assert!(may_have_order(r#"{"action":{"agent":"ann"}}"#));
        assert!(may_have_order("not a record"));
    }
}
