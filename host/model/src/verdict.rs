//! What a policy says of an action: the Rust side of `ark:types/verdicts`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use wasmtime::component::{ComponentType, Lift, Lower};

/// How grave it is when a rule fires.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Warns.
    #[component(name = "low")]
    Low,
    /// Blocks.
    #[component(name = "medium")]
    Medium,
    /// Blocks.
    #[component(name = "high")]
    High,
    /// Blocks.
    #[component(name = "critical")]
    Critical,
}

/// One rule of a policy, described once in its metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct Rule {
    /// Its number: unique in the policy, and what answers refer to.
    pub number: u16,
    /// Its name, e.g. `max_leverage`.
    pub name: String,
    /// Its category, e.g. `risk_management`.
    pub category: String,
    /// Its severity.
    pub severity: Severity,
    /// It holds the action for an approval rather than denying it.
    pub hold: bool,
    /// What it demands, in a sentence.
    pub description: String,
}

/// A policy's description of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Metadata {
    /// Its name, e.g. `graveyard`.
    pub name: String,
    /// Its version (semver).
    pub version: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// How a rule answers.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "kebab-case")]
pub enum RuleResult {
    /// It applies and is kept.
    #[component(name = "pass")]
    Pass,
    /// It applies and warns; nothing is blocked.
    #[component(name = "warn")]
    Warn,
    /// It applies and is broken: the action is denied.
    #[component(name = "violation")]
    Violation,
    /// It applies and asks for an approval first.
    #[component(name = "hold")]
    Hold,
    /// It does not apply to this action.
    #[component(name = "not-applicable")]
    NotApplicable,
    /// It could not be judged: the action is denied.
    #[component(name = "error")]
    Error,
}

/// Something observed, or a limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(variant)]
#[serde(untagged)]
pub enum ObservedValue {
    /// Nothing to show.
    #[component(name = "none")]
    None,
    /// Yes or no.
    #[component(name = "flag")]
    Flag(bool),
    /// A number.
    #[component(name = "number")]
    Number(f64),
    /// Words.
    #[component(name = "text")]
    Text(String),
}

impl PartialSchema for ObservedValue {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([
                Type::Null,
                Type::Boolean,
                Type::Number,
                Type::String,
            ]))
            .description(Some(
                "Something observed, or a limit: nothing, yes or no, a number or words.",
            ))
            .into()
    }
}

impl ToSchema for ObservedValue {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Observed")
    }
}

/// One rule's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct RuleAnswer {
    /// The number of the rule, as in the metadata.
    pub rule: u16,
    /// The answer.
    pub answer: RuleResult,
    /// What was observed.
    pub observed: ObservedValue,
    /// The limit it was held against.
    pub limit: ObservedValue,
    /// For numeric limits: the nearest value that would pass, the rest being equal; absent where none would.
    #[component(name = "nearest-passing")]
    pub nearest_passing: Option<f64>,
}

/// What a policy says of one action under one set of facts. Every rule answers, in the order of the metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Verdict {
    /// The answers.
    pub answers: Vec<RuleAnswer>,
    /// What else the proposer should know, e.g. that a claim was no evidence.
    pub warnings: Vec<String>,
    /// 1 - violations / rules checked, floored at 0; a hold, an error and a violation count as violations, and every rule that
    /// applied as checked. 1 where no rule applied.
    #[component(name = "compliance-score")]
    pub compliance_score: f64,
}
