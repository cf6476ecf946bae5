//! What the watchdog and the operators decide about the system itself: halts, quarantines, alerts.

use serde::{Deserialize, Serialize};

use super::ids::{Millis, Name};

/// Why an agent is in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineCause {
    /// Too many invocations failed one after the other.
    ConsecutiveFailures,
    /// Too large a part of its invocations failed.
    FailureRate,
    /// Its invocations take too long on average.
    Latency,
    /// It missed heartbeats.
    MissedHeartbeats,
    /// An operator said so.
    Operator,
}

impl QuarantineCause {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::Latency => "latency",
            Self::MissedHeartbeats => "missed_heartbeats",
            Self::Operator => "operator",
        }
    }
}

/// A quarantine that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Quarantine {
    /// Whose.
    pub agent: Name,
    /// Why, as a kind.
    pub cause: QuarantineCause,
    /// Why, in words.
    pub reason: String,
    /// Who ordered it: `watchdog`, or an operator's name.
    pub by: String,
    /// Since when.
    pub at_ms: Millis,
}

/// A halt that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Halt {
    /// Why.
    pub reason: String,
    /// Who ordered it: `watchdog`, or an operator's name.
    pub by: String,
    /// Since when.
    pub at_ms: Millis,
}

/// What is ordered. Every order is recorded in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Nothing but reads is approved from now on.
    Halt,
    /// The halt is over.
    Resume,
    /// The agent receives nothing and nothing of it counts.
    Quarantine {
        /// Which agent.
        agent: Name,
        /// Why, as a kind.
        cause: QuarantineCause,
    },
    /// The quarantine is over.
    Restore {
        /// Which agent.
        agent: Name,
    },
}

impl Order {
    /// The agent it is about; `None`: everything.
    #[must_use]
    pub const fn agent(&self) -> Option<&Name> {
        match self {
            Self::Halt | Self::Resume => None,
            Self::Quarantine { agent, .. } | Self::Restore { agent } => Some(agent),
        }
    }

    /// As in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Resume => "resume",
            Self::Quarantine { .. } => "quarantine",
            Self::Restore { .. } => "restore",
        }
    }
}

/// How bad an alert is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = AlertSeverity)]
pub enum AlertSeverity {
    /// For the record.
    Info,
    /// 70 % of a limit, unless said otherwise.
    Warning,
    /// 90 % of a limit, or something was stopped.
    Critical,
}

impl AlertSeverity {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical]
            .into_iter()
            .find(|severity| severity.as_str() == text)
    }
}

/// Something the watchdog noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Alert {
    /// When.
    pub at_ms: Millis,
    /// How bad.
    pub severity: AlertSeverity,
    /// What: stable, e.g. `heartbeat_missed`.
    pub kind: String,
    /// Whom it is about; `None`: the host.
    pub agent: Option<Name>,
    /// In words.
    pub message: String,
    /// What was observed, where it is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    /// What it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}
