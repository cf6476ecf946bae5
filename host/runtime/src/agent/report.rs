//! What an invocation did, or why it failed.

use std::time::Duration;

use ark_model::action::Action;
use ark_model::check::clip_to;
use ark_model::state::{NewMemory, StateWrite, TruthWrite};

use crate::recording::Recording;

use super::log::LogLine;

/// The most characters of a reason in an agent's own words that are kept.
pub(super) const MAX_REASON_CHARS: usize = 1000;
/// The most characters of what an agent reports beyond its reason that are kept.
const MAX_DETAILS_CHARS: usize = 4096;

/// The effects that an invocation asks for. None of them has happened yet.
#[derive(Debug, Default)]
pub struct Effects {
    /// The actions that the agent proposes, checked.
    pub actions: Vec<Action>,
    /// The writes of state, one for each key.
    pub state: Vec<StateWrite>,
    /// The memories.
    pub memories: Vec<NewMemory>,
    /// The truths, one for each key.
    pub truths: Vec<TruthWrite>,
}

/// Why an invocation failed. A failed invocation has no effects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvocationFailure {
    /// The agent used up its fuel. Holds the limit, in units.
    #[error("it used up its fuel of {0} units")]
    OutOfFuel(u64),
    /// The agent did not return before the deadline. Holds the limit.
    #[error("it was not done within {} ms", .0.as_millis())]
    DeadlineExceeded(Duration),
    /// The agent reached another limit. Holds the limit's name.
    #[error("it reached its limit of {0}")]
    LimitReached(&'static str),
    /// The agent's quota does not allow what it asks for. Holds what is used and what to do.
    #[error("{0}")]
    QuotaExceeded(String),
    /// So many signals wait that the agent may not send more.
    #[error("{0}")]
    BacklogFull(String),
    /// The agent trapped.
    #[error("it trapped: {message}")]
    Trap {
        /// The kind of trap.
        message: String,
        /// The WebAssembly backtrace. The names in it are the agent's.
        backtrace: String,
    },
    /// The agent could not be instantiated. Holds the reason.
    #[error("it could not be started: {0}")]
    Start(String),
    /// The agent reports that it failed.
    #[error("it reports: {reason}")]
    Reported {
        /// Its reason: the first line of what it says.
        reason: String,
        /// The lines after it, e.g. a traceback. The words are the agent's.
        details: String,
    },
    /// The agent reports that the signal is invalid. Holds its reason. This is the sender's failure, not the agent's.
    #[error("it rejects the signal: {0}")]
    RejectedSignal(String),
    /// The agent returned something invalid. Holds what is wrong.
    #[error("what it returned is not valid: {0}")]
    InvalidOutput(String),
    /// All instances of the engine are in use. Nothing ran; the invocation may be tried again.
    #[error("the host has no room for another instance: {0}")]
    NoRoom(String),
}

impl InvocationFailure {
    /// Returns the kind of failure, as in metrics and in the audit log.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OutOfFuel(_) => "fuel",
            Self::DeadlineExceeded(_) => "deadline",
            Self::LimitReached(limit) => limit,
            Self::QuotaExceeded(_) => "quota",
            Self::BacklogFull(_) => "backlog",
            Self::Trap { .. } => "trap",
            Self::Start(_) => "start",
            Self::Reported { .. } => "reported",
            Self::RejectedSignal(_) => "rejected_signal",
            Self::InvalidOutput(_) => "invalid_output",
            Self::NoRoom(_) => "no_room",
        }
    }

    /// Returns the key of the limit that was reached, as in a `[limits]` table; `None`: the failure has another cause.
    #[must_use]
    pub const fn limit_key(&self) -> Option<&'static str> {
        match self {
            Self::OutOfFuel(_) => Some("fuel"),
            Self::DeadlineExceeded(_) => Some("deadline_ms"),
            Self::LimitReached(limit) => match limit.as_bytes() {
                b"stack" => Some("stack_bytes"),
                _ => Some(limit),
            },
            _ => None,
        }
    }

    /// Returns where it happened: the backtrace of a trap, or what the agent reports beyond its reason. Empty: it is not known.
    #[must_use]
    pub fn backtrace(&self) -> &str {
        match self {
            Self::Trap { backtrace, .. } => backtrace,
            Self::Reported { details, .. } => details,
            _ => "",
        }
    }

    /// Makes the failure that an agent reports in its own words.
    #[must_use]
    pub fn from_report(words: &str) -> Self {
        let (reason, details) = words.split_once('\n').unwrap_or((words, ""));
        Self::Reported {
            reason: clip_to(reason.trim_end(), MAX_REASON_CHARS),
            details: clip_to(details, MAX_DETAILS_CHARS),
        }
    }

    /// Returns whether the failure counts against the agent's health.
    #[must_use]
    pub const fn is_agents_fault(&self) -> bool {
        !matches!(self, Self::RejectedSignal(_) | Self::NoRoom(_))
    }
}

/// What an invocation did and used.
#[derive(Debug)]
pub struct InvocationReport {
    /// The effects, or why the invocation failed.
    pub result: Result<Effects, InvocationFailure>,
    /// The fuel used, in units.
    pub fuel: u64,
    /// The most memory held at one time, in bytes.
    pub memory_peak: usize,
    /// The number of host calls.
    pub host_calls: u32,
    /// The time that making the instance took.
    pub instantiation: Duration,
    /// The time from the start of the instantiation to the agent's return.
    pub duration: Duration,
    /// The lines that the agent logged.
    pub log: Vec<LogLine>,
    /// What the agent received from outside.
    pub recording: Recording,
    /// Whether the agent ran for so long that the priority of the calling thread was lowered. That cannot be undone: the thread should end.
    pub slow: bool,
}

impl InvocationReport {
    /// Makes the report of an invocation that failed before the agent ran.
    #[must_use]
    pub fn not_run(failure: InvocationFailure) -> Self {
        Self {
            result: Err(failure),
            fuel: 0,
            memory_peak: 0,
            host_calls: 0,
            instantiation: Duration::ZERO,
            duration: Duration::ZERO,
            log: Vec::new(),
            recording: Recording::default(),
            slow: false,
        }
    }
}
