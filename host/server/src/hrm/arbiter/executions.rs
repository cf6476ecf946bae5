//! Execution reports: what became of what was approved.

use std::sync::atomic::Ordering;

use ark_model::action::Parameters;
use ark_model::decision::Outcome;
use ark_model::ids::{AuditId, Digest, Fraction, Millis};
use ark_store::{
    AuditEntry, AuditKind, LedgerChange, OutboxMessage, Position, PositionStatus, Unit,
};

use super::super::handle::Reply;
use super::super::ledger::Fill;
use super::super::proposal::{ExecutionReceipt, ExecutionReport, HrmError, IdempotencyKey};
use super::{Arbiter, parse_recorded_action, parse_recorded_facts};

impl Arbiter {
    pub(super) fn record_execution(
        &mut self,
        report: &ExecutionReport,
        reply: Reply<ExecutionReceipt>,
    ) {
        let now = Millis::now();
        let mut unit = Unit {
            ledger: self.ledger.advance_to(now),
            chained: true,
            ..Unit::default()
        };
        match self.stage_execution(report, now, &mut unit) {
            Ok(receipt) if receipt.duplicate => {
                self.store
                    .call_after_pending(Box::new(move || reply(Ok(receipt))));
            }
            Ok(receipt) => self.submit_unit(unit, reply, move |_| receipt),
            Err(error) => reply(Err(error)),
        }
    }

    fn stage_execution(
        &mut self,
        report: &ExecutionReport,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<ExecutionReceipt, HrmError> {
        const SCOPE: &str = "execution:";
        let unreadable = |error: &dyn std::fmt::Display| HrmError::NotRecorded(error.to_string());
        let decided = self
            .store
            .audit_entry(&report.decision_id.to_string())
            .map_err(|error| unreadable(&error))?
            .filter(|row| row.kind == AuditKind::Decision)
            .ok_or(HrmError::UnknownDecision(report.decision_id))?;
        let (Some(agent), Some(trace_id)) = (decided.agent.clone(), decided.trace_id) else {
            return Err(HrmError::UnknownDecision(report.decision_id));
        };
        let key = IdempotencyKey {
            key: report.execution_id.clone(),
            // The same report from another sender is the same report.
            request_digest: Digest::hash_bytes(
                format!(
                    "{:?}",
                    ExecutionReport {
                        by: None,
                        ..report.clone()
                    }
                )
                .as_bytes(),
            ),
            legacy_digest: None,
        };
        match self.find_answer(SCOPE, &key)? {
            Some((request, _)) if request != key.request_digest => return Err(HrmError::KeyReused),
            Some(_) => {
                return Ok(ExecutionReceipt {
                    duplicate: true,
                    trace_id,
                });
            }
            None => {}
        }
        if decided.outcome != Some(Outcome::Approved) {
            let outcome = decided.outcome.map_or("no decision", Outcome::as_str);
            return Err(HrmError::NotExecutable(format!("its outcome is {outcome}")));
        }
        let action = parse_recorded_action(&decided.body).map_err(|error| unreadable(&error))?;
        let fill = Fill {
            status: report.status,
            filled: report.filled,
            realised: report.realised,
            at: now,
        };
        let symbol = match &action.parameters {
            Parameters::Trade(trade) => {
                let position = self
                    .ledger
                    .get_position(report.decision_id)
                    .cloned()
                    .unwrap_or_else(|| Position {
                        decision_id: report.decision_id,
                        agent: agent.clone(),
                        symbol: trade.symbol.clone(),
                        side: trade.side,
                        size: Fraction::new(trade.position_size_pct).unwrap_or(Fraction::ZERO),
                        leverage: trade.leverage,
                        status: PositionStatus::Released,
                        since: now,
                        expires_at: None,
                    });
                unit.ledger.extend(self.ledger.fill_trade(position, fill));
                trade.symbol.clone()
            }
            Parameters::ClosePosition(close) => {
                unit.ledger
                    .extend(self.ledger.fill_close(&agent, &close.symbol, fill));
                close.symbol.clone()
            }
            _ => {
                return Err(HrmError::NotExecutable(
                    "it is neither a trade nor a close_position".to_owned(),
                ));
            }
        };
        unit.ledger.push(LedgerChange::Execution {
            execution_id: report.execution_id.clone(),
            decision_id: report.decision_id,
            status: report.status.as_str().to_owned(),
            filled: report.filled,
            price: report.price,
            realised: report.realised,
            at: now,
        });
        let payload = serde_json::json!({
            "execution_id": report.execution_id,
            "decision_id": report.decision_id,
            "agent": agent,
            "symbol": symbol,
            "status": report.status.as_str(),
            "filled_size_pct": report.filled,
            "price": report.price,
            "realized_pnl_pct": report.realised,
            "at_ms": now,
        });
        let id = AuditId::fresh();
        self.stage_answer(SCOPE, key, id.to_string(), unit);
        let mut body = payload.clone();
        if let Some(by) = &report.by {
            body["by"] = serde_json::json!(by);
        }
        unit.audit.push(AuditEntry {
            kind: AuditKind::Execution,
            id,
            trace_id: Some(trace_id),
            agent: Some(agent),
            action_type: Some(action.action_type),
            outcome: None,
            at: now,
            body: body.to_string(),
        });
        if self.announcing.load(Ordering::Acquire) {
            let causal_depth = parse_recorded_facts(&decided.body)
                .map_or(1, |facts| facts.causal_depth.saturating_add(1));
            unit.outbox.push(OutboxMessage {
                topic: "ark.execution".to_owned(),
                to: None,
                payload_json: payload.to_string(),
                trace_id,
                sender: None,
                causal_depth,
                at: now,
            });
        }
        Ok(ExecutionReceipt {
            duplicate: false,
            trace_id,
        })
    }
}
