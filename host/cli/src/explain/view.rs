//! A decision as `GET /v1/decisions/{id}` shows it, as far as the explanation reads it.

use ark_model::action::Action;
use ark_model::decision::{ApprovalGiven, Outcome};
use ark_model::facts::Facts;
use ark_model::ids::{DecisionId, Millis, Name, TraceId};
use ark_model::verdict::{ObservedValue, RuleResult, Severity};
use serde::Deserialize;

/// A decision.
#[derive(Deserialize)]
pub(super) struct DecisionRecord {
    pub(super) decision_id: DecisionId,
    pub(super) trace_id: TraceId,
    pub(super) agent: Name,
    #[serde(default)]
    pub(super) submitter: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) decided_at_ms: Millis,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    #[serde(default)]
    pub(super) approval: Option<ApprovalGiven>,
    pub(super) policies: Vec<PolicyRecord>,
    #[serde(default)]
    pub(super) shadows: Vec<ShadowRecord>,
    pub(super) action: Action,
    pub(super) facts: Facts,
    #[serde(default)]
    pub(super) waiting: Option<ApprovalRecord>,
}

/// The verdict of a policy.
#[derive(Deserialize)]
pub(super) struct PolicyRecord {
    pub(super) policy: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) failure: Option<String>,
    pub(super) rules: Vec<RuleRecord>,
    pub(super) warnings: Vec<String>,
}

/// The verdict of a policy on trial.
#[derive(Deserialize)]
pub(super) struct ShadowRecord {
    pub(super) outcome: Outcome,
    pub(super) policy: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) failure: Option<String>,
}

/// The answer of a rule.
#[derive(Deserialize)]
pub(super) struct RuleRecord {
    pub(super) number: u16,
    pub(super) rule: String,
    pub(super) severity: Severity,
    pub(super) answer: RuleResult,
    pub(super) observed: ObservedValue,
    pub(super) limit: ObservedValue,
    pub(super) nearest_passing: Option<f64>,
    #[serde(default)]
    pub(super) description: Option<String>,
}

/// The approval of a held action.
#[derive(Deserialize)]
pub(super) struct ApprovalRecord {
    pub(super) status: String,
    pub(super) submitter: String,
    #[serde(default)]
    pub(super) earlier: Vec<String>,
    pub(super) expires_at_ms: Millis,
    #[serde(default)]
    pub(super) settled_by: Option<String>,
    #[serde(default)]
    pub(super) comment: Option<String>,
    #[serde(default)]
    pub(super) decision_id: Option<DecisionId>,
}
