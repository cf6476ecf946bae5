//! What the API shows: decisions, rules and traces as JSON.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::hrm::decode_decision_row;
use ark_model::action::Action;
use ark_model::decision::{ApprovalGiven, Decision, Outcome, PolicyIdentity, PolicyVerdict};
use ark_model::facts::Facts;
use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use ark_model::verdict::{Metadata, ObservedValue, Rule, RuleAnswer, RuleResult, Severity};
use ark_store::{AuditRow, Store};

/// A decision, as answered to a proposal.
#[derive(Serialize, ToSchema)]
#[schema(as = Decision)]
pub struct DecisionView<'a> {
    decision_id: DecisionId,
    trace_id: TraceId,
    agent: &'a Name,
    /// The name of the token it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    submitter: Option<&'a str>,
    action_type: &'a str,
    outcome: Outcome,
    /// The lowest of the policies: 1, less the part of its rules that are broken.
    compliance_score: f64,
    /// It was judged only: nothing is recorded.
    dry_run: bool,
    decided_at_ms: Millis,
    /// Why the host itself denies, apart from any policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    /// The approval it was judged under.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'a ApprovalGiven>,
    /// Why it is not approved, and what it was warned of, in words.
    reasons: Vec<String>,
    policies: Vec<PolicyView<'a>>,
    /// What policies on trial would have made of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shadows: Vec<ShadowView<'a>>,
    /// The action as judged: normalised and redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a Action>,
    /// What it was judged under.
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<&'a Facts>,
}

/// What a policy on trial would have made of it.
#[derive(Serialize, ToSchema)]
#[schema(as = ShadowVerdict)]
struct ShadowView<'a> {
    /// The outcome there would have been.
    outcome: Outcome,
    /// Whether that is another one.
    differs: bool,
    #[serde(flatten)]
    said: PolicyView<'a>,
}

/// What one policy says.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyVerdict)]
struct PolicyView<'a> {
    policy: &'a str,
    version: &'a str,
    sha256: Digest,
    /// The digest of its settings, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings_sha256: Option<Digest>,
    /// Why it could not judge, which denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compliance_score: Option<f64>,
    rules_checked: usize,
    rules: Vec<RuleView<'a>>,
    warnings: &'a [String],
}

/// How one rule answers.
#[derive(Serialize, ToSchema)]
#[schema(as = RuleVerdict)]
struct RuleView<'a> {
    number: u16,
    rule: &'a str,
    category: &'a str,
    severity: Severity,
    answer: RuleResult,
    observed: &'a ObservedValue,
    limit: &'a ObservedValue,
    /// The nearest value that would pass, the rest being equal.
    nearest_passing: Option<f64>,
    /// What it demands; only of those that fired, in the whole record.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

impl<'a> DecisionView<'a> {
    /// The answer to a proposal.
    pub fn of(decision: &'a Decision, dry_run: bool) -> Self {
        Self {
            decision_id: decision.id,
            trace_id: decision.trace_id,
            agent: &decision.agent,
            submitter: decision.submitter.as_deref(),
            action_type: &decision.action.action_type,
            outcome: decision.outcome,
            compliance_score: decision.compliance_score,
            dry_run,
            decided_at_ms: decision.decided_at,
            refusal: decision.refusal.as_deref(),
            approval: decision.approval.as_ref(),
            reasons: decision.reasons(),
            policies: decision.verdicts.iter().map(policy_view).collect(),
            shadows: decision
                .shadows
                .iter()
                .map(|shadow| ShadowView {
                    outcome: shadow.outcome,
                    differs: shadow.outcome != decision.outcome,
                    said: policy_view(&shadow.policy_verdict),
                })
                .collect(),
            action: None,
            facts: None,
        }
    }

    /// The answer with the action as judged, for whoever carries it out.
    #[must_use]
    pub fn acted(decision: &'a Decision) -> Self {
        Self {
            action: Some(&decision.action),
            ..Self::of(decision, false)
        }
    }

    /// The whole record: with the action as judged and the facts it was judged under.
    #[must_use]
    pub fn whole(decision: &'a Decision) -> Self {
        let mut view = Self {
            action: Some(&decision.action),
            facts: Some(&decision.facts),
            ..Self::of(decision, false)
        };
        for (part, of) in view.policies.iter_mut().zip(&decision.verdicts) {
            for rule in &mut part.rules {
                let fired = !matches!(rule.answer, RuleResult::Pass | RuleResult::NotApplicable);
                let known = of.policy.rule(rule.number).filter(|_| fired);
                rule.description = known.map(|rule| rule.description.as_str());
            }
        }
        view
    }
}

fn policy_view(part: &PolicyVerdict) -> PolicyView<'_> {
    let identity = &part.policy;
    let verdict = part.verdict.as_ref();
    let answers = verdict.map_or(&[][..], |verdict| &verdict.answers);
    PolicyView {
        policy: &identity.metadata.name,
        version: &identity.metadata.version,
        sha256: identity.digest,
        settings_sha256: part.settings,
        failure: part.verdict.as_ref().err().map(String::as_str),
        compliance_score: verdict.ok().map(|verdict| verdict.compliance_score),
        rules_checked: answers
            .iter()
            .filter(|answer| answer.answer != RuleResult::NotApplicable)
            .count(),
        rules: answers
            .iter()
            .filter_map(|answer| Some(rule_view(identity.rule(answer.rule)?, answer)))
            .collect(),
        warnings: verdict.map_or(&[][..], |verdict| &verdict.warnings),
    }
}

fn rule_view<'a>(rule: &'a Rule, answer: &'a RuleAnswer) -> RuleView<'a> {
    RuleView {
        number: rule.number,
        rule: &rule.name,
        category: &rule.category,
        severity: rule.severity,
        answer: answer.answer,
        observed: &answer.observed,
        limit: &answer.limit,
        nearest_passing: answer.nearest_passing,
        description: None,
    }
}

/// A line of a list of decisions.
#[derive(Serialize, ToSchema)]
pub struct DecisionSummary {
    seq: u64,
    decision_id: String,
    trace_id: Option<TraceId>,
    agent: Option<Name>,
    action_type: Option<String>,
    outcome: Option<Outcome>,
    decided_at_ms: Millis,
}

impl DecisionSummary {
    /// Of a row of the audit log.
    #[must_use]
    pub fn of(row: AuditRow) -> Self {
        Self {
            seq: row.seq,
            decision_id: row.id,
            trace_id: row.trace_id,
            agent: row.agent,
            action_type: row.action_type,
            outcome: row.outcome,
            decided_at_ms: row.at,
        }
    }
}

/// The policies that recorded decisions name, by digest.
pub type KnownPolicies = HashMap<Digest, Arc<PolicyIdentity>>;

/// Every policy the store remembers.
///
/// # Errors
/// The database cannot be read, or holds malformed metadata.
pub fn known_policies(
    records: Vec<ark_store::PolicyRecord>,
) -> Result<KnownPolicies, serde_json::Error> {
    records
        .into_iter()
        .map(|record| {
            let metadata: Metadata = serde_json::from_str(&record.metadata_json)?;
            Ok((
                record.digest,
                Arc::new(PolicyIdentity {
                    digest: record.digest,
                    metadata,
                }),
            ))
        })
        .collect()
}

/// Reads a decision from the store.
///
/// # Errors
/// It cannot be read, or is malformed: in words.
pub fn read_decision(store: &Store, id: DecisionId) -> Result<Option<Decision>, String> {
    let Some(row) = store
        .audit_entry(&id.to_string())
        .map_err(|error| error.to_string())?
    else {
        return Ok(None);
    };
    let records = store.policy_records().map_err(|error| error.to_string())?;
    let known = known_policies(records).map_err(|error| error.to_string())?;
    decode_decision_row(&row, |digest| known.get(&digest).cloned())
        .map_err(|error| error.to_string())
}
