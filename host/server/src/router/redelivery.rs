//! Delivering again what failed.
//!
//! A delivery that failed becomes pending again, in one commit with a row of the audit log in the signal's trace. From there it is as any
//! other pending delivery: a restart finds it, and it is completed once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::changes::ChangeRequest;
use ark_model::ids::{Millis, Name, SignalId};
use ark_model::signal::Signal;
use ark_store::{CommitError, IdempotencyRecord, ReadError, Redelivery, Unit};

use super::delivery::QueuePlaces;
use super::error::RouterError;
use super::handle::Router;
use super::message::RouterEvent;

/// How many signals one request delivers again. Each is held in memory with its payload.
const BATCH: u32 = 100;
/// Where the idempotency keys of these requests are unique.
const SCOPE: &str = "redeliver";

/// What is to be delivered again.
#[derive(Debug, Clone)]
pub struct RedeliveryRequest {
    /// The receiver.
    pub agent: Name,
    /// Only this signal; absent: all that failed.
    pub signal: Option<SignalId>,
    /// Only what failed at this moment or before; absent: until now.
    pub failed_until: Option<Millis>,
}

/// What is delivered again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedeliveryReceipt {
    /// The receiver.
    pub agent: Name,
    /// The signals, oldest first.
    pub signals: Vec<SignalId>,
    /// How many more failed until then and can be delivered again.
    pub remaining: u64,
    /// How many failed until then and have expired meanwhile. They stay failed.
    pub expired: u64,
    /// The moment until which failures were looked at.
    pub failed_until: Millis,
}

/// Why nothing is delivered again.
#[derive(Debug, thiserror::Error)]
pub enum RedeliveryError {
    /// No agent of this name serves.
    #[error("no agent {0} serves")]
    UnknownAgent(Name),
    /// The delivery has not failed: it is pending, done, or there is none.
    #[error("the delivery of {signal} to {agent} has not failed")]
    NotFailed {
        /// The receiver.
        agent: Name,
        /// The signal.
        signal: SignalId,
    },
    /// The signal's time to live is over.
    #[error("the time to live of {0} is over")]
    Expired(SignalId),
    /// The queue is full, the store cannot be read or written, or the idempotency key was used for another request.
    #[error(transparent)]
    Router(#[from] RouterError),
}

impl From<ReadError> for RedeliveryError {
    fn from(error: ReadError) -> Self {
        Self::Router(error.into())
    }
}

impl Router {
    /// Delivers failed signals again: one, or all of an agent, [`BATCH`] at most. The same request under the same idempotency key gets the
    /// first receipt again. Blocks until it is durable. Returns, too, whether the receipt is one that is given again.
    ///
    /// # Errors
    /// See [`RedeliveryError`]. Nothing has changed then.
    pub fn redeliver(
        &self,
        request: &RedeliveryRequest,
        change: &ChangeRequest,
    ) -> Result<(RedeliveryReceipt, bool), RedeliveryError> {
        if let Some(receipt) = self.find_earlier_receipt(change)? {
            return Ok((receipt, true));
        }
        let RedeliveryRequest { agent, signal, .. } = request;
        if self.find_serving(agent).is_none() {
            return Err(RedeliveryError::UnknownAgent(agent.clone()));
        }
        let now = Millis::now();
        let until = request.failed_until.unwrap_or(now);
        let counts = self.store.failed_counts(agent, *signal, until, now)?;
        let failed = self
            .store
            .failed_signals(agent, *signal, until, now, BATCH)?;
        if let (Some(signal), true) = (*signal, failed.is_empty()) {
            return Err(if counts.expired > 0 {
                RedeliveryError::Expired(signal)
            } else {
                RedeliveryError::NotFailed {
                    agent: agent.clone(),
                    signal,
                }
            });
        }
        let wanted = failed.len();
        let placed = self.reserve_places(failed, agent);
        if placed.is_empty() && wanted > 0 {
            return Err(RouterError::Busy.into());
        }
        let receipt = RedeliveryReceipt {
            agent: agent.clone(),
            signals: placed.iter().map(|(signal, _)| signal.id).collect(),
            remaining: counts.deliverable.saturating_sub(placed.len() as u64),
            expired: counts.expired,
            failed_until: until,
        };
        // What the queue knows of these signals from before must not keep them out of it.
        let _ = self
            .events
            .send(RouterEvent::Forget(agent.clone(), receipt.signals.clone()));
        match self
            .store
            .commit(redelivery_unit(&placed, agent, &receipt, change, now))
        {
            Ok(_) => {}
            Err(CommitError::DeliveryNotFailed { agent, signal }) => {
                return Err(RedeliveryError::NotFailed { agent, signal });
            }
            Err(CommitError::AlreadyAnswered(first)) => {
                return Ok((read_receipt(&first, change)?, true));
            }
            Err(error) => return Err(RouterError::from(error).into()),
        }
        tracing::info!(%agent, signals = receipt.signals.len(), by = change.by, "failed signals are delivered again");
        for (signal, places) in placed {
            let receivers = places.keep_reserved();
            let _ = self.events.send(RouterEvent::Accepted(signal, receivers));
        }
        Ok((receipt, false))
    }

    fn find_earlier_receipt(
        &self,
        change: &ChangeRequest,
    ) -> Result<Option<RedeliveryReceipt>, RedeliveryError> {
        let Some(record) = change.idempotency_record(SCOPE, String::new()) else {
            return Ok(None);
        };
        let first = self.store.idempotency_record(&record.scope, &record.key)?;
        first.map(|first| read_receipt(&first, change)).transpose()
    }

    /// Takes a place in the agent's queue for each signal, in their order, until there is none.
    fn reserve_places(
        &self,
        signals: Vec<Signal>,
        agent: &Name,
    ) -> Vec<(Arc<Signal>, QueuePlaces)> {
        let slots = self.slots.load_all();
        let placed = signals.into_iter().map(|signal| {
            let places = QueuePlaces::reserve(
                &slots,
                &self.backlog,
                (&signal.topic, Some(agent)),
                self.config.agent_queue,
                &self.watchdog,
            );
            (Arc::new(signal), places)
        });
        placed
            .take_while(|(_, places)| !places.receivers().is_empty())
            .collect()
    }
}

/// The receipt that the first request under an idempotency key got, if that was the same request.
fn read_receipt(
    first: &IdempotencyRecord,
    change: &ChangeRequest,
) -> Result<RedeliveryReceipt, RedeliveryError> {
    let is_same = change
        .idempotency_key
        .as_ref()
        .is_some_and(|key| key.matches(first.request));
    match serde_json::from_str(&first.answer) {
        Ok(receipt) if is_same => Ok(receipt),
        _ => Err(RouterError::KeyReused.into()),
    }
}

/// The unit that makes deliveries pending again, each with its row of the audit log.
fn redelivery_unit(
    placed: &[(Arc<Signal>, QueuePlaces)],
    agent: &Name,
    receipt: &RedeliveryReceipt,
    change: &ChangeRequest,
    now: Millis,
) -> Unit {
    let audit = placed.iter().map(|(signal, _)| {
        let in_its_trace = ChangeRequest {
            trace_id: signal.trace_id,
            ..change.clone()
        };
        let body = json!({
            "order": "signal.redeliver", "signal_id": signal.id, "topic": signal.topic,
        });
        in_its_trace.audit_entry(Some(agent), body, now)
    });
    let redeliveries = placed.iter().map(|(signal, _)| Redelivery {
        signal: signal.id,
        agent: agent.clone(),
    });
    Unit {
        audit: audit.collect(),
        redeliveries: redeliveries.collect(),
        idempotency: change.idempotency_record(SCOPE, json!(receipt).to_string()),
        at: now,
        ..Unit::default()
    }
}
