//! Signals: the input events that are delivered to agents.

use serde::{Deserialize, Serialize};

use super::ids::{Millis, Name, SignalId, TraceId};

/// An input event, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The id.
    pub id: SignalId,
    /// The topic, e.g. `market.tick`: 1 to 128 of `a-z 0-9 . _ -`.
    pub topic: String,
    /// One JSON value, as text.
    pub payload_json: String,
    /// The trace that the signal belongs to.
    pub trace_id: TraceId,
    /// The agent whose message became this signal; absent: it came from outside or from the host.
    pub sender: Option<Name>,
    /// The number of signals that led to this one.
    pub causal_depth: u32,
    /// When the signal was accepted.
    pub accepted_at: Millis,
    /// From when on the signal is no longer delivered; absent: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
}
