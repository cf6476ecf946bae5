//! Deliveries that no agent is handed any more: expired ones, and those of deleted agents.

use std::sync::Arc;
use std::time::Instant;

use ark_model::ids::Millis;
use ark_store::{AGENT_DELETED, CommitError};

use super::delivery::release_place;
use super::dispatcher::{Dispatcher, RETRY_AFTER};
use super::failures::{delivery_of, undelivered_unit};
use super::slot::AgentSlot;

/// Expired deliveries that are completed at a time.
const BATCH: u32 = 256;
/// The reason recorded for an expired delivery.
const EXPIRED: &str = "expired: its time to live was over before the agent could be handed it";

impl Dispatcher {
    /// Completes expired deliveries as failed, each with a row of the audit log. One whose invocation runs is left to that.
    pub(super) fn expire_deliveries(&mut self) {
        let now = Millis::now();
        let expired = match self.deps.store.expired_deliveries(now, BATCH) {
            Ok(expired) => expired,
            Err(error) => {
                tracing::error!(%error, "expired deliveries cannot be read; tried again");
                return;
            }
        };
        for delivery in expired {
            self.start_waiting();
            let slots = self.deps.slots.load_all();
            let number = slots.iter().position(|slot| slot.name == delivery.agent);
            let queue = number.and_then(|number| self.queues.get(number));
            if queue.is_some_and(|queue| queue.running.contains(&delivery.signal)) {
                continue;
            }
            let unit = undelivered_unit(&delivery, "expired", EXPIRED, now);
            match self.deps.store.commit(unit) {
                Ok(_) => {
                    if let Some(slot) = number.and_then(|number| slots.get(number)) {
                        release_place(slot, &self.deps.backlog.deliveries);
                    }
                }
                Err(CommitError::DeliveryNotPending { .. }) => {}
                Err(error) => {
                    tracing::error!(%error, "an expired delivery could not be completed; tried again");
                    return;
                }
            }
        }
    }

    /// Completes as failed what arrived for an agent while it was deleted. What was pending before was closed with the deletion.
    pub(super) fn fail_deleted_deliveries(&mut self, number: usize, slot: &Arc<AgentSlot>) {
        const NOT_COMPLETED: &str =
            "a delivery to a deleted agent could not be completed; the next start completes it";
        let Some(queue) = self.queues.get_mut(number) else {
            return;
        };
        let signals = match queue.drain_all(&slot.name, &self.deps.store) {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(agent = %slot.name, %error, "what is pending for a deleted agent cannot be read; tried again");
                queue.retry_at = Some(Instant::now() + RETRY_AFTER);
                return;
            }
        };
        for signal in signals {
            let delivery = delivery_of(&slot.name, &signal);
            let unit = undelivered_unit(&delivery, "deleted", AGENT_DELETED, Millis::now());
            let (slot, backlog) = (Arc::clone(slot), Arc::clone(&self.deps.backlog.deliveries));
            let done = Box::new(move |result: Result<_, CommitError>| match result {
                Ok(_) => release_place(&slot, &backlog),
                Err(CommitError::DeliveryNotPending { .. }) => {}
                Err(error) => tracing::error!(agent = %slot.name, %error, "{NOT_COMPLETED}"),
            });
            if let Err((error, _)) = self.deps.store.submit(unit, done) {
                tracing::error!(%error, "{NOT_COMPLETED}");
            }
        }
    }
}
