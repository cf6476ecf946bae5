//! The result of a measurement, and the tripwires that it may name.
//!
//! Invariant: the names are in journals, reports and the record at the host, so that one that there is keeps its name.
//!
//! Must not know: figures, bounds, what a tripwire is found by.

use serde::{Deserialize, Serialize};

/// What sends all requests back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tripwire {
    /// The front cannot be reached, or its checks fail.
    Down,
    /// The host that the front works for has ended, and is not started again.
    HostDown,
    /// A front works for another host than the one at the address.
    OtherHost,
    /// Its process is another one.
    Restart,
    /// No other server is up that could have the requests back.
    NoWayBack,
    /// It gets no request.
    NoTraffic,
    /// An agent was put into quarantine.
    Quarantine,
    /// It judges decisions otherwise.
    Verdicts,
    /// It cannot judge decisions that the host has judged.
    Unjudged,
    /// It denies more than before.
    Denials,
    /// It is slow.
    Latency,
    /// Its answers are errors.
    Errors,
    /// It takes too much memory.
    Memory,
    /// The take-over failed.
    TakeOver,
    /// Its measurements said too little until the deadline.
    Inconclusive,
    /// It could not be measured until the deadline.
    Error,
    /// An operator, or a signal, ended it.
    Aborted,
}

impl Tripwire {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::HostDown => "host-down",
            Self::OtherHost => "other-host",
            Self::Restart => "restart",
            Self::NoWayBack => "no-way-back",
            Self::NoTraffic => "no-traffic",
            Self::Quarantine => "quarantine",
            Self::Verdicts => "verdicts",
            Self::Unjudged => "unjudged",
            Self::Denials => "denials",
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Memory => "memory",
            Self::TakeOver => "take-over",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
            Self::Aborted => "aborted",
        }
    }
}

/// How a measurement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasurementResult {
    /// Everything is within its bounds.
    Success,
    /// A tripwire.
    Failure(Tripwire),
    /// Too few samples, or no data.
    Inconclusive,
    /// It could not be made.
    Error,
}

/// A measurement: how it ended, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// How it ended.
    pub result: MeasurementResult,
    /// Why, with the figures.
    pub reason: String,
}
