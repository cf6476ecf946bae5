//! The outbox: messages of durable decisions on their way to becoming signals.

use std::sync::Arc;
use std::time::SystemTime;

use ark_model::ids::{Millis, SignalId};
use ark_model::meters::SpanLink;
use ark_model::signal::Signal;
use ark_store::{NewSignal, OutboxRow, Unit};

use super::delivery::{QueuePlaces, signal_span};
use super::dispatcher::Dispatcher;

/// Messages that are turned into signals in one commit.
const BATCH: u32 = 256;

impl Dispatcher {
    /// Turns the messages of the outbox into signals, each in the commit that removes its row.
    pub(super) fn deliver_outbox(&mut self) {
        loop {
            self.start_waiting();
            let rows = match self.deps.store.pending_outbox(BATCH) {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read; tried again");
                    return;
                }
            };
            let is_last = rows.len() < BATCH as usize;
            if rows.is_empty() || !self.deliver_messages(rows) || is_last {
                return;
            }
        }
    }

    /// Commits messages as signals and adds them to the queues. Returns `false` when the commit fails.
    fn deliver_messages(&mut self, rows: Vec<OutboxRow>) -> bool {
        let started = SystemTime::now();
        let slots = self.deps.slots.load_all();
        let mut unit = Unit::default();
        let mut sent = Vec::with_capacity(rows.len());
        for OutboxRow { seq, message } in rows {
            let places = QueuePlaces::reserve(
                &slots,
                &self.deps.backlog,
                (&message.topic, message.to.as_ref()),
                self.queue_capacity,
                &self.deps.watchdog,
            );
            let signal = Signal {
                id: SignalId::fresh(),
                topic: message.topic,
                payload_json: message.payload_json,
                trace_id: message.trace_id,
                sender: message.sender,
                causal_depth: message.causal_depth,
                accepted_at: Millis::now(),
                expires_at: None,
            };
            unit.signals.push(NewSignal {
                by: None,
                signal: signal.clone(),
                key: None,
                deliver_to: places.receivers(),
                shed: places.shed(),
            });
            unit.outbox_done.push(seq);
            sent.push((Arc::new(signal), places));
        }
        if let Err(error) = self.deps.store.commit(unit) {
            tracing::error!(%error, "the messages of the outbox cannot be committed; tried again");
            return false;
        }
        for (signal, places) in sent {
            if self.deps.spans.is_enabled() {
                let link = SpanLink::Sent {
                    sender: signal.sender.clone(),
                    depth: signal.causal_depth,
                };
                let span = signal_span(&signal, started, Some(link));
                self.deps.spans.record(span);
            }
            self.enqueue_signal(&signal, &places.keep_reserved());
        }
        true
    }
}
