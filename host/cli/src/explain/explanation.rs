//! Why a decision came out as it did, in words that a person can act on. Made from what the API shows of a decision, so that a running host
//! and a data directory give the same explanation.

use anyhow::Context;
use ark_host::api::view::{
    ApprovalView, DecisionRecord, DecisionView, PolicyView, RuleView, ShadowView,
};
use ark_model::action::{Action, Parameters};
use ark_model::decision::{Outcome, format_nearest_passing, name_limit};
use ark_model::facts::Facts;
use ark_model::ids::{DecisionId, TraceId};
use ark_model::verdict::RuleResult;
use ark_store::ApprovalStatus;
use serde::Serialize;

use crate::time::format_moment;

use super::advice::{advise_on_rule, clip_limit, clip_text, clip_value, format_percent};
use super::surroundings::Surroundings;

/// The explanation of a decision.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) decision_id: DecisionId,
    pub(super) trace_id: TraceId,
    pub(super) decided_at: String,
    pub(super) outcome: Outcome,
    /// Outcome, proposer and action, in one sentence.
    pub(super) summary: String,
    /// The approval under which the action was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) given: Option<String>,
    /// Why the host itself denies the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused_by_host: Option<String>,
    /// The policies that could not judge.
    pub(super) failures: Vec<PolicyFailure>,
    /// Every rule that fired, those that deny first.
    pub(super) fired: Vec<ExplainedRule>,
    /// Claims that were ignored, and other remarks of the policies.
    pub(super) notes: Vec<String>,
    /// What policies on trial would have decided.
    pub(super) on_trial: Vec<String>,
    /// What it takes to approve the action, or how its approval ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approval: Option<ApprovalState>,
    /// What would make the action pass; empty if it passed.
    pub(super) to_pass: Vec<String>,
}

/// A policy that could not judge.
#[derive(Debug, Serialize)]
pub(super) struct PolicyFailure {
    pub(super) policy: String,
    pub(super) version: String,
    pub(super) failure: String,
}

/// A rule that fired.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedRule {
    pub(super) policy: String,
    pub(super) version: String,
    pub(super) number: u16,
    pub(super) rule: String,
    pub(super) severity: String,
    pub(super) answer: RuleResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) demands: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<String>,
    /// What stands before the limit.
    #[serde(skip)]
    pub(super) limit_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nearest_passing: Option<f64>,
    /// The same for people.
    #[serde(skip)]
    pub(super) would_pass: Option<String>,
    /// What would make this rule pass.
    pub(super) to_pass: String,
}

/// The approval of a held action.
#[derive(Debug, Serialize)]
pub(super) struct ApprovalState {
    pub(super) status: ApprovalStatus,
    /// Who may approve, and until when; or who ended it and why.
    pub(super) words: String,
    /// The commands that approve or reject it, or that explain the second decision.
    pub(super) how: Vec<String>,
    /// What became of the action, in a word; absent while the approval is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended_as: Option<&'static str>,
}

impl Explanation {
    /// Explains a whole decision.
    ///
    /// # Errors
    /// The record lacks the action or the facts.
    pub(super) fn from_record(
        record: &DecisionRecord,
        around: &Surroundings,
    ) -> anyhow::Result<Self> {
        let DecisionRecord { decision, waiting } = record;
        let action = decision
            .action
            .as_deref()
            .context("the record lacks the action")?;
        let facts = decision
            .facts
            .as_deref()
            .context("the record lacks the facts")?;
        let mut fired: Vec<ExplainedRule> = decision
            .policies
            .iter()
            .flat_map(|policy| {
                let rules = policy.rules.iter().filter(|rule| rule.answer.has_fired());
                rules.map(|rule| explain_rule(policy, rule, action, facts, around))
            })
            .collect();
        fired.sort_by_key(|rule| sort_rank(rule.answer));
        let failures: Vec<PolicyFailure> = decision
            .policies
            .iter()
            .filter_map(|policy| {
                Some(PolicyFailure {
                    policy: policy.policy.to_string(),
                    version: clip_text(&policy.version),
                    failure: clip_text(policy.failure.as_deref()?),
                })
            })
            .collect();
        let approval = waiting
            .as_ref()
            .map(|waiting| describe_approval(decision.decision_id, waiting, around));
        Ok(Self {
            decision_id: decision.decision_id,
            trace_id: decision.trace_id,
            decided_at: format_moment(decision.decided_at_ms),
            outcome: decision.outcome,
            summary: summarize_decision(decision, action, approval.as_ref()),
            given: decision.approval.as_ref().map(|given| {
                format!(
                    "judged again with the approval of {}, after {} had held it",
                    clip_text(&given.by),
                    given.held
                )
            }),
            refused_by_host: decision.refusal.as_deref().map(clip_text),
            notes: decision
                .policies
                .iter()
                .flat_map(|policy| policy.warnings.iter())
                .map(|warning| clip_text(warning))
                .collect(),
            on_trial: decision
                .shadows
                .iter()
                .map(|shadow| describe_shadow(shadow, decision.outcome))
                .collect(),
            to_pass: steps_to_pass(decision, &failures, &fired, approval.as_ref()),
            approval,
            failures,
            fired,
        })
    }

    /// The fired rules with one of these answers.
    pub(super) fn rules_with_answer(&self, answers: &[RuleResult]) -> Vec<&ExplainedRule> {
        self.fired
            .iter()
            .filter(|rule| answers.contains(&rule.answer))
            .collect()
    }
}

const fn sort_rank(answer: RuleResult) -> u8 {
    match answer {
        RuleResult::Violation | RuleResult::Error => 0,
        RuleResult::Hold => 1,
        _ => 2,
    }
}

fn explain_rule(
    policy: &PolicyView,
    rule: &RuleView,
    action: &Action,
    facts: &Facts,
    around: &Surroundings,
) -> ExplainedRule {
    ExplainedRule {
        policy: policy.policy.to_string(),
        version: clip_text(&policy.version),
        number: rule.number,
        rule: rule.rule.to_string(),
        severity: <&str>::from(rule.severity).to_owned(),
        answer: rule.answer,
        demands: rule.description.as_deref().map(clip_text),
        observed: clip_value(&rule.observed),
        limit: clip_limit(rule),
        limit_name: name_limit(&rule.limit),
        nearest_passing: rule.nearest_passing,
        would_pass: rule
            .nearest_passing
            .map(|nearest| format_nearest_passing(nearest, &rule.observed)),
        to_pass: advise_on_rule(&policy.policy, rule, action, facts, around),
    }
}

/// Outcome, proposer and action, in one sentence. What became of a held action since is said with the outcome.
fn summarize_decision(
    decision: &DecisionView,
    action: &Action,
    approval: Option<&ApprovalState>,
) -> String {
    let since = approval
        .and_then(|approval| approval.ended_as)
        .map(|ended| format!(", then {}", ended.to_uppercase()))
        .unwrap_or_default();
    let submitter = decision
        .submitter
        .as_deref()
        .map(|name| format!(", submitted by {}", clip_text(name)))
        .unwrap_or_default();
    format!(
        "{}{since}: {} wants to {}{submitter}",
        decision.outcome.as_str().to_uppercase(),
        decision.agent,
        describe_action(action)
    )
}

/// The action in words, to be read after "wants to".
pub(crate) fn describe_action(action: &Action) -> String {
    let kind = &action.action_type;
    // A part of a sentence that is there only if the action names something.
    let named = |before: &str, name: &Option<String>, after: &str| {
        name.as_deref()
            .map(|name| format!("{before}{}{after}", clip_text(name)))
            .unwrap_or_default()
    };
    match &action.parameters {
        Parameters::Trade(trade) => {
            let verb = match kind.as_str() {
                "buy" | "sell" => kind.clone(),
                _ => format!("{kind} ({})", trade.side.as_str()),
            };
            let leverage = if trade.leverage > 1.0 {
                format!(", leverage {}", trade.leverage)
            } else {
                String::new()
            };
            let size = format_percent(trade.position_size_pct);
            format!("{verb} {} for {size} of capital{leverage}", trade.symbol)
        }
        Parameters::ClosePosition(close) => match close.position_size_pct {
            Some(size) => format!(
                "close {} of capital in {}",
                format_percent(size),
                close.symbol
            ),
            None => format!("close its position in {}", close.symbol),
        },
        Parameters::Data(data) => format!(
            "do {kind} of {} data{}",
            if data.contains_personal_data {
                "personal"
            } else {
                "other"
            },
            named(" to ", &data.destination, "")
        ),
        Parameters::File(file) => {
            format!("{} {}", file.operation.as_str(), clip_text(&file.path))
        }
        Parameters::Code(code) => format!(
            "execute {} bytes of code{}",
            code.code.len(),
            named(" (", &code.language, ")")
        ),
        Parameters::Message(message) => format!("{kind}{}", named(" on ", &message.topic, "")),
        Parameters::System(_) => format!("{kind}, a change of the system itself"),
        Parameters::Custom(_) => format!("do {kind}"),
    }
}

fn describe_shadow(shadow: &ShadowView, outcome: Outcome) -> String {
    let name = format!("{} {}", shadow.said.policy, clip_text(&shadow.said.version));
    match &shadow.said.failure {
        Some(failure) => format!("{name} could not judge: {}", clip_text(failure)),
        None if shadow.outcome == outcome => format!("{name} would not have changed the outcome"),
        None => format!(
            "with {name} the outcome would have been {}",
            shadow.outcome.as_str()
        ),
    }
}

fn describe_approval(
    id: DecisionId,
    waiting: &ApprovalView,
    around: &Surroundings,
) -> ApprovalState {
    let by = waiting
        .settled_by
        .as_deref()
        .map(clip_text)
        .unwrap_or_default();
    let comment = waiting
        .comment
        .as_deref()
        .map(clip_text)
        .unwrap_or_default();
    let (words, how, ended_as) = match waiting.status {
        ApprovalStatus::Open => {
            let mut excluded = vec![clip_text(&waiting.submitter)];
            excluded.extend(waiting.earlier.iter().map(|name| clip_text(name)));
            let words = format!(
                "it waits until {}; every approver may reject it, and every approver but not {} may approve it",
                format_moment(waiting.expires_at_ms),
                excluded.join(" or ")
            );
            let how = ["approve", "reject"]
                .map(|verb| format!("ark approvals {verb} {id} --comment \"why\""));
            (words, how.to_vec(), None)
        }
        ApprovalStatus::Approved => {
            let again = waiting.decision_id.map(|id| format!("ark explain {id}"));
            let outcome = around.judged_again.map(Outcome::as_str);
            let words = format!(
                "{by} approved it ({comment}); it was judged again{}",
                outcome.map(|it| format!(": {it}")).unwrap_or_default()
            );
            (
                words,
                again.into_iter().collect(),
                Some(outcome.unwrap_or("judged again")),
            )
        }
        ApprovalStatus::Rejected => (
            format!("{by} rejected it: {comment}"),
            Vec::new(),
            Some("rejected"),
        ),
        ApprovalStatus::Expired => (
            format!(
                "nobody approved or rejected it by {}",
                format_moment(waiting.expires_at_ms)
            ),
            Vec::new(),
            Some("expired"),
        ),
    };
    ApprovalState {
        status: waiting.status,
        words,
        how,
        ended_as,
    }
}

/// What would make the action pass, step by step; empty if it passed.
fn steps_to_pass(
    decision: &DecisionView,
    failures: &[PolicyFailure],
    fired: &[ExplainedRule],
    approval: Option<&ApprovalState>,
) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    let mut add = |step: String| {
        if !steps.contains(&step) {
            steps.push(step);
        }
    };
    if decision.outcome == Outcome::Approved {
        return steps;
    }
    if let Some(refusal) = &decision.refusal {
        add(format!(
            "remove the reason for which the host refuses it: {}",
            clip_text(refusal)
        ));
    }
    for failure in failures {
        add(format!(
            "{} must be able to judge: its operator replaces it or takes it out of force; no change of the action helps",
            failure.policy
        ));
    }
    let with_answer = |answers: &'static [RuleResult]| {
        fired
            .iter()
            .filter(|rule| answers.contains(&rule.answer))
            .map(|rule| rule.to_pass.clone())
    };
    with_answer(&[RuleResult::Violation, RuleResult::Error]).for_each(&mut add);
    let held = fired.iter().any(|rule| rule.answer == RuleResult::Hold);
    match (decision.outcome, approval) {
        (Outcome::Held, Some(approval)) if approval.status == ApprovalStatus::Approved => {
            if approval.ended_as == Some(Outcome::Approved.as_str()) {
                return steps;
            }
            add(format!("it was judged again: {}", approval.how.join("")));
            return steps;
        }
        (Outcome::Held, Some(approval)) if approval.status == ApprovalStatus::Open => {
            let approve = approval.how.iter().find(|it| it.contains(" approve "));
            add(format!(
                "an approval, until then: {}",
                approve.map_or("", String::as_str)
            ));
        }
        (Outcome::Held, _) => {
            add("propose it again, and have the new decision approved in time".to_owned());
        }
        (_, _) if held => add(
            "then it would be held, and a person has to approve it (ark approvals list)".to_owned(),
        ),
        _ => return steps,
    }
    with_answer(&[RuleResult::Hold]).for_each(&mut add);
    steps
}
