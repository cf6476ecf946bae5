//! Orders on the system itself: halt, resume, quarantine, restore.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ark_model::control::{Halt, Order, Quarantine};
use ark_model::ids::{Millis, Name};
use ark_store::{ControlChange, Unit};

use super::super::handle::Reply;
use super::super::metering;
use super::super::orders::{alert_message, order_alert, order_audit_entry};
use super::super::proposal::{HrmError, IssuedOrder, OrderReceipt};
use super::Arbiter;

impl Arbiter {
    /// Carries out an order. What tightens is in force from here on, whether or not it can be recorded; what loosens only once it is.
    pub(super) fn carry_out_order(
        &mut self,
        mut instruction: IssuedOrder,
        reply: Reply<OrderReceipt>,
    ) {
        let tightens = matches!(instruction.order, Order::Halt | Order::Quarantine { .. });
        let scope = format!("order:{}", instruction.by);
        let key = instruction.idempotency.take();
        // A database that cannot be read is no reason not to halt.
        let unreadable = key
            .as_ref()
            .is_some_and(|key| tightens && self.find_answer(&scope, key).is_err());
        let asked = key.as_ref().filter(|_| !unreadable);
        let Some(reply) = self.check_idempotency(&scope, asked, reply, super::parse_stored_answer)
        else {
            return;
        };
        let now = Millis::now();
        let (change, standing) = match self.control_change(&instruction, now) {
            Ok(change) => change,
            Err(error) => return reply(Err(error)),
        };
        // What is in force already is recorded once more: the first order may not have come to disk.
        let receipt = OrderReceipt {
            changed: standing.is_none(),
            at: standing.unwrap_or(now),
        };
        match &change {
            ControlChange::Halt(halt) => self.guards.begin_halt(halt.clone()),
            ControlChange::Quarantine(quarantine) => {
                self.guards.begin_quarantine(quarantine.clone());
            }
            ControlChange::Resume | ControlChange::Restore(_) => {}
        }
        tracing::warn!(
            order = instruction.order.as_str(),
            agent = instruction.order.agent().map(Name::as_str),
            by = instruction.by,
            reason = instruction.reason,
            "ordered"
        );
        let trace_id = instruction.trace_id;
        let alert = order_alert(&instruction, now);
        let mut unit = Unit {
            control: vec![change.clone()],
            audit: vec![order_audit_entry(&instruction, trace_id, now)],
            ..Unit::default()
        };
        if self.announcing.load(Ordering::Acquire) {
            unit.outbox.push(alert_message(&alert, trace_id));
        }
        unit.alerts.push(alert);
        if let Some(key) = key {
            let answer = serde_json::to_string(&receipt).unwrap_or_default();
            self.stage_answer(&scope, key, answer, &mut unit);
        }
        let guards = Arc::clone(&self.guards);
        let meters = Arc::clone(&self.config.meters);
        self.submit_unit(unit, reply, move |_| {
            if let ControlChange::Quarantine(quarantine) = &change
                && receipt.changed
            {
                metering::record_quarantine(&meters, quarantine);
            }
            match change {
                ControlChange::Resume => guards.end_halt(),
                ControlChange::Restore(agent) => guards.end_quarantine(&agent),
                ControlChange::Halt(_) | ControlChange::Quarantine(_) => {}
            }
            receipt
        });
    }

    /// What an order changes; the second part: it is in force already, since then.
    fn control_change(
        &self,
        instruction: &IssuedOrder,
        now: Millis,
    ) -> Result<(ControlChange, Option<Millis>), HrmError> {
        let IssuedOrder {
            order, reason, by, ..
        } = instruction;
        Ok(match order {
            Order::Halt => {
                let halt = Halt {
                    reason: reason.clone(),
                    by: by.clone(),
                    at_ms: now,
                };
                (
                    ControlChange::Halt(halt),
                    self.guards.current_halt().map(|halt| halt.at_ms),
                )
            }
            Order::Resume if !self.guards.pin_holds() => {
                let problem =
                    "the Graveyard's pin is broken: put the pinned module back, then resume";
                return Err(HrmError::OrderNotApplicable(problem.to_owned()));
            }
            Order::Resume if !self.guards.is_halted() => {
                return Err(HrmError::OrderNotApplicable("nothing is halted".to_owned()));
            }
            Order::Resume => (ControlChange::Resume, None),
            Order::Quarantine { agent, cause } => {
                let quarantine = Quarantine {
                    agent: agent.clone(),
                    cause: *cause,
                    reason: reason.clone(),
                    by: by.clone(),
                    at_ms: now,
                };
                let standing = self
                    .guards
                    .find_quarantine(agent)
                    .map(|quarantine| quarantine.at_ms);
                (ControlChange::Quarantine(quarantine), standing)
            }
            Order::Restore { agent } if !self.guards.is_quarantined(agent) => {
                return Err(HrmError::OrderNotApplicable(format!(
                    "{agent} is not in quarantine"
                )));
            }
            Order::Restore { agent } => (ControlChange::Restore(agent.clone()), None),
        })
    }
}
