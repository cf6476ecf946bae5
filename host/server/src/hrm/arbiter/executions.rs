//! Execution reports: what an executor did with an approved action.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::hrm::error::HrmError;
use crate::hrm::ledger::Fill;
use crate::hrm::record::{decode_action, decode_facts};
use crate::hrm::request::{ExecutionReceipt, ExecutionReport, Reply};
use crate::hrm::topics::EXECUTION_TOPIC;
use ark_model::action::{Action, Parameters};
use ark_model::decision::Outcome;
use ark_model::ids::{AuditId, Millis, Name};
use ark_store::{AuditEntry, AuditKind, LedgerChange, OutboxMessage, Unit};

use super::state::Arbiter;

/// The scope of the executors' ids: one for all executors.
const SCOPE: &str = "execution:";

impl Arbiter {
    /// Records an execution report. A report that was recorded before is acknowledged and changes nothing.
    pub(super) fn record_execution(
        &mut self,
        report: &ExecutionReport,
        reply: Reply<ExecutionReceipt>,
    ) {
        let now = Millis::now();
        let mut unit = self.begin_unit(now);
        match self.stage_execution(report, now, &mut unit) {
            // The first report may not be durable yet.
            Ok(receipt) if receipt.duplicate => self
                .store
                .call_after_pending(Box::new(move || reply(Ok(receipt)))),
            Ok(receipt) => self.submit_unit(unit, reply, move || receipt),
            Err(error) => reply(Err(error)),
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
        let key = report.idempotency_key();
        if self.find_answer(SCOPE, &key)?.is_some() {
            return Ok(ExecutionReceipt {
                duplicate: true,
                trace_id,
            });
        }
        if decided.outcome != Some(Outcome::Approved) {
            let outcome = decided.outcome.map_or("no decision", Outcome::as_str);
            return Err(HrmError::NotExecutable(format!("its outcome is {outcome}")));
        }
        let action = decode_action(&decided.body)?;
        let symbol = self.stage_fill(report, &agent, &action, now, unit)?;
        let payload = json!({
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
        if self.announcing.load(Ordering::Acquire) {
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
        self.stage_answer(SCOPE, Some(key), id.to_string(), unit);
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
        Ok(ExecutionReceipt {
            duplicate: false,
            trace_id,
        })
    }

    /// Records the execution in the ledger and adds its changes to the unit. Returns the symbol.
    ///
    /// # Errors
    /// [`HrmError::NotExecutable`] for an action that is neither a trade nor a `close_position`.
    fn stage_fill(
        &mut self,
        report: &ExecutionReport,
        agent: &Name,
        action: &Action,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<String, HrmError> {
        let fill = Fill {
            status: report.status,
            filled: report.filled,
            realised: report.realised,
            at: now,
        };
        let (symbol, changes) = match &action.parameters {
            Parameters::Trade(trade) => {
                let id = report.decision_id;
                let changes = self.ledger.fill_trade(id, agent, trade, fill);
                (&trade.symbol, changes)
            }
            Parameters::ClosePosition(close) => {
                let changes = self.ledger.fill_close(agent, &close.symbol, fill);
                (&close.symbol, changes)
            }
            _ => {
                return Err(HrmError::NotExecutable(
                    "it is neither a trade nor a close_position".to_owned(),
                ));
            }
        };
        unit.ledger.extend(changes);
        unit.ledger.push(LedgerChange::Execution {
            execution_id: report.execution_id.clone(),
            decision_id: report.decision_id,
            status: report.status.as_str().to_owned(),
            filled: report.filled,
            price: report.price,
            realised: report.realised,
            at: now,
        });
        Ok(symbol.clone())
    }
}
