//! Events for a Redis and for webhooks: what a stream of `/v1/events` gets, one page at a time.

use ark_store::{AuditKind, EventCursor, Store};

use crate::outgoing_events::{
    EventSource, EventSourceError, OutgoingEvent, OutgoingPage, classify_alert, classify_row,
};

use super::render::{Renderer, StoredEvent};

/// The most audit rows of a page, and the most alerts.
const PAGE_EVENTS: u32 = 128;
/// The most bytes of audit rows that are read at once, but for one row that is larger by itself.
const READ_BYTES: usize = 64 * 1024;

/// Reads and renders events behind a position.
pub struct EventReader {
    store: Store,
    renderer: Renderer,
}

impl EventReader {
    /// Reads from a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            renderer: Renderer::new(store.clone()),
            store,
        }
    }

    fn render(
        &mut self,
        event: &StoredEvent,
        before: EventCursor,
    ) -> Result<OutgoingEvent, EventSourceError> {
        let mut position = before;
        event.advance(&mut position);
        let data = self
            .renderer
            .render_data(event)
            .map_err(|_| EventSourceError::Unreadable(position))?;
        let events_before = || format!("/v1/events?since={before}");
        Ok(match event {
            StoredEvent::Row(row) => OutgoingEvent {
                position,
                class: classify_row(row, &data.value["detail"], data.breaks_rules),
                subject: row.agent.clone(),
                at: row.at,
                trace_id: row.trace_id,
                log_hash: Some(row.hash),
                reference: match row.kind {
                    AuditKind::Decision => format!("/v1/decisions/{}", row.id),
                    _ => events_before(),
                },
                data: data.value,
            },
            StoredEvent::Alert(row) => OutgoingEvent {
                position,
                class: classify_alert(&row.alert),
                subject: row.alert.agent.clone(),
                at: row.alert.at_ms,
                trace_id: None,
                log_hash: None,
                reference: events_before(),
                data: data.value,
            },
        })
    }
}

impl EventSource for EventReader {
    fn read_behind(&mut self, cursor: EventCursor) -> Result<OutgoingPage, EventSourceError> {
        let head = self.store.last_event_cursor()?;
        let found = self
            .store
            .events_between(cursor, head, PAGE_EVENTS, READ_BYTES)?;
        let first = found.rows.first().map_or(head.audit_seq + 1, |row| row.seq);
        let missed = first.saturating_sub(cursor.audit_seq + 1);
        let is_last = found.is_whole;
        let mut position = EventCursor {
            audit_seq: cursor.audit_seq + missed,
            ..cursor
        };
        let rows = found.rows.into_iter().map(StoredEvent::Row);
        let mut events = Vec::new();
        for event in rows.chain(found.alerts.into_iter().map(StoredEvent::Alert)) {
            let event = self.render(&event, position)?;
            position = event.position;
            events.push(event);
        }
        Ok(OutgoingPage {
            events,
            end: position,
            missed,
            is_last,
        })
    }
}
