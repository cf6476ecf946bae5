//! Why a policy could not judge, or refuses its settings.

use serde::{Deserialize, Serialize};

/// Why a policy could not judge. Each of these denies the action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// All instances of the engine are in use, or the policy failed at its start. Holds the reason.
    #[error("the policy could not be started: {0}")]
    Start(String),
    /// The policy reached a limit of its evaluation. Holds the limit's name.
    #[error("the policy reached its limit of {0}")]
    Limit(&'static str),
    /// The policy trapped. Holds the kind of trap.
    #[error("the policy trapped: {0}")]
    Trap(String),
    /// The policy's answer is not a verdict over its own rules. Holds what is wrong.
    #[error("the policy's verdict is malformed: {0}")]
    Malformed(String),
    /// The policy was called with settings and takes none.
    #[error("the policy takes no settings")]
    TakesNoSettings,
}

/// Why a policy refuses the settings that an operator gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsRefused {
    /// The policy takes no settings.
    #[error("the policy takes no settings; leave them out")]
    NotTaken,
    /// The settings have problems: at least one, at most 32.
    #[error("the policy refuses its settings: {}", join_problems(.0))]
    Problems(Vec<SettingsProblem>),
    /// The policy failed when it was asked.
    #[error("asked whether it takes its settings, it failed: {0}")]
    Failed(PolicyError),
}

/// A problem of settings as the policy describes it. The texts have bounded lengths and contain no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}; {remedy}", self.describe())]
#[serde(deny_unknown_fields)]
pub struct SettingsProblem {
    /// The field, as a path from the root of the settings; empty: the settings as a whole.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl SettingsProblem {
    /// Returns what is wrong, as a sentence without the remedy.
    #[must_use]
    pub fn describe(&self) -> String {
        let separator = field_separator(&self.field);
        format!("settings{separator}{}: {}", self.field, self.problem)
    }
}

fn field_separator(field: &str) -> &'static str {
    if field.is_empty() || field.starts_with('[') {
        ""
    } else {
        "."
    }
}

fn join_problems(problems: &[SettingsProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join(" | ")
}
