//! What a policy says about an action: the Rust side of `ark:types/verdicts`.

use ark_json::{push_flag, push_number, push_string};
use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

/// The severity of a rule. A rule of severity `low` that fires warns; every other denies or holds the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum Severity {
    /// The rule warns.
    #[component(name = "low")]
    Low,
    /// The rule denies or holds the action.
    #[component(name = "medium")]
    Medium,
    /// The rule denies or holds the action.
    #[component(name = "high")]
    High,
    /// The rule denies or holds the action.
    #[component(name = "critical")]
    Critical,
}

impl Severity {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One rule of a policy, described once in its metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Rule {
    /// The number, unique in the policy. Rule answers refer to it.
    pub number: u16,
    /// The name, e.g. `max_leverage`.
    pub name: String,
    /// The category, e.g. `risk_management`.
    pub category: String,
    /// The severity.
    pub severity: Severity,
    /// Whether the rule holds the action for an approval in place of denying it.
    pub hold: bool,
    /// What the rule demands, in a sentence.
    pub description: String,
}

/// A policy's description of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Metadata {
    /// The name, e.g. `graveyard`.
    pub name: String,
    /// The version (semver).
    pub version: String,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// The answer of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum RuleResult {
    /// The rule applies and is satisfied.
    #[component(name = "pass")]
    Pass,
    /// The rule applies and warns; the outcome does not change.
    #[component(name = "warn")]
    Warn,
    /// The rule applies and is violated: the action is denied.
    #[component(name = "violation")]
    Violation,
    /// The rule applies and asks for an approval first.
    #[component(name = "hold")]
    Hold,
    /// The rule does not apply to the action.
    #[component(name = "not-applicable")]
    NotApplicable,
    /// The rule could not be evaluated: the action is denied.
    #[component(name = "error")]
    Error,
}

impl RuleResult {
    /// Returns whether the rule fired: it warned, held, was violated or could not be evaluated.
    #[must_use]
    pub const fn has_fired(self) -> bool {
        !matches!(self, Self::Pass | Self::NotApplicable)
    }

    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// An observed value, or a limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(variant)]
#[serde(untagged)]
pub enum ObservedValue {
    /// No value.
    #[component(name = "none")]
    None,
    /// A boolean.
    #[component(name = "flag")]
    Flag(bool),
    /// A number.
    #[component(name = "number")]
    Number(f64),
    /// A text.
    #[component(name = "text")]
    Text(String),
}

impl ObservedValue {
    /// Appends the value as JSON.
    pub fn push_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(b"null"),
            Self::Flag(flag) => push_flag(out, *flag),
            Self::Number(number) => push_number(out, *number),
            Self::Text(text) => push_string(out, text),
        }
    }
}

/// The answer of one rule about one action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct RuleAnswer {
    /// The number of the rule, as in the metadata.
    pub rule: u16,
    /// The answer.
    pub answer: RuleResult,
    /// The observed value.
    pub observed: ObservedValue,
    /// The limit that the observed value was compared with.
    pub limit: ObservedValue,
    /// The nearest value that would pass if nothing else changed; absent where the limit is not a number or no value would pass.
    #[component(name = "nearest-passing")]
    pub nearest_passing: Option<f64>,
}

/// What a policy says about one action under one set of facts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Verdict {
    /// One answer for each rule, in the order of the metadata.
    pub answers: Vec<RuleAnswer>,
    /// Remarks for the proposer, e.g. that a claim is not evidence.
    pub warnings: Vec<String>,
    /// 1 - violations / rules that applied, at least 0. A hold and an error count as violations. 1 where no rule applied.
    #[component(name = "compliance-score")]
    pub compliance_score: f64,
}
