//! The receivers of a signal, and the places in their queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::watchdog::Watchdog;
use ark_model::ids::Name;
use ark_model::meters::{Span, SpanId, SpanLink};
use ark_model::signal::Signal;

use super::backlog::Backlog;
use super::slot::{AgentSlot, subtract_saturating};

/// Places in the queues of a signal's receivers, taken before the signal is stored. They are given back when this is dropped, unless they are kept.
pub(super) struct QueuePlaces {
    slots: Arc<Vec<Arc<AgentSlot>>>,
    backlog: Arc<AtomicUsize>,
    /// The numbers of the slots with a place.
    reserved: Vec<usize>,
    /// The numbers of the slots whose queue is full.
    full: Vec<usize>,
}

impl QueuePlaces {
    /// Takes a place for the receivers of a signal: the agents that subscribe to the topic, or only `to`.
    ///
    /// `capacity`: places in the queue of one agent. A queue counts as full, too, while the backlog is. The watchdog is told how full the queues are.
    pub(super) fn reserve(
        slots: &Arc<Vec<Arc<AgentSlot>>>,
        backlog: &Backlog,
        (topic, to): (&str, Option<&Name>),
        capacity: usize,
        watchdog: &Watchdog,
    ) -> Self {
        let (mut reserved, mut full) = (Vec::new(), Vec::new());
        for (number, slot) in slots.iter().enumerate() {
            if !receives_message(slot, topic, to) {
                continue;
            }
            if reserve_place(slot, backlog, capacity) {
                reserved.push(number);
                watchdog.record_queue_length(&slot.name, slot.waiting_deliveries(), capacity);
            } else {
                full.push(number);
            }
        }
        Self {
            slots: Arc::clone(slots),
            backlog: Arc::clone(&backlog.deliveries),
            reserved,
            full,
        }
    }

    /// Returns whether every receiver's queue is full, and there is at least one.
    pub(super) fn is_all_full(&self) -> bool {
        self.reserved.is_empty() && !self.full.is_empty()
    }

    /// The agents with a place.
    pub(super) fn receivers(&self) -> Vec<Name> {
        self.slot_names(&self.reserved)
    }

    /// The agents whose queue is full.
    pub(super) fn shed(&self) -> Vec<Name> {
        self.slot_names(&self.full)
    }

    /// Keeps the places until the deliveries are completed. Returns the numbers of the slots.
    pub(super) fn keep_reserved(mut self) -> Vec<usize> {
        std::mem::take(&mut self.reserved)
    }

    fn slot_names(&self, numbers: &[usize]) -> Vec<Name> {
        numbers
            .iter()
            .filter_map(|number| self.slots.get(*number))
            .map(|slot| slot.name.clone())
            .collect()
    }
}

impl Drop for QueuePlaces {
    fn drop(&mut self) {
        for number in &self.reserved {
            if let Some(slot) = self.slots.get(*number) {
                release_place(slot, &self.backlog);
            }
        }
    }
}

fn receives_message(slot: &AgentSlot, topic: &str, to: Option<&Name>) -> bool {
    match to {
        Some(name) => slot.name == *name && !slot.is_vacant(),
        None => slot.subscribes_to(topic),
    }
}

/// Returns how many agents would receive a message.
pub(super) fn count_receivers(slots: &[Arc<AgentSlot>], topic: &str, to: Option<&Name>) -> usize {
    slots
        .iter()
        .filter(|slot| receives_message(slot, topic, to))
        .count()
}

/// Takes a place in an agent's queue and in the backlog. Returns `false` when one of them is full.
fn reserve_place(slot: &AgentSlot, backlog: &Backlog, capacity: usize) -> bool {
    if !slot.reserve_place(capacity) {
        return false;
    }
    let limit = backlog.limit();
    let has_room = backlog
        .deliveries
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < limit).then_some(waiting + 1)
        })
        .is_ok();
    if !has_room {
        slot.release_places(1);
    }
    has_room
}

/// Gives back the place of one delivery that is no longer pending.
pub(super) fn release_place(slot: &AgentSlot, backlog: &AtomicUsize) {
    slot.release_places(1);
    subtract_saturating(backlog, 1);
}

/// The span of a signal that is durable now.
pub(super) fn signal_span(signal: &Signal, started: SystemTime, link: Option<SpanLink>) -> Span {
    Span {
        trace_id: signal.trace_id,
        id: SpanId::for_signal(signal.id),
        parent: None,
        name: "ark.signal",
        started,
        ended: SystemTime::now(),
        attributes: vec![
            ("ark.topic", signal.topic.clone()),
            ("ark.signal_id", signal.id.to_string()),
            ("ark.causal_depth", signal.causal_depth.to_string()),
        ],
        failure: None,
        link,
    }
}
