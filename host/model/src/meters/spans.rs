//! Spans: what a trace's parts took, from when to when. They go to whoever exports them; without one, nothing is recorded.
//!
//! The ids of spans are made from the ids of what they are about, so that parts which never meet agree on them.

use std::sync::Arc;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::ids::{DecisionId, Digest, Name, SignalId, TraceId};

use super::Counter;

/// The id of a span, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

impl SpanId {
    /// Of a signal: from its acceptance until it is on disk.
    #[must_use]
    pub fn for_signal(id: SignalId) -> Self {
        Self::from_parts(&["signal", &id.to_string()])
    }

    /// Of one agent's invocation for a signal.
    #[must_use]
    pub fn for_invocation(id: SignalId, agent: &Name) -> Self {
        Self::from_parts(&["invocation", &id.to_string(), agent.as_str()])
    }

    /// Of a decision.
    #[must_use]
    pub fn for_decision(id: DecisionId) -> Self {
        Self::from_parts(&["decision", &id.to_string()])
    }

    /// Of a part of another span.
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

/// What a span is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span it is a part of, where its maker knows it.
    pub parent: Option<SpanId>,
    /// What was done: one of a few fixed names.
    pub name: &'static str,
    /// From when.
    pub started: SystemTime,
    /// Until when.
    pub ended: SystemTime,
    /// Names, types, outcomes. No free text.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed: a kind.
    pub failure: Option<String>,
    /// What the exporter needs to connect a message with the signal that it became.
    pub link: Option<SpanLink>,
}

/// A message's way from the decision that let it pass to the signal it became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanLink {
    /// This decision put a message by `sender` into the outbox, for signals of this depth.
    Sends {
        /// Whose message; `None`: the host's own.
        sender: Option<Name>,
        /// The causal depth of the signal it becomes.
        depth: u32,
    },
    /// This signal came out of the outbox.
    Sent {
        /// Whose message; `None`: the host's own.
        sender: Option<Name>,
        /// Its causal depth.
        depth: u32,
    },
}

/// Where spans go. Cheap to clone; the default drops them unseen.
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
    /// An outlet for so many spans at a time, and the end where they come out.
    #[must_use]
    pub fn with_capacity(most: usize) -> (Self, Receiver<Span>) {
        let (spans, out) = crossbeam_channel::bounded(most);
        let outlet = SpanQueue {
            spans,
            dropped: Counter::default(),
            exported: Counter::default(),
            failed: Counter::default(),
        };
        (Self(Some(Arc::new(outlet))), out)
    }

    /// Whether anybody wants spans: only then they are worth making.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a span out. When the exporter cannot keep up, it is dropped and counted: telemetry must not hold up decisions.
    pub fn record(&self, span: Span) {
        if let Some(outlet) = &self.0
            && let Err(TrySendError::Full(_)) = outlet.spans.try_send(span)
        {
            outlet.dropped.increment();
        }
    }

    /// Notes what became of spans that came out.
    pub fn record_export(&self, spans: u64, arrived: bool) {
        if let Some(outlet) = &self.0 {
            if arrived {
                outlet.exported.add(spans);
            } else {
                outlet.failed.add(spans);
            }
        }
    }

    /// Spans exported, and spans that could not be.
    #[must_use]
    pub fn export_counts(&self) -> [u64; 2] {
        let outlet = self.0.as_ref();
        outlet.map_or([0; 2], |outlet| {
            [outlet.exported.get(), outlet.failed.get()]
        })
    }

    /// Spans dropped so far.
    #[must_use]
    pub fn dropped_count(&self) -> u64 {
        self.0.as_ref().map_or(0, |outlet| outlet.dropped.get())
    }
}
