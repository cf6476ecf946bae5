//! The last events before the head of the log, rendered once for all streams.
//!
//! Invariant: the ring has every event behind its base, in one order, each with the position of a stream that has it and all before. A stream at
//! one of these positions goes on from the ring; any other reads the database up to the head, which is one of them.

use std::collections::VecDeque;

use bytes::Bytes;

use ark_model::meters::EventStreamEnd;
use ark_store::EventCursor;

use super::filter::EventFilter;
use super::render::{Renderer, StoredEvent};

/// The most bytes of the events in the ring, about.
const RING_BYTES: usize = 4 * 1024 * 1024;
/// The most events in the ring.
pub(in crate::api) const RING_EVENTS: usize = 4_096;
/// The most bytes of a page, but for one event that is larger by itself.
const PAGE_BYTES: usize = 32 * 1024;

/// One page of rendered events for a stream. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::api) struct EventPage {
    /// The text of its events; empty: none of them is one that the stream follows.
    pub(in crate::api) text: Bytes,
    /// The position behind them.
    pub(in crate::api) cursor: EventCursor,
}

/// Collects a page. Only the last event can make it longer than a page may be.
pub(in crate::api) struct PageBuilder {
    text: Vec<u8>,
    cursor: EventCursor,
}

impl PageBuilder {
    pub(in crate::api) const fn new(cursor: EventCursor) -> Self {
        Self {
            text: Vec::new(),
            cursor,
        }
    }

    /// Adds an event's text, and moves on behind it. Returns false when there is no room for it.
    pub(in crate::api) fn push(&mut self, text: &[u8], after: EventCursor) -> bool {
        if !self.text.is_empty() && self.text.len() + text.len() > PAGE_BYTES {
            return false;
        }
        self.text.extend_from_slice(text);
        self.cursor = after;
        true
    }

    /// Moves on behind what the stream does not follow.
    pub(in crate::api) const fn skip_to(&mut self, after: EventCursor) {
        self.cursor = after;
    }

    pub(in crate::api) fn finish(self) -> EventPage {
        EventPage {
            text: self.text.into(),
            cursor: self.cursor,
        }
    }
}

struct RingEntry {
    event: StoredEvent,
    /// The position behind it.
    after: EventCursor,
    /// The rendered text; `None` until the first stream needs it.
    text: Option<Bytes>,
    size: usize,
}

/// The last events before the head of the log.
pub(in crate::api) struct EventRing {
    /// The position before the first event.
    base: EventCursor,
    entries: VecDeque<RingEntry>,
    bytes: usize,
}

impl EventRing {
    pub(in crate::api) const fn new(base: EventCursor) -> Self {
        Self {
            base,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The position behind the last event.
    pub(in crate::api) fn head(&self) -> EventCursor {
        self.entries.back().map_or(self.base, |entry| entry.after)
    }

    /// Adds the event behind the head. The oldest ones leave when there are too many.
    pub(in crate::api) fn push(&mut self, event: StoredEvent) {
        let mut after = self.head();
        event.advance(&mut after);
        // With its text.
        let size = 3 * event.size();
        self.bytes += size;
        self.entries.push_back(RingEntry {
            event,
            after,
            text: None,
            size,
        });
        while self.bytes > RING_BYTES || self.entries.len() > RING_EVENTS {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.base = oldest.after;
            self.bytes -= oldest.size;
        }
    }

    /// The page behind a position; `None` if the position is not one of the ring's.
    ///
    /// # Errors
    /// As [`Renderer::render_event`].
    pub(in crate::api) fn read_page(
        &mut self,
        cursor: EventCursor,
        filter: &EventFilter,
        renderer: &mut Renderer,
    ) -> Result<Option<EventPage>, EventStreamEnd> {
        let Some(first) = self.index_behind(cursor) else {
            return Ok(None);
        };
        let mut page = PageBuilder::new(cursor);
        for entry in self.entries.range_mut(first..) {
            if !filter.includes(entry.event.kind(), entry.event.agent()) {
                page.skip_to(entry.after);
                continue;
            }
            if entry.text.is_none() {
                entry.text = Some(renderer.render_event(&entry.event, entry.after)?);
            }
            let text = entry.text.as_deref().unwrap_or_default();
            if !page.push(text, entry.after) {
                break;
            }
        }
        Ok(Some(page.finish()))
    }

    /// Whether a position is one of the ring's.
    pub(in crate::api) fn holds(&self, cursor: EventCursor) -> bool {
        self.index_behind(cursor).is_some()
    }

    /// The index of the first event behind a position.
    fn index_behind(&self, cursor: EventCursor) -> Option<usize> {
        if cursor == self.base {
            return Some(0);
        }
        // Each event moves one of the two numbers on, so their sum grows.
        let sum = |cursor: &EventCursor| cursor.audit_seq + cursor.alert_seq;
        let index = self
            .entries
            .binary_search_by_key(&sum(&cursor), |entry| sum(&entry.after))
            .ok()?;
        (self.entries[index].after == cursor).then_some(index + 1)
    }
}

#[cfg(test)]
mod tests {
    use ark_model::ids::{Digest, Millis};
    use ark_store::{AuditKind, AuditRow};

    use super::*;

    fn make_row(seq: u64) -> StoredEvent {
        StoredEvent::Row(AuditRow {
            seq,
            kind: AuditKind::Operator,
            id: "i".to_owned(),
            trace_id: None,
            agent: None,
            action_type: None,
            outcome: None,
            at: Millis(1),
            body: "{}".to_owned(),
            hash: Digest::from_bytes([0; 32]),
        })
    }

    fn make_cursor(audit_seq: u64, alert_seq: u64) -> EventCursor {
        EventCursor {
            audit_seq,
            alert_seq,
        }
    }

    #[test]
    fn the_ring_holds_the_positions_behind_its_base_and_no_other() {
        let mut ring = EventRing::new(make_cursor(10, 3));
        assert!(ring.holds(make_cursor(10, 3)) && ring.head() == make_cursor(10, 3));
        for seq in 11..=20 {
            ring.push(make_row(seq));
        }
        assert_eq!(ring.head(), make_cursor(20, 3));
        assert!(
            ring.holds(make_cursor(10, 3))
                && ring.holds(make_cursor(15, 3))
                && ring.holds(make_cursor(20, 3))
        );
        // The same sum, and positions outside.
        for other in [
            make_cursor(14, 4),
            make_cursor(16, 2),
            make_cursor(9, 3),
            make_cursor(21, 3),
            make_cursor(0, 0),
        ] {
            assert!(!ring.holds(other), "{other:?}");
        }
        for seq in 21..=20 + RING_EVENTS as u64 {
            ring.push(make_row(seq));
        }
        assert!(ring.bytes <= RING_BYTES && ring.entries.len() <= RING_EVENTS);
        assert!(
            !ring.holds(make_cursor(10, 3)) && !ring.holds(make_cursor(20, 3)),
            "they have left"
        );
        assert!(ring.holds(ring.base) && ring.holds(ring.head()));
    }

    #[test]
    fn a_page_is_bounded_and_has_one_event_at_least() {
        let mut page = PageBuilder::new(make_cursor(0, 0));
        assert!(
            page.push(&vec![b'x'; 2 * PAGE_BYTES], make_cursor(1, 0)),
            "larger by itself"
        );
        assert!(!page.push(b"y", make_cursor(2, 0)));
        assert_eq!(page.finish().cursor, make_cursor(1, 0));
        let mut page = PageBuilder::new(make_cursor(0, 0));
        let mut taken = 0;
        while page.push(&[b'x'; 1_000], make_cursor(taken + 1, 0)) {
            taken += 1;
        }
        let page = page.finish();
        assert_eq!(page.cursor, make_cursor(taken, 0));
        assert!(page.text.len() <= PAGE_BYTES && page.text.len() > PAGE_BYTES - 1_000);
    }
}
