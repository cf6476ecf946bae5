//! What the watchdog orders: quarantines of agents, and a halt when the Graveyard's pin is broken.

use ark_model::control::Order;
use ark_model::ids::{Name, TraceId};

use crate::hrm::{HrmError, IssuedOrder, OrderReceipt};
use crate::reply::ask_blocking;

use super::health::Breach;
use super::state::WatchdogState;

/// The name under which the watchdog gives orders. Operators cannot use it.
pub const WATCHDOG_ACTOR: &str = "watchdog";

impl WatchdogState {
    /// Orders a quarantine. It is in force at once. If it cannot be recorded now, the heartbeat loop tries again.
    pub(super) fn order_quarantine(&self, agent: &Name, breach: Breach) {
        if self.deps.guards.is_quarantined(agent) {
            return;
        }
        self.unrecorded_quarantines
            .lock()
            .insert(agent.clone(), breach);
        self.record_quarantines();
    }

    /// Gives the orders of quarantines that are not recorded yet.
    pub(super) fn record_quarantines(&self) {
        // One thread at a time, or an order would be recorded twice.
        let _recording = self.recording_lock.lock();
        let due: Vec<(Name, Breach)> = self
            .unrecorded_quarantines
            .lock()
            .iter()
            .map(|(agent, breach)| (agent.clone(), breach.clone()))
            .collect();
        for (agent, breach) in due {
            let order = Order::Quarantine {
                agent: agent.clone(),
                cause: breach.cause,
            };
            match self.issue_order(order, breach.reason) {
                // The HRM records what is in force as soon as it can.
                Ok(_) | Err(HrmError::InForceNotRecorded { .. }) => {
                    self.unrecorded_quarantines.lock().remove(&agent);
                }
                Err(error) => {
                    tracing::error!(%agent, %error, "a quarantine is in force but not recorded; tried again");
                }
            }
        }
    }

    /// Gives an order to the HRM and waits until it is durable.
    pub(super) fn issue_order(
        &self,
        order: Order,
        reason: String,
    ) -> Result<OrderReceipt, HrmError> {
        let order = IssuedOrder {
            origin_host: None,
            idempotency: None,
            trace_id: TraceId::fresh(),
            order,
            reason,
            by: WATCHDOG_ACTOR.to_owned(),
        };
        ask_blocking(|reply| self.deps.hrm.carry_out_order(order, reply))
    }
}
