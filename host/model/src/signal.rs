//! Signals: the input events that agents are woken by.

use serde::{Deserialize, Serialize};

use super::ids::{Millis, Name, SignalId, TraceId};

/// An input event, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Its id.
    pub id: SignalId,
    /// Its topic, e.g. `market.tick`: 1 to 128 of `a-z 0-9 . _ -`.
    pub topic: String,
    /// One JSON value, as text.
    pub payload_json: String,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The agent whose message it is; `None`: it came from outside or from the host.
    pub sender: Option<Name>,
    /// How many signals led to this one.
    pub causal_depth: u32,
    /// When it was accepted.
    pub accepted_at: Millis,
    /// From when on it is no longer delivered; `None`: it waits for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
}
