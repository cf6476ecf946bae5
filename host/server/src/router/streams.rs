//! Signals from streams: accepted in their order, as many as the receivers' queues have room for.
//!
//! Streams leave half of each queue to the other senders: a burst in a stream waits in the stream and takes nobody's place.

use std::sync::Arc;
use std::time::SystemTime;

use crate::redis::{AcceptError, SignalSink, StreamSignal, Taken};
use crate::reply::ask_blocking;
use ark_model::ids::{Millis, SignalId};
use ark_model::signal::Signal;
use ark_store::{
    CommitError, NewSignal, RedisChange, SignalKey, SignalReceipt, StreamPosition, Unit,
};

use super::delivery::{QueuePlaces, signal_span};
use super::handle::Router;
use super::message::RouterEvent;

/// Signals with the places in the queues of their receivers.
type Reserved = Vec<(Signal, NewSignal, QueuePlaces)>;

impl SignalSink for Router {
    fn take_signals(
        &self,
        signals: &[StreamSignal],
        run_id: &str,
    ) -> Result<Vec<Taken>, AcceptError> {
        let reserved = self.reserve_stream_places(signals);
        if reserved.is_empty() {
            return Ok(Vec::new());
        }
        let count = reserved.len();
        match self.commit_stream_signals(reserved, signals.get(..count).unwrap_or_default(), run_id)
        {
            Err(CommitError::KeyReused { .. }) if count == 1 => Ok(vec![Taken::KeyReused]),
            // One of them is refused, and all with it: they are committed one by one, up to the first that cannot be.
            Err(CommitError::KeyReused { .. }) => {
                let mut taken = Vec::with_capacity(count);
                for signal in signals.iter().take(count) {
                    match self.take_signals(std::slice::from_ref(signal), run_id) {
                        Ok(one) if one.is_empty() => break,
                        Ok(one) => taken.extend(one),
                        Err(error) if taken.is_empty() => return Err(error),
                        Err(_) => break,
                    }
                }
                Ok(taken)
            }
            Err(CommitError::Closed) => Err(AcceptError::Closed),
            Err(error) => Err(AcceptError::NotStored(error.to_string())),
            Ok(taken) => Ok(taken),
        }
    }
}

impl Router {
    /// Takes places for the first of some signals, up to the first that has a receiver without room.
    fn reserve_stream_places(&self, signals: &[StreamSignal]) -> Reserved {
        let mut reserved = Vec::with_capacity(signals.len());
        let slots = self.slots.load_all();
        for incoming in signals {
            if !self.backlog.has_room_for_streams() {
                break;
            }
            let places = QueuePlaces::reserve(
                &slots,
                &self.backlog,
                (&incoming.topic, None),
                (self.config.agent_queue / 2).max(1),
                &self.watchdog,
            );
            if !places.shed().is_empty() {
                break;
            }
            let now = Millis::now();
            let ttl = self.config.signal_ttl_ms;
            let signal = Signal {
                id: SignalId::fresh(),
                topic: incoming.topic.clone(),
                payload_json: incoming.payload_json.clone(),
                trace_id: incoming.trace_id,
                sender: None,
                causal_depth: 0,
                accepted_at: now,
                expires_at: ttl.map(|ttl| Millis(now.0.saturating_add(ttl))),
            };
            let new = NewSignal {
                signal: signal.clone(),
                key: Some(SignalKey {
                    legacy_source: None,
                    source: format!("redis:{}", incoming.stream),
                    key: incoming.key.clone(),
                    request: incoming.request_digest,
                    legacy_request: None,
                }),
                deliver_to: places.receivers(),
                shed: Vec::new(),
                by: None,
            };
            reserved.push((signal, new, places));
        }
        reserved
    }

    /// Commits signals as one unit, with the position of the last, and hands those that are new to their receivers.
    fn commit_stream_signals(
        &self,
        reserved: Reserved,
        signals: &[StreamSignal],
        run_id: &str,
    ) -> Result<Vec<Taken>, CommitError> {
        let started = SystemTime::now();
        let mut unit = Unit {
            at: Millis::now(),
            ..Unit::default()
        };
        if let Some(last) = signals.last() {
            unit.redis.push(RedisChange::Read(StreamPosition {
                stream: last.stream.clone(),
                run_id: run_id.to_owned(),
                last_entry: last.entry.clone(),
            }));
        }
        let mut sent = Vec::with_capacity(reserved.len());
        for (signal, new, places) in reserved {
            unit.signals.push(new);
            sent.push((signal, places));
        }
        let receipt = ask_blocking(|reply| self.store.submit_blocking(unit, reply))?;
        let mut taken = Vec::with_capacity(sent.len());
        for ((signal, places), receipt) in sent.into_iter().zip(receipt.signals) {
            match receipt {
                SignalReceipt::Duplicate { .. } => taken.push(Taken::Duplicate),
                SignalReceipt::Accepted => {
                    if self.meters.spans.is_enabled() {
                        self.meters
                            .spans
                            .record(signal_span(&signal, started, None));
                    }
                    let event = RouterEvent::Accepted(Arc::new(signal), places.keep_reserved());
                    let _ = self.events.send(event);
                    taken.push(Taken::Accepted);
                }
            }
        }
        Ok(taken)
    }
}
