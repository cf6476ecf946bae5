//! Decisions as JSON text, for the answers to proposals.
//!
//! A decision has an answer of each rule, and nearly all of its text is theirs. It is written piece by piece, without a view between; the text is
//! the same as that of the view ([`DecisionView::of`] in the form that the caller asked for), with its moment in both forms.
//!
//! [`DecisionView::of`]: super::decision_view::DecisionView::of

use ark_json::{push_flag, push_integer, push_number, push_string};
use ark_model::decision::{Decision, PolicyVerdict, ShadowVerdict};
use ark_model::verdict::{RuleAnswer, RuleResult};
use serde::Serialize;

use crate::api::http::moments::{WithMoments, write_moment};

use super::decision_form::DecisionForm;
use super::unread_parameters::find_unread_parameters;

/// The room that the answer of a rule is given.
const ANSWER_BYTES: usize = 160;
/// The room that all the rest of a decision is given.
const REST_BYTES: usize = 768;

/// Returns a decision as JSON text. `dry_run`: it was judged only, and nothing is recorded.
///
/// # Errors
/// A value cannot be written as JSON.
pub(super) fn write_decision(
    decision: &Decision,
    dry_run: bool,
    form: DecisionForm,
) -> Result<Vec<u8>, serde_json::Error> {
    let answers = decision
        .verdicts
        .iter()
        .flat_map(list_answers)
        .filter(|answer| form.shows_answer(answer.answer))
        .count();
    let mut out = Vec::with_capacity(REST_BYTES + answers * ANSWER_BYTES);
    push_decision(&mut out, decision, dry_run, form)?;
    Ok(out)
}

/// Returns recorded decisions as the JSON text of an object with the list `decisions`.
///
/// # Errors
/// As [`write_decision`].
pub(super) fn write_decision_list<'a>(
    decisions: impl Iterator<Item = &'a Decision>,
    form: DecisionForm,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = b"{\"decisions\":[".to_vec();
    for (index, decision) in decisions.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_decision(&mut out, decision, false, form)?;
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn push_decision(
    out: &mut Vec<u8>,
    decision: &Decision,
    dry_run: bool,
    form: DecisionForm,
) -> Result<(), serde_json::Error> {
    push_plain(
        out,
        "{\"decision_id\":",
        decision.id.write_text(&mut [0; 36]).as_bytes(),
    );
    push_plain(out, ",\"trace_id\":", &decision.trace_id.to_hex());
    push_text(out, ",\"agent\":", decision.agent.as_str());
    if let Some(submitter) = &decision.submitter {
        push_text(out, ",\"submitter\":", submitter);
    }
    push_text(out, ",\"action_type\":", &decision.action.action_type);
    push_text(out, ",\"outcome\":", decision.outcome.as_str());
    out.extend_from_slice(b",\"compliance_score\":");
    push_number(out, decision.compliance_score);
    out.extend_from_slice(b",\"dry_run\":");
    push_flag(out, dry_run);
    out.extend_from_slice(b",\"decided_at_ms\":");
    push_integer(out, decision.decided_at.0);
    if let Some(moment) = write_moment(decision.decided_at.0) {
        push_plain(out, ",\"decided_at\":", &moment);
    }
    if let Some(refusal) = &decision.refusal {
        push_text(out, ",\"refusal\":", refusal);
    }
    if let Some(approval) = &decision.approval {
        push_value(out, ",\"approval\":", approval)?;
    }
    push_texts(out, ",\"reasons\":", &decision.reasons());
    let warnings = find_unread_parameters(&decision.action);
    if !warnings.is_empty() {
        push_value(out, ",\"warnings\":", &warnings)?;
    }
    out.extend_from_slice(b",\"policies\":[");
    let policies = decision.verdicts.iter();
    let policies = policies.filter(|part| form.shows_policy(part));
    for (index, part) in policies.enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        push_policy(out, part, form);
        out.push(b'}');
    }
    out.push(b']');
    if form.shows_shadows() && !decision.shadows.is_empty() {
        push_shadows(out, decision, form);
    }
    out.push(b'}');
    Ok(())
}

fn push_shadows(out: &mut Vec<u8>, decision: &Decision, form: DecisionForm) {
    out.extend_from_slice(b",\"shadows\":[");
    for (index, shadow) in decision.shadows.iter().enumerate() {
        let ShadowVerdict {
            policy_verdict,
            outcome,
        } = shadow;
        let start = if index == 0 {
            "{\"outcome\":"
        } else {
            ",{\"outcome\":"
        };
        push_text(out, start, outcome.as_str());
        out.extend_from_slice(b",\"differs\":");
        push_flag(out, *outcome != decision.outcome);
        out.push(b',');
        push_policy(out, policy_verdict, form);
        out.push(b'}');
    }
    out.push(b']');
}

/// Appends the fields of what a policy says.
fn push_policy(out: &mut Vec<u8>, part: &PolicyVerdict, form: DecisionForm) {
    let identity = &part.policy;
    push_text(out, "\"policy\":", &identity.metadata.name);
    push_text(out, ",\"version\":", &identity.metadata.version);
    push_plain(out, ",\"sha256\":", &identity.digest.to_hex());
    if let Some(settings) = &part.settings {
        push_plain(out, ",\"settings_sha256\":", &settings.to_hex());
    }
    let mut warnings: &[String] = &[];
    match &part.verdict {
        Ok(verdict) => {
            out.extend_from_slice(b",\"compliance_score\":");
            push_number(out, verdict.compliance_score);
            warnings = &verdict.warnings;
        }
        Err(failure) => push_text(out, ",\"failure\":", failure),
    }
    let answers = list_answers(part);
    let checked = answers
        .iter()
        .filter(|answer| answer.answer != RuleResult::NotApplicable)
        .count();
    out.extend_from_slice(b",\"rules_checked\":");
    push_integer(out, checked as u64);
    out.extend_from_slice(b",\"rules\":[");
    let shown = answers
        .iter()
        .filter(|answer| form.shows_answer(answer.answer))
        .filter_map(|answer| Some((identity.answer_start(answer.rule)?, answer)));
    for (index, (start, answer)) in shown.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(start);
        push_answer(out, answer);
    }
    push_texts(out, "],\"warnings\":", warnings);
}

/// Appends what follows the start of an answer of a rule.
fn push_answer(out: &mut Vec<u8>, answer: &RuleAnswer) {
    out.extend_from_slice(result_text(answer.answer));
    answer.observed.push_json(out);
    out.extend_from_slice(b",\"limit\":");
    answer.limit.push_json(out);
    match answer.nearest_passing {
        Some(nearest) => {
            out.extend_from_slice(b",\"nearest_passing\":");
            push_number(out, nearest);
            out.push(b'}');
        }
        None => out.extend_from_slice(b",\"nearest_passing\":null}"),
    }
}

/// The field with the result of a rule and the name of the field after it.
const fn result_text(result: RuleResult) -> &'static [u8] {
    match result {
        RuleResult::Pass => b",\"answer\":\"pass\",\"observed\":",
        RuleResult::Warn => b",\"answer\":\"warn\",\"observed\":",
        RuleResult::Violation => b",\"answer\":\"violation\",\"observed\":",
        RuleResult::Hold => b",\"answer\":\"hold\",\"observed\":",
        RuleResult::NotApplicable => b",\"answer\":\"not-applicable\",\"observed\":",
        RuleResult::Error => b",\"answer\":\"error\",\"observed\":",
    }
}

/// The answers of a policy's rules; none of one that could not judge.
fn list_answers(part: &PolicyVerdict) -> &[RuleAnswer] {
    part.verdict
        .as_ref()
        .map_or(&[][..], |verdict| &verdict.answers)
}

/// Appends the start of a field and a text.
fn push_text(out: &mut Vec<u8>, start: &str, text: &str) {
    out.extend_from_slice(start.as_bytes());
    push_string(out, text);
}

/// Appends the start of a field and a list of texts.
fn push_texts(out: &mut Vec<u8>, start: &str, texts: &[String]) {
    out.extend_from_slice(start.as_bytes());
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, text);
    }
    out.push(b']');
}

/// Appends the start of a field and the text of an id, a digest or a moment, which has nothing to escape.
fn push_plain(out: &mut Vec<u8>, start: &str, text: &[u8]) {
    out.extend_from_slice(start.as_bytes());
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Appends the start of a field and any value.
fn push_value(
    out: &mut Vec<u8>,
    start: &str,
    value: &impl Serialize,
) -> Result<(), serde_json::Error> {
    out.extend_from_slice(start.as_bytes());
    serde_json::to_writer(out, &WithMoments(value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ark_model::decision::{ApprovalGiven, Outcome, PolicyIdentity};
    use ark_model::facts::Facts;
    use ark_model::form::{parse_action, parse_json};
    use ark_model::ids::{DecisionId, Digest, Millis, TraceId};
    use ark_model::verdict::{Metadata, ObservedValue, Rule, Severity, Verdict};
    use strum::VariantArray;

    use crate::api::http::preferences::{Preferences, RulesShown};

    use super::super::decision_view::DecisionView;
    use super::*;

    /// A policy with names that must be escaped, whose rules are out of order.
    fn make_policy(name: &str) -> Arc<PolicyIdentity> {
        let rules = [2, 1, 3, 4, 5, 6, 30, 8].map(|number: u16| Rule {
            number,
            name: format!("max_\"size\"_{number}"),
            category: "\"policies\":[]".to_owned(),
            severity: Severity::VARIANTS[usize::from(number) % Severity::VARIANTS.len()],
            hold: number == 4,
            description: "what it demands".to_owned(),
        });
        let metadata = Metadata {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            rules: rules.into(),
        };
        Arc::new(PolicyIdentity::new(
            Digest::hash_bytes(name.as_bytes()),
            metadata,
        ))
    }

    /// An answer of each rule and of two that the policy does not have, with every result and every form of value.
    fn make_answers(results: &[RuleResult]) -> Vec<RuleAnswer> {
        let values = [
            ObservedValue::None,
            ObservedValue::Flag(true),
            ObservedValue::Number(0.1 + 0.2),
            ObservedValue::Number(-100.0),
            ObservedValue::Text("\"rules\":[] \\ \n\u{2264}".to_owned()),
        ];
        let value = |step: usize| values[step % values.len()].clone();
        let numbers = [1_u16, 2, 3, 4, 5, 6, 7, 8, 9, 30].into_iter();
        let answers = numbers.zip(results.iter().cycle()).enumerate();
        answers
            .map(|(index, (rule, result))| RuleAnswer {
                rule,
                answer: *result,
                observed: value(index),
                limit: value(index * 2 + 1),
                nearest_passing: [None, Some(-0.5), Some(3.0), Some(f64::NAN)][index % 4],
            })
            .collect()
    }

    fn make_part(name: &str, verdict: Result<&[RuleResult], &str>) -> PolicyVerdict {
        PolicyVerdict {
            policy: make_policy(name),
            settings: (name != "unknown").then(|| Digest::hash_bytes(b"{}")),
            verdict: verdict.map_err(str::to_owned).map(|results| Verdict {
                answers: make_answers(results),
                warnings: vec!["\"rules\":[]".to_owned(), "b".to_owned()],
                compliance_score: 1.0 / 3.0,
            }),
        }
    }

    fn make_decision(verdicts: Vec<PolicyVerdict>, shadows: Vec<ShadowVerdict>) -> Decision {
        let request = parse_action(
            parse_json(br#"{"agent":"api","action_type":"buy","parameters":{"symbol":"X","position_size_pct":0.07,"levarage":2}}"#)
                .unwrap(),
        )
        .unwrap();
        Decision {
            id: DecisionId::fresh(),
            trace_id: TraceId::fresh(),
            agent: request.agent,
            submitter: None,
            decided_at: Millis(1_764_222_247_001),
            action: request.action,
            facts: Facts::default(),
            verdicts,
            shadows,
            refusal: None,
            approval: None,
            outcome: Outcome::Approved,
            compliance_score: 1.0,
        }
    }

    /// Decisions with every field, and without.
    fn make_decisions() -> Vec<Decision> {
        use RuleResult::{NotApplicable, Pass, Warn};
        let every = || make_part("every", Ok(RuleResult::VARIANTS));
        let quiet = || make_part("q\"uiet", Ok(&[Pass, NotApplicable]));
        let failed = || make_part("failed", Err("a \"trap\""));
        let shadow = |policy_verdict, outcome| ShadowVerdict {
            policy_verdict,
            outcome,
        };
        let mut unknown = make_part("unknown", Ok(&[Warn]));
        if let Ok(verdict) = &mut unknown.verdict {
            verdict.answers.retain(|answer| answer.rule == 9);
        }
        let shadows = vec![
            shadow(every(), Outcome::Approved),
            shadow(quiet(), Outcome::Held),
            shadow(failed(), Outcome::Denied),
        ];
        let mut full = make_decision(vec![quiet(), failed(), every()], shadows);
        full.submitter = Some("d\u{e9}sk".to_owned());
        full.refusal = Some("r\"".to_owned());
        full.approval = Some(ApprovalGiven {
            held: DecisionId::fresh(),
            by: "ada".to_owned(),
        });
        full.outcome = Outcome::Denied;
        full.compliance_score = 0.0;
        // Without a parameter that nothing reads, the answer has no warnings.
        let mut held = make_decision(vec![quiet()], Vec::new());
        held.outcome = Outcome::Held;
        held.action = parse_action(
            parse_json(br#"{"agent":"api","action_type":"buy","parameters":{"symbol":"X","position_size_pct":0.07}}"#)
                .unwrap(),
        )
        .unwrap()
        .action;
        assert!(find_unread_parameters(&held.action).is_empty());
        let mut late = make_decision(vec![unknown, quiet()], Vec::new());
        late.decided_at = Millis(u64::MAX);
        vec![
            make_decision(Vec::new(), Vec::new()),
            make_decision(vec![quiet()], Vec::new()),
            make_decision(vec![every(), quiet()], Vec::new()),
            full,
            held,
            late,
        ]
    }

    #[test]
    fn the_text_is_that_of_the_view() {
        let decisions = make_decisions();
        for (rules, is_minimal) in [
            (None, false),
            (Some(RulesShown::All), false),
            (Some(RulesShown::Fired), false),
            (None, true),
            (Some(RulesShown::Fired), true),
        ] {
            let form = DecisionForm::new(rules, Preferences { is_minimal });
            let write_view = |decision, dry_run| {
                let view = form.apply(DecisionView::of(decision, dry_run));
                serde_json::to_string(&WithMoments(&view)).unwrap()
            };
            for decision in &decisions {
                for dry_run in [false, true] {
                    let text = write_decision(decision, dry_run, form).unwrap();
                    assert_eq!(
                        String::from_utf8(text).unwrap(),
                        write_view(decision, dry_run)
                    );
                }
            }
            let list = write_decision_list(decisions.iter(), form).unwrap();
            let views: Vec<String> = decisions.iter().map(|it| write_view(it, false)).collect();
            let expected = format!("{{\"decisions\":[{}]}}", views.join(","));
            assert_eq!(String::from_utf8(list).unwrap(), expected);
        }
    }
}
