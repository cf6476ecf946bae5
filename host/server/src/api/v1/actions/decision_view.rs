//! What the API shows: decisions, rules and traces as JSON.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::hrm::decode_decision_row;
use ark_model::action::Action;
use ark_model::decision::{
    ApprovalGiven, Decision, Outcome, PolicyIdentity, PolicyVerdict, ShadowVerdict,
};
use ark_model::facts::Facts;
use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use ark_model::verdict::{
    Metadata, ObservedValue, Rule, RuleAnswer, RuleResult, Severity, Verdict,
};
use ark_store::{Approval, DecisionLine, FiredRule, Store};

pub use super::approval_view::ApprovalView;
pub use super::unread_parameters::ParameterWarning;

use super::unread_parameters::find_unread_parameters;
use crate::api::http::answer::{answer_from, convert_rows};

/// A decision, as answered to a proposal.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Decision)]
#[expect(
    missing_docs,
    reason = "fields without a comment are those of the model"
)]
pub struct DecisionView<'a> {
    pub decision_id: DecisionId,
    pub trace_id: TraceId,
    pub agent: Name,
    /// The name of the token it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitter: Option<Cow<'a, str>>,
    pub action_type: Cow<'a, str>,
    pub outcome: Outcome,
    /// The lowest of the policies: 1, less the part of its rules that are broken. 0 where a policy could not judge (its `failure`) or the host itself
    /// refuses (`refusal`): then it measures nothing.
    pub compliance_score: f64,
    /// Whether the action was judged only and nothing is recorded.
    pub dry_run: bool,
    pub decided_at_ms: Millis,
    /// Why the host itself denies, apart from any policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Cow<'a, str>>,
    /// The approval it was judged under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Cow<'a, ApprovalGiven>>,
    /// Why it is not approved, and what it was warned of, in words.
    pub reasons: Vec<String>,
    /// Parameters that no rule reads and that resemble one that rules read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ParameterWarning>,
    pub policies: Vec<PolicyView<'a>>,
    /// What policies on trial would have made of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ShadowView<'a>>,
    /// The action as judged: normalised and redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Cow<'a, Action>>,
    /// What it was judged under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Cow<'a, Facts>>,
}

/// What a policy on trial would have made of it.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = ShadowVerdict)]
#[expect(
    missing_docs,
    reason = "fields without a comment are those of the model"
)]
pub struct ShadowView<'a> {
    /// The outcome there would have been.
    pub outcome: Outcome,
    /// Whether that is another one.
    pub differs: bool,
    #[serde(flatten)]
    pub said: PolicyView<'a>,
}

/// What one policy says.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyVerdict)]
#[expect(
    missing_docs,
    reason = "fields without a comment are those of the model"
)]
pub struct PolicyView<'a> {
    pub policy: Cow<'a, str>,
    pub version: Cow<'a, str>,
    pub sha256: Digest,
    /// The digest of its settings, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_sha256: Option<Digest>,
    /// Why it could not judge, which denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compliance_score: Option<f64>,
    pub rules_checked: usize,
    pub rules: Vec<RuleView<'a>>,
    pub warnings: Cow<'a, [String]>,
}

/// How one rule answers.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = RuleVerdict)]
#[expect(
    missing_docs,
    reason = "fields without a comment are those of the model"
)]
pub struct RuleView<'a> {
    pub number: u16,
    pub rule: Cow<'a, str>,
    pub category: Cow<'a, str>,
    pub severity: Severity,
    pub answer: RuleResult,
    pub observed: Cow<'a, ObservedValue>,
    pub limit: Cow<'a, ObservedValue>,
    /// The nearest value that would pass, the rest being equal.
    pub nearest_passing: Option<f64>,
    /// What it demands; only of those that fired, in the whole record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
}

impl<'a> DecisionView<'a> {
    /// The answer to a proposal.
    pub fn of(decision: &'a Decision, dry_run: bool) -> Self {
        Self {
            decision_id: decision.id,
            trace_id: decision.trace_id,
            agent: decision.agent.clone(),
            submitter: decision.submitter.as_deref().map(Cow::Borrowed),
            action_type: Cow::Borrowed(&decision.action.action_type),
            outcome: decision.outcome,
            compliance_score: decision.compliance_score,
            dry_run,
            decided_at_ms: decision.decided_at,
            refusal: decision.refusal.as_deref().map(Cow::Borrowed),
            approval: decision.approval.as_ref().map(Cow::Borrowed),
            reasons: decision.reasons(),
            warnings: find_unread_parameters(&decision.action),
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

    /// The answer with the action as judged, for the executor that carries it out.
    #[must_use]
    pub fn with_action(decision: &'a Decision) -> Self {
        Self {
            action: Some(Cow::Borrowed(&decision.action)),
            ..Self::of(decision, false)
        }
    }

    /// The whole record: with the action as judged and the facts it was judged under.
    #[must_use]
    pub fn with_facts(decision: &'a Decision) -> Self {
        let mut view = Self {
            action: Some(Cow::Borrowed(&decision.action)),
            facts: Some(Cow::Borrowed(&decision.facts)),
            ..Self::of(decision, false)
        };
        for (part, of) in view.policies.iter_mut().zip(&decision.verdicts) {
            for rule in &mut part.rules {
                let known = of.policy.rule(rule.number);
                let known = known.filter(|_| rule.answer.has_fired());
                rule.description = known.map(|rule| Cow::Borrowed(rule.description.as_str()));
            }
        }
        view
    }

    /// The same with the answers of rules that fired only.
    #[must_use]
    pub fn with_fired_rules(mut self) -> Self {
        for part in &mut self.policies {
            part.keep_fired_rules();
        }
        for shadow in &mut self.shadows {
            shadow.said.keep_fired_rules();
        }
        self
    }

    /// The outcome, the reasons, the ids, and the policies of which a rule fired or that could not judge.
    #[must_use]
    pub fn into_minimal(self) -> Self {
        let mut view = self.with_fired_rules();
        view.policies
            .retain(|part| part.failure.is_some() || !part.rules.is_empty());
        Self {
            shadows: Vec::new(),
            action: None,
            facts: None,
            ..view
        }
    }
}

impl PolicyView<'_> {
    fn keep_fired_rules(&mut self) {
        self.rules.retain(|rule| rule.answer.has_fired());
    }
}

impl DecisionView<'_> {
    /// The decision that a whole record shows; `None` without the action or the facts. Of each policy it knows the rules that answered, and of
    /// those the description only where they fired.
    #[must_use]
    pub fn into_decision(self) -> Option<Decision> {
        let shadows = self.shadows.into_iter().map(|shadow| ShadowVerdict {
            policy_verdict: shadow.said.into_verdict(),
            outcome: shadow.outcome,
        });
        Some(Decision {
            id: self.decision_id,
            trace_id: self.trace_id,
            agent: self.agent,
            submitter: self.submitter.map(Cow::into_owned),
            decided_at: self.decided_at_ms,
            action: self.action?.into_owned(),
            facts: self.facts?.into_owned(),
            verdicts: self
                .policies
                .into_iter()
                .map(PolicyView::into_verdict)
                .collect(),
            shadows: shadows.collect(),
            refusal: self.refusal.map(Cow::into_owned),
            approval: self.approval.map(Cow::into_owned),
            outcome: self.outcome,
            compliance_score: self.compliance_score,
        })
    }
}

impl PolicyView<'_> {
    /// The verdict that is shown.
    fn into_verdict(self) -> PolicyVerdict {
        let (rules, answers) = self.rules.into_iter().map(RuleView::into_answer).unzip();
        let verdict = match (self.failure, self.compliance_score) {
            (None, Some(compliance_score)) => Ok(Verdict {
                answers,
                warnings: self.warnings.into_owned(),
                compliance_score,
            }),
            (failure, _) => Err(failure.map_or_else(String::new, Cow::into_owned)),
        };
        PolicyVerdict {
            policy: Arc::new(PolicyIdentity::new(
                self.sha256,
                Metadata {
                    name: self.policy.into_owned(),
                    version: self.version.into_owned(),
                    rules,
                },
            )),
            settings: self.settings_sha256,
            verdict,
        }
    }
}

fn policy_view(part: &PolicyVerdict) -> PolicyView<'_> {
    let identity = &part.policy;
    let verdict = part.verdict.as_ref();
    let answers = verdict.map_or(&[][..], |verdict| &verdict.answers);
    PolicyView {
        policy: Cow::Borrowed(&identity.metadata.name),
        version: Cow::Borrowed(&identity.metadata.version),
        sha256: identity.digest,
        settings_sha256: part.settings,
        failure: part.verdict.as_ref().err().map(Cow::from),
        compliance_score: verdict.ok().map(|verdict| verdict.compliance_score),
        rules_checked: answers
            .iter()
            .filter(|answer| answer.answer != RuleResult::NotApplicable)
            .count(),
        rules: answers
            .iter()
            .filter_map(|answer| Some(rule_view(identity.rule(answer.rule)?, answer)))
            .collect(),
        warnings: Cow::Borrowed(verdict.map_or(&[], |verdict| &verdict.warnings)),
    }
}

fn rule_view<'a>(rule: &'a Rule, answer: &'a RuleAnswer) -> RuleView<'a> {
    RuleView {
        number: rule.number,
        rule: Cow::Borrowed(&rule.name),
        category: Cow::Borrowed(&rule.category),
        severity: rule.severity,
        answer: answer.answer,
        observed: Cow::Borrowed(&answer.observed),
        limit: Cow::Borrowed(&answer.limit),
        nearest_passing: answer.nearest_passing,
        description: None,
    }
}

impl RuleView<'_> {
    /// The rule that is shown, and its answer.
    fn into_answer(self) -> (Rule, RuleAnswer) {
        let rule = Rule {
            number: self.number,
            name: self.rule.into_owned(),
            category: self.category.into_owned(),
            severity: self.severity,
            hold: self.answer == RuleResult::Hold,
            description: self.description.map_or_else(String::new, Cow::into_owned),
        };
        let answer = RuleAnswer {
            rule: self.number,
            answer: self.answer,
            observed: self.observed.into_owned(),
            limit: self.limit.into_owned(),
            nearest_passing: self.nearest_passing,
        };
        (rule, answer)
    }

    /// The same, without a borrow of the decision.
    pub(super) fn into_owned(self) -> RuleView<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        RuleView {
            number: self.number,
            rule: own(self.rule),
            category: own(self.category),
            severity: self.severity,
            answer: self.answer,
            observed: Cow::Owned(self.observed.into_owned()),
            limit: Cow::Owned(self.limit.into_owned()),
            nearest_passing: self.nearest_passing,
            description: self.description.map(own),
        }
    }
}

/// The whole record of a decision: with the action as judged and the facts it was judged under.
#[derive(Serialize, Deserialize, ToSchema)]
#[expect(
    missing_docs,
    reason = "a comment on the flattened decision would stand in the document of the API"
)]
pub struct DecisionRecord<'a> {
    #[serde(flatten)]
    pub decision: DecisionView<'a>,
    /// The approval of a held action, with what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<ApprovalView>,
}

impl<'a> DecisionRecord<'a> {
    /// Makes the line of a decision and, where it held the action, the approval.
    #[must_use]
    pub fn new(decision: &'a Decision, waiting: Option<Approval>) -> Self {
        Self::of_view(DecisionView::with_facts(decision), waiting)
    }

    /// As [`Self::new`], of a decision that is shown in some form.
    pub(super) fn of_view(decision: DecisionView<'a>, waiting: Option<Approval>) -> Self {
        Self {
            decision,
            waiting: waiting.map(ApprovalView::from),
        }
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
    /// The instrument, in the proposer's spelling.
    symbol: Option<String>,
    /// The size as a fraction of capital.
    position_size_pct: Option<f64>,
    /// The rules that fired.
    fired: Vec<FiredRuleName>,
}

answer_from! {
    FiredRule =>
    /// A rule that warned, held, was violated or could not be evaluated.
    struct FiredRuleName {
        /// The policy it is a rule of.
        policy: String,
        number: u16,
        rule: String,
        answer: RuleResult,
    }
}

impl DecisionSummary {
    /// Makes the line of a row of the index.
    #[must_use]
    pub fn of(row: DecisionLine) -> Self {
        Self {
            seq: row.seq,
            decision_id: row.id,
            trace_id: row.trace_id,
            agent: row.agent,
            action_type: row.action_type,
            outcome: row.outcome,
            decided_at_ms: row.at,
            symbol: row.subject.symbol,
            position_size_pct: row.subject.size,
            fired: convert_rows(row.subject.fired),
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
            let identity = PolicyIdentity::new(record.digest, metadata);
            Ok((record.digest, Arc::new(identity)))
        })
        .collect()
}

/// Reads a decision from the store.
///
/// # Errors
/// It cannot be read, or is malformed: in words.
pub fn read_decision(store: &Store, id: DecisionId) -> Result<Option<Decision>, String> {
    let mut decisions = read_decisions(store, &[id])?;
    Ok(decisions.pop().flatten())
}

/// Reads decisions from the audit log, in the order of their ids; `None` for one that is not there.
///
/// # Errors
/// As [`read_decision`].
pub fn read_decisions(store: &Store, ids: &[DecisionId]) -> Result<Vec<Option<Decision>>, String> {
    let records = store.policy_records().map_err(|error| error.to_string())?;
    let known = known_policies(records).map_err(|error| error.to_string())?;
    let read = |id: &DecisionId| read_known_decision(store, *id, &known);
    ids.iter().map(read).collect()
}

fn read_known_decision(
    store: &Store,
    id: DecisionId,
    known: &KnownPolicies,
) -> Result<Option<Decision>, String> {
    let Some(row) = store
        .audit_entry(&id.to_string())
        .map_err(|error| error.to_string())?
    else {
        return Ok(None);
    };
    decode_decision_row(&row, |digest| known.get(&digest).cloned())
        .map_err(|error| error.to_string())
}
