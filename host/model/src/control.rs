//! Orders about the system itself, the states they lead to, and the watchdog's alerts.

use serde::{Deserialize, Serialize};

use super::ids::{Millis, Name};

/// The cause of a quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum QuarantineCause {
    /// Too many invocations failed one after the other.
    ConsecutiveFailures,
    /// Too large a share of the agent's invocations failed.
    FailureRate,
    /// The agent's invocations take too long on average.
    Latency,
    /// The agent missed too many heartbeats.
    MissedHeartbeats,
    /// The agent went on although its quotas were used up.
    Quota,
    /// An operator ordered it.
    Operator,
}

impl QuarantineCause {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A quarantine that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The agent in quarantine.
    pub agent: Name,
    /// The kind of cause.
    pub cause: QuarantineCause,
    /// The reason given, for people.
    pub reason: String,
    /// Who ordered it: `watchdog`, or an operator's name.
    pub by: String,
    /// When it was ordered.
    pub at_ms: Millis,
}

/// A halt that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// The reason given, for people.
    pub reason: String,
    /// Who ordered it: `watchdog`, or an operator's name.
    pub by: String,
    /// When it was ordered.
    pub at_ms: Millis,
}

/// A command about the system. Every order is recorded in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(tag = "order", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Order {
    /// From now on only actions that read are approved.
    Halt,
    /// Ends the halt.
    Resume,
    /// From now on the agent receives no signals and nothing of it is committed.
    Quarantine {
        /// The agent.
        agent: Name,
        /// The kind of cause.
        cause: QuarantineCause,
    },
    /// Ends the agent's quarantine.
    Restore {
        /// The agent.
        agent: Name,
    },
}

impl Order {
    /// Returns the agent that the order is about; `None`: the whole system.
    #[must_use]
    pub const fn agent(&self) -> Option<&Name> {
        match self {
            Self::Halt | Self::Resume => None,
            Self::Quarantine { agent, .. } | Self::Restore { agent } => Some(agent),
        }
    }

    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// The severity of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AlertSeverity {
    /// Recorded for information.
    Info,
    /// 70 % of a limit is reached, unless the alert says otherwise.
    Warning,
    /// 90 % of a limit is reached, or something was stopped.
    Critical,
}

impl AlertSeverity {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the severity with this name in JSON.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// Something that the watchdog noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// When it was noticed.
    pub at_ms: Millis,
    /// The severity.
    pub severity: AlertSeverity,
    /// The kind: a fixed name, e.g. `heartbeat_missed`.
    pub kind: String,
    /// The agent that the alert is about; absent: the host.
    pub agent: Option<Name>,
    /// The alert in a sentence, for people.
    pub message: String,
    /// The observed value; absent where it is not a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    /// The limit that the observed value is compared with; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}
