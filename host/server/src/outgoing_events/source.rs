//! The trait by which senders read events.

use serde_json::Value;

use ark_model::ids::{Digest, Millis, Name, TraceId};
use ark_store::{EventCursor, ReadError};

use super::classes::EventClass;

/// An event of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingEvent {
    /// The position of a reader that has read the event.
    pub position: EventCursor,
    /// Its type and its channel.
    pub class: EventClass,
    /// The agent it is about.
    pub subject: Option<Name>,
    /// When it happened.
    pub at: Millis,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// The hash of the audit log at its row; `None`: it is no row of the log.
    pub log_hash: Option<Digest>,
    /// What it is about, as `/v1/events` shows it.
    pub data: Value,
    /// The path of the API under which that is too.
    pub reference: String,
}

impl OutgoingEvent {
    /// Returns the id that the event keeps however often and in whichever page it is read: where it is in the log or among the alerts, and
    /// its time, by which it differs from an event of another database at the same place. Its position is none: that depends on what was
    /// read before it.
    #[must_use]
    pub fn stable_id(&self) -> String {
        let at = self.at.0;
        match self.log_hash {
            Some(_) => format!("log_{}_{at}", self.position.audit_seq),
            None => format!("alert_{}_{at}", self.position.alert_seq),
        }
    }
}

/// Events behind a position, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingPage {
    /// The events.
    pub events: Vec<OutgoingEvent>,
    /// The position behind them.
    pub end: EventCursor,
    /// How many audit rows before them went into an archive and cannot be read.
    pub missed: u64,
    /// Whether these are all there are now.
    pub is_last: bool,
}

/// Why events cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EventSourceError {
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is malformed.
    #[error("the record at {0} cannot be read; `ark audit verify` says more")]
    Unreadable(EventCursor),
}

/// Reads events.
pub trait EventSource: Send {
    /// Reads the first events behind a position: a page of bounded size.
    ///
    /// # Errors
    /// The database or a record cannot be read.
    fn read_behind(&mut self, cursor: EventCursor) -> Result<OutgoingPage, EventSourceError>;
}
