//! The trait that accepts signals from streams, with its request and answer.

use ark_model::ids::{Digest, TraceId};

/// An entry that may become a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSignal {
    /// The key of the stream.
    pub stream: String,
    /// The id of the entry.
    pub entry: String,
    /// The topic of the signal.
    pub topic: String,
    /// Its payload: one JSON value.
    pub payload_json: String,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its idempotency key, unique in the stream.
    pub key: String,
    /// The digest of what it says: another entry with the same key and another digest is refused.
    pub request_digest: Digest,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Its signal is durable.
    Accepted,
    /// The signal was accepted before.
    Duplicate,
    /// Its key was used for another signal before. Nothing was stored.
    KeyReused,
}

/// Why none of some signals was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// They could not be made durable. They may be offered again.
    #[error("the signals could not be stored: {0}")]
    NotStored(String),
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Closed,
}

/// Takes signals from streams.
pub trait SignalSink: Send + Sync {
    /// Takes signals in their order, up to the first that has a receiver whose queue has no room for streams. Returns what became of each that
    /// was taken, once it is durable. How far the stream was read, in this run of the server, is committed with them.
    ///
    /// # Errors
    /// None of them was taken.
    fn take_signals(
        &self,
        signals: &[StreamSignal],
        run_id: &str,
    ) -> Result<Vec<Taken>, AcceptError>;
}
