//! Orders on the host: halt, resume, quarantine, restore.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::hrm::error::HrmError;
use crate::hrm::metering;
use crate::hrm::request::{HrmReply, IssuedOrder, OrderReceipt, alert_message};
use ark_model::control::{Halt, Order, Quarantine};
use ark_model::ids::{Millis, Name};
use ark_store::{CommitError, ControlChange, Unit};

use super::idempotency::{format_receipt, parse_receipt};
use super::state::Arbiter;

impl Arbiter {
    /// Commits the orders again that are not on disk, if the database can be written.
    pub(in crate::hrm) fn record_orders_again(&self) {
        if self.guards.unrecorded_orders() == 0 || !self.store.audit_writable() {
            return;
        }
        for unit in self.unrecorded_orders.take() {
            let unrecorded = Arc::clone(&self.unrecorded_orders);
            let kept = unit.clone();
            self.store.submit_blocking(
                unit,
                Box::new(move |result| match result {
                    // Its idempotency key is on disk: the order was given again and recorded then.
                    Ok(_) | Err(CommitError::AlreadyAnswered(_)) => {
                        tracing::warn!("an order that was in force is on disk now");
                        unrecorded.finish_recording(None);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an order in force is still not on disk");
                        unrecorded.finish_recording(Some(kept));
                    }
                }),
            );
        }
    }

    /// Carries out an order. A halt or a quarantine is in force from here on, even if it cannot be recorded; a resume or a restoration only once it is
    /// durable, and not if what it ends is ordered again before that.
    pub(super) fn carry_out_order(
        &mut self,
        mut issued: IssuedOrder,
        reply: HrmReply<OrderReceipt>,
    ) {
        let tightens = issued.tightens();
        let scope = format!("order:{}", issued.by);
        let key = issued.idempotency.take();
        // A halt is carried out even if the database cannot be read: as if its key were new.
        let checked_key = key.as_ref().filter(|key| {
            !tightens || !matches!(self.find_answer(&scope, key), Err(HrmError::NotRecorded(_)))
        });
        let order = issued.order.as_str();
        // What is in force stays so, whatever becomes of the commit: the answer to it, or to its repetition, says so.
        let reply: HrmReply<OrderReceipt> = Box::new(move |result| {
            reply(match result {
                Err(HrmError::NotRecorded(cause)) if tightens => {
                    Err(HrmError::InForceNotRecorded { order, cause })
                }
                result => result,
            });
        });
        let Some(reply) = self.check_idempotency(&scope, checked_key, reply, parse_receipt) else {
            return;
        };
        let now = Millis::now();
        let (change, in_force_since) = match self.control_change(&issued, now) {
            Ok(change) => change,
            Err(error) => return reply(Err(error)),
        };
        // An order that is in force already is recorded again: the first one may not have become durable.
        let receipt = OrderReceipt {
            changed: in_force_since.is_none(),
            at: in_force_since.unwrap_or(now),
        };
        // A resume or a restoration ends what is in force now.
        let ended = self.guards.last_number(issued.order.agent());
        match &change {
            ControlChange::Halt(halt) => self.guards.begin_halt(halt.clone()),
            ControlChange::Quarantine(quarantine) => {
                self.guards.begin_quarantine(quarantine.clone());
            }
            ControlChange::Resume | ControlChange::Restore(_) => {}
        }
        tracing::warn!(
            order = issued.order.as_str(),
            agent = issued.order.agent().map(Name::as_str),
            by = issued.by,
            reason = issued.reason,
            "an order is carried out"
        );
        let alert = issued.alert(now);
        // Not chained: an order is recorded even when the commits before it failed.
        let mut unit = Unit {
            control: vec![change.clone()],
            audit: vec![issued.audit_entry(now)],
            may_use_reserve: true,
            ..Unit::default()
        };
        if self.announcing.load(Ordering::Acquire) {
            unit.outbox.push(alert_message(&alert, issued.trace_id));
        }
        unit.alerts.push(alert);
        self.stage_answer(&scope, key, || format_receipt(&receipt), &mut unit);
        let guards = Arc::clone(&self.guards);
        let meters = Arc::clone(&self.config.meters);
        let unrecorded = Arc::clone(&self.unrecorded_orders);
        // What is in force and was not recorded is recorded later.
        let kept = tightens.then(|| unit.clone());
        let recorder = Arc::clone(&unrecorded);
        let reply: HrmReply<OrderReceipt> = Box::new(move |result| {
            if let (Err(HrmError::NotRecorded(_)), Some(unit)) = (&result, kept) {
                recorder.keep_order(unit);
            }
            reply(result);
        });
        self.submit_unit(unit, reply, move || {
            unrecorded.forget_order(&change);
            match change {
                ControlChange::Quarantine(quarantine) if receipt.changed => {
                    metering::record_quarantine(&meters, &quarantine);
                }
                ControlChange::Resume => guards.end_halt(ended),
                ControlChange::Restore(agent) => guards.end_quarantine(&agent, ended),
                ControlChange::Halt(_) | ControlChange::Quarantine(_) => {}
            }
            receipt
        });
    }

    /// Returns the change that an order makes, and since when it has been in force if it is already.
    ///
    /// # Errors
    /// [`HrmError::OrderNotApplicable`] when there is nothing to resume or to restore.
    fn control_change(
        &self,
        issued: &IssuedOrder,
        now: Millis,
    ) -> Result<(ControlChange, Option<Millis>), HrmError> {
        let IssuedOrder {
            order, reason, by, ..
        } = issued;
        let not_applicable = |problem: &str| Err(HrmError::OrderNotApplicable(problem.to_owned()));
        Ok(match order {
            Order::Halt => {
                let halt = Halt {
                    reason: reason.clone(),
                    by: by.clone(),
                    at_ms: now,
                };
                let since = self.guards.current_halt().map(|halt| halt.at_ms);
                (ControlChange::Halt(halt), since)
            }
            Order::Resume if !self.guards.pin_holds() => {
                return not_applicable(
                    "the Graveyard's pin is broken: put the pinned module back, then resume",
                );
            }
            Order::Resume if !self.guards.is_halted() => {
                return not_applicable("nothing is halted");
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
                let in_force = self.guards.find_quarantine(agent);
                let since = in_force.map(|quarantine| quarantine.at_ms);
                (ControlChange::Quarantine(quarantine), since)
            }
            Order::Restore { agent } if !self.guards.is_quarantined(agent) => {
                return not_applicable(&format!("{agent} is not in quarantine"));
            }
            Order::Restore { agent } => (ControlChange::Restore(agent.clone()), None),
        })
    }
}
