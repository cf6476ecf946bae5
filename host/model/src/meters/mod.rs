//! Meters: the handles into which every part of the host records while it works.
//!
//! A [`Counter`] is an atomic number; a [`Timing`] passes a duration to a sink, if there is one. Recording into these takes no lock and allocates
//! nothing, so that they may be used on the path of every decision. Who shows the numbers reads them on request.
//!
//! Everything counted here starts at 0 with the process. What has a row in the store is counted when its commit has succeeded, never before.
//!
//! The meters must not know how numbers are shown, Prometheus, HTTP paths, or the parts that record into them.

mod agents;
mod api;
mod front;
mod handles;
mod parts;
mod policies;
mod rules;
mod spans;
mod streams;

pub use agents::{AgentMeter, AgentMeters, Deployment, QUARANTINE_CAUSES};
pub use api::{ANSWER_CLASSES, ApiMeters, CallKind, CallMeter};
pub use front::{FrontMeters, OwnerProcess, ParkEnd, UnjudgedReason, VerdictResult};
pub use handles::{Counter, Level, Peak, Timing};
pub use parts::{EXECUTION_ALERTS, HrmMeters, Meters, RouterMeters, StoreMeters, WatchdogMeters};
pub use policies::{
    COMPARISONS, DifferingDecision, PolicySlotMeter, PolicySlotMeters, PolicyTally,
};
pub use rules::{COUNTED_ANSWERS, CountedAnswers, RuleMeters, RuleRow, RuleSums};
pub use spans::{Span, SpanId, SpanLink, SpanSink};
pub use streams::{EventStreamEnd, StreamMeters};
