//! The parts of a trace, with their beginnings and ends. An exporter receives them; without one, nothing is recorded.
//!
//! The id of a span is made from the id of what the span is about, so that two parts of the host agree on it without knowing each other.

use std::sync::Arc;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::ids::{DecisionId, Digest, Name, SignalId, TraceId};

use super::handles::Counter;

/// The id of a span; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

impl SpanId {
    /// Returns the id of a signal's span, from its acceptance until it is durable.
    #[must_use]
    pub fn for_signal(id: SignalId) -> Self {
        Self::from_parts(&["signal", &id.to_string()])
    }

    /// Returns the id of the span of one agent's invocation with a signal.
    #[must_use]
    pub fn for_invocation(id: SignalId, agent: &Name) -> Self {
        Self::from_parts(&["invocation", &id.to_string(), agent.as_str()])
    }

    /// Returns the id of a decision's span.
    #[must_use]
    pub fn for_decision(id: DecisionId) -> Self {
        Self::from_parts(&["decision", &id.to_string()])
    }

    /// Returns the id of a part of this span.
    #[must_use]
    pub fn for_part(self, part: &str) -> Self {
        Self::from_parts(&[part, &self.0.to_string()])
    }

    fn from_parts(parts: &[&str]) -> Self {
        let parts = parts.iter().flat_map(|part| [part.as_bytes(), &b"\0"[..]]);
        let digest = Digest::hash_parts(parts);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest.as_bytes()[..8]);
        Self(u64::from_be_bytes(bytes).max(1))
    }
}

/// One part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// The id.
    pub id: SpanId,
    /// The span that this one is a part of; absent where its maker does not know it.
    pub parent: Option<SpanId>,
    /// What was done: one of few fixed names.
    pub name: &'static str,
    /// The beginning.
    pub started: SystemTime,
    /// The end.
    pub ended: SystemTime,
    /// Names, types and outcomes; no free text.
    pub attributes: Vec<(&'static str, String)>,
    /// The kind of failure; absent: there was none.
    pub failure: Option<String>,
    /// What connects a message with the signal that it became; absent for other spans.
    pub link: Option<SpanLink>,
}

/// The two ends of a message's way from the decision that approved it to the signal it became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanLink {
    /// The span is a decision that put a message into the outbox.
    Sends {
        /// The agent that sent the message; absent: the host.
        sender: Option<Name>,
        /// The causal depth of the signal that the message becomes.
        depth: u32,
    },
    /// The span is a signal that came out of the outbox.
    Sent {
        /// The agent that sent the message; absent: the host.
        sender: Option<Name>,
        /// The causal depth of the signal.
        depth: u32,
    },
}

/// The sink for spans. Cheap to clone. The default has no exporter and drops every span.
#[derive(Debug, Clone, Default)]
pub struct SpanSink(Option<Arc<SpanQueue>>);

#[derive(Debug)]
struct SpanQueue {
    spans: Sender<Span>,
    dropped: Counter,
    exported: Counter,
    failed: Counter,
}

impl SpanSink {
    /// Makes a sink that holds up to `capacity` spans, and the receiver for the exporter.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> (Self, Receiver<Span>) {
        let (spans, out) = crossbeam_channel::bounded(capacity);
        let queue = SpanQueue {
            spans,
            dropped: Counter::default(),
            exported: Counter::default(),
            failed: Counter::default(),
        };
        (Self(Some(Arc::new(queue))), out)
    }

    /// Returns whether there is an exporter. Without one, a caller need not make spans.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Passes a span to the exporter. When the sink is full, the span is dropped and counted: telemetry must not delay decisions.
    pub fn record(&self, span: Span) {
        if let Some(queue) = &self.0
            && let Err(TrySendError::Full(_)) = queue.spans.try_send(span)
        {
            queue.dropped.increment();
        }
    }

    /// Records whether spans that the exporter took arrived at their destination.
    pub fn record_export(&self, spans: u64, arrived: bool) {
        if let Some(queue) = &self.0 {
            if arrived {
                queue.exported.add(spans);
            } else {
                queue.failed.add(spans);
            }
        }
    }

    /// Returns the number of spans exported and of spans that could not be exported.
    #[must_use]
    pub fn export_counts(&self) -> [u64; 2] {
        let queue = self.0.as_ref();
        queue.map_or([0; 2], |queue| [queue.exported.get(), queue.failed.get()])
    }

    /// Returns the number of spans dropped because the sink was full.
    #[must_use]
    pub fn dropped_count(&self) -> u64 {
        self.0.as_ref().map_or(0, |queue| queue.dropped.get())
    }
}
