//! Counts events that wait to be sent.

use std::time::Duration;

use ark_model::ids::Millis;
use ark_store::{EventCursor, ReadError, Store};

/// What is not sent yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventsBacklog {
    /// How many events.
    pub events: u64,
    /// How long the oldest of them has waited.
    pub age: Duration,
}

/// Returns what was committed behind a position.
///
/// # Errors
/// The database cannot be read.
pub fn measure_backlog(store: &Store, position: EventCursor) -> Result<EventsBacklog, ReadError> {
    let head = store.last_event_cursor()?;
    let events = head.audit_seq.saturating_sub(position.audit_seq)
        + head.alert_seq.saturating_sub(position.alert_seq);
    if events == 0 {
        return Ok(EventsBacklog::default());
    }
    let next = store.events_between(position, head, 1, 1)?;
    let row = next.rows.first().map(|row| row.at);
    let alert = next.alerts.first().map(|row| row.alert.at_ms);
    let since = row.into_iter().chain(alert).min();
    let seconds = since.map_or(0.0, |since| Millis::now().seconds_since(since));
    Ok(EventsBacklog {
        events,
        age: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
    })
}
