//! Why a decision came out as it did, in words that a person can act on. Made from what the API shows of a decision, so that it is the
//! same for a running host and for a data directory.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use ark_model::action::{Action, Parameters};
use ark_model::check::to_printable;
use ark_model::decision::{ApprovalGiven, Outcome, format_value};
use ark_model::facts::Facts;
use ark_model::ids::{DecisionId, Millis, Name, TraceId};
use ark_model::verdict::{ObservedValue, RuleResult, Severity};

use super::advice::{advise_on_rule, format_percent};
use super::moment::format_utc;

/// The longest text of a guest that is shown, in characters.
const MAX_TEXT_CHARS: usize = 500;

/// What the API shows.
#[derive(Deserialize)]
struct View {
    decision_id: DecisionId,
    trace_id: TraceId,
    agent: Name,
    #[serde(default)]
    submitter: Option<String>,
    outcome: Outcome,
    decided_at_ms: Millis,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    approval: Option<ApprovalGiven>,
    policies: Vec<PolicyView>,
    #[serde(default)]
    shadows: Vec<ShadowView>,
    action: Action,
    facts: Facts,
    #[serde(default)]
    waiting: Option<ApprovalView>,
}

#[derive(Deserialize)]
struct PolicyView {
    policy: String,
    version: String,
    #[serde(default)]
    failure: Option<String>,
    rules: Vec<RuleView>,
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct ShadowView {
    outcome: Outcome,
    policy: String,
    version: String,
    #[serde(default)]
    failure: Option<String>,
}

#[derive(Deserialize)]
struct RuleView {
    number: u16,
    rule: String,
    severity: Severity,
    answer: RuleResult,
    observed: ObservedValue,
    limit: ObservedValue,
    nearest_passing: Option<f64>,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Deserialize)]
struct ApprovalView {
    status: String,
    submitter: String,
    #[serde(default)]
    earlier: Vec<String>,
    expires_at_ms: Millis,
    #[serde(default)]
    settled_by: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    decision_id: Option<DecisionId>,
}

/// The explanation.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) decision_id: DecisionId,
    pub(super) trace_id: TraceId,
    pub(super) decided_at: String,
    pub(super) outcome: Outcome,
    /// Outcome, who, and what was asked, in a sentence.
    pub(super) summary: String,
    /// The approval that it was judged under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) given: Option<String>,
    /// Why the host itself denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused_by_host: Option<String>,
    /// Policies that could not judge.
    pub(super) failures: Vec<Failure>,
    /// Every rule that fired, those that deny first.
    pub(super) fired: Vec<FiredRule>,
    /// Claims that were ignored, and what else the policies note.
    pub(super) notes: Vec<String>,
    /// What policies on trial would have made of it.
    pub(super) on_trial: Vec<String>,
    /// What it takes to approve it, or what became of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approval: Option<ApprovalState>,
    /// What would make it pass; empty: it passed.
    pub(super) to_pass: Vec<String>,
}

/// A policy that could not judge.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    pub(super) policy: String,
    pub(super) version: String,
    pub(super) failure: String,
}

/// A rule that fired.
#[derive(Debug, Serialize)]
pub(super) struct FiredRule {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nearest_passing: Option<f64>,
    /// What would make this rule pass.
    pub(super) to_pass: String,
}

/// The approval of what is held.
#[derive(Debug, Serialize)]
pub(super) struct ApprovalState {
    /// open, approved, rejected or expired.
    pub(super) status: String,
    /// Who may approve, and until when; or who settled it.
    pub(super) words: String,
    /// The commands.
    pub(super) how: Vec<String>,
}

impl Explanation {
    /// Explains a decision as the API shows it.
    pub(super) fn from_decision(view: Json) -> anyhow::Result<Self> {
        let view: View = serde_json::from_value(view)
            .context("the decision is not of the form that this version of ark reads")?;
        let mut fired = Vec::new();
        for part in &view.policies {
            let rules = part.rules.iter().filter(|rule| {
                !matches!(rule.answer, RuleResult::Pass | RuleResult::NotApplicable)
            });
            fired.extend(rules.map(|rule| fired_rule(part, rule, &view)));
        }
        fired.sort_by_key(|rule| sort_rank(rule.answer));
        let failures: Vec<Failure> = view
            .policies
            .iter()
            .filter_map(|part| {
                Some(Failure {
                    policy: part.policy.clone(),
                    version: printable_text(&part.version),
                    failure: printable_text(part.failure.as_deref()?),
                })
            })
            .collect();
        let approval = view.waiting.as_ref().map(|it| describe_approval(&view, it));
        let on_trial = view
            .shadows
            .iter()
            .map(|shadow| describe_shadow(shadow, view.outcome));
        Ok(Self {
            decision_id: view.decision_id,
            trace_id: view.trace_id,
            decided_at: format_utc(view.decided_at_ms),
            outcome: view.outcome,
            summary: summarize(&view),
            given: view.approval.as_ref().map(|given| {
                format!(
                    "judged again with the approval of {}, after {} had held it",
                    printable_text(&given.by),
                    given.held
                )
            }),
            refused_by_host: view.refusal.as_deref().map(printable_text),
            notes: view
                .policies
                .iter()
                .flat_map(|part| &part.warnings)
                .map(|warning| printable_text(warning))
                .collect(),
            on_trial: on_trial.collect(),
            to_pass: steps_to_pass(&view, &failures, &fired, approval.as_ref()),
            approval,
            failures,
            fired,
        })
    }

    /// The rules that answered in one of two ways.
    pub(super) fn rules_with_answer(&self, one: &str, other: &str) -> Vec<&FiredRule> {
        let named = |answer: RuleResult| format!("{answer:?}").to_lowercase();
        self.fired
            .iter()
            .filter(|rule| [one, other].contains(&named(rule.answer).as_str()))
            .collect()
    }
}

fn printable_text(text: &str) -> String {
    to_printable(text, MAX_TEXT_CHARS)
}

const fn sort_rank(answer: RuleResult) -> u8 {
    match answer {
        RuleResult::Violation | RuleResult::Error => 0,
        RuleResult::Hold => 1,
        _ => 2,
    }
}

fn fired_rule(part: &PolicyView, rule: &RuleView, view: &View) -> FiredRule {
    let words = |value: &ObservedValue| format_value(value).map(|text| printable_text(&text));
    let mut fired = FiredRule {
        policy: part.policy.clone(),
        version: printable_text(&part.version),
        number: rule.number,
        rule: rule.rule.clone(),
        severity: format!("{:?}", rule.severity).to_lowercase(),
        answer: rule.answer,
        demands: rule.description.as_deref().map(printable_text),
        observed: words(&rule.observed),
        limit: words(&rule.limit),
        nearest_passing: rule.nearest_passing,
        to_pass: String::new(),
    };
    fired.to_pass = advise_on_rule(&fired, &view.action, &view.facts);
    fired
}

/// Outcome, who, what.
fn summarize(view: &View) -> String {
    let handed = view
        .submitter
        .as_deref()
        .map(|name| format!(", handed in by {}", printable_text(name)))
        .unwrap_or_default();
    format!(
        "{}: {} wants to {}{handed}",
        view.outcome.as_str().to_uppercase(),
        view.agent,
        describe_action(&view.action)
    )
}

/// The action in words.
fn describe_action(action: &Action) -> String {
    let kind = &action.action_type;
    match &action.parameters {
        Parameters::Trade(trade) => {
            let verb = match kind.as_str() {
                "buy" | "sell" => kind.clone(),
                _ => format!("{kind} ({:?})", trade.side).to_lowercase(),
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
            data.destination
                .as_deref()
                .map(|name| format!(" to {}", printable_text(name)))
                .unwrap_or_default()
        ),
        Parameters::File(file) => {
            format!("{:?} {}", file.operation, printable_text(&file.path)).to_lowercase()
        }
        Parameters::Code(code) => format!(
            "execute {} bytes of code{}",
            code.code.len(),
            code.language
                .as_deref()
                .map(|language| format!(" ({})", printable_text(language)))
                .unwrap_or_default()
        ),
        Parameters::Message(message) => format!(
            "{kind}{}",
            message
                .topic
                .as_deref()
                .map(|topic| format!(" on {}", printable_text(topic)))
                .unwrap_or_default()
        ),
        Parameters::System(_) => format!("{kind}, a change of the system itself"),
        Parameters::Custom(_) => format!("do {kind}"),
    }
}

fn describe_shadow(shadow: &ShadowView, outcome: Outcome) -> String {
    let who = format!("{} {}", shadow.policy, printable_text(&shadow.version));
    match &shadow.failure {
        Some(failure) => format!("{who} could not judge: {}", printable_text(failure)),
        None if shadow.outcome == outcome => format!("{who} would have changed nothing"),
        None => format!("with {who} it would have been {}", shadow.outcome.as_str()),
    }
}

fn describe_approval(view: &View, waiting: &ApprovalView) -> ApprovalState {
    let id = view.decision_id;
    let by = waiting
        .settled_by
        .as_deref()
        .map(printable_text)
        .unwrap_or_default();
    let comment = waiting
        .comment
        .as_deref()
        .map(printable_text)
        .unwrap_or_default();
    let (words, how) = match waiting.status.as_str() {
        "open" => {
            let mut others = vec![printable_text(&waiting.submitter)];
            others.extend(waiting.earlier.iter().map(|name| printable_text(name)));
            let words = format!(
                "it waits until {}; anybody with the role approver may approve it, but not {}, and anybody may reject it",
                format_utc(waiting.expires_at_ms),
                others.join(" or ")
            );
            let how = ["approve", "reject"]
                .map(|verb| format!("ark approvals {verb} {id} --comment \"why\""));
            (words, how.to_vec())
        }
        "approved" => {
            let again = waiting.decision_id.map(|id| format!("ark explain {id}"));
            let words = format!("{by} approved it ({comment}); it was judged again");
            (words, again.into_iter().collect())
        }
        "rejected" => (format!("{by} rejected it: {comment}"), Vec::new()),
        _ => (
            format!("nobody settled it by {}", format_utc(waiting.expires_at_ms)),
            Vec::new(),
        ),
    };
    ApprovalState {
        status: printable_text(&waiting.status),
        words,
        how,
    }
}

fn steps_to_pass(
    view: &View,
    failures: &[Failure],
    fired: &[FiredRule],
    approval: Option<&ApprovalState>,
) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    let mut add = |step: String| {
        if !steps.contains(&step) {
            steps.push(step);
        }
    };
    if view.outcome == Outcome::Approved {
        return steps;
    }
    if let Some(refusal) = &view.refusal {
        add(format!(
            "what the host refuses has to be settled first: {}",
            printable_text(refusal)
        ));
    }
    for failure in failures {
        add(format!(
            "{} has to be able to judge: its operator replaces it or takes it off; nothing in the action helps",
            failure.policy
        ));
    }
    let mut held = false;
    for rule in fired {
        match rule.answer {
            RuleResult::Violation | RuleResult::Error => add(rule.to_pass.clone()),
            RuleResult::Hold => held = true,
            _ => {}
        }
    }
    let ways = fired
        .iter()
        .filter(|rule| rule.answer == RuleResult::Hold)
        .map(|rule| rule.to_pass.clone());
    match (view.outcome, approval) {
        (Outcome::Held, Some(approval)) if approval.status == "open" => {
            add(format!(
                "an approval, until then: {}",
                approval.how.join("  or  ")
            ));
            ways.for_each(&mut add);
        }
        (Outcome::Held, Some(approval)) if approval.status == "approved" => {
            add(format!("it was judged again: {}", approval.how.join("")));
        }
        (Outcome::Held, _) => {
            add("propose it again, and have the new decision approved in time".to_owned());
            ways.for_each(&mut add);
        }
        (_, _) if held => {
            add(
                "then it would be held, and a person has to approve it (ark approvals list)"
                    .to_owned(),
            );
            ways.for_each(&mut add);
        }
        _ => {}
    }
    steps
}
