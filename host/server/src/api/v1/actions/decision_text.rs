//! Decisions as JSON text, for the answers to proposals.
//!
//! A decision has an answer of each rule, and nearly all of its text is theirs. They are written piece by piece, and everything else as any other
//! answer is; the text is the same as that of the view.

use ark_json::{push_integer, push_number, push_string};
use serde::Serialize;

use crate::api::http::moments::WithMoments;

use super::decision_view::{DecisionView, PolicyView, RuleView};

/// The room that a decision is given: one with 26 rules has some 4,500 bytes.
const DECISION_BYTES: usize = 6 * 1024;

/// The room that the rest of a view is given at first.
const AROUND_BYTES: usize = 512;

const NO_POLICIES: &[u8] = b"\"policies\":[]";
const NO_RULES: &[u8] = b"\"rules\":[]";

/// Returns a decision as JSON text, with its moments in both forms.
///
/// # Errors
/// A value cannot be written as JSON.
pub(super) fn write_decision(mut view: DecisionView<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let policies = std::mem::take(&mut view.policies);
    let around = write_around(&view)?;
    let (before, after) = split_at_list(&around, NO_POLICIES);
    let mut out = Vec::with_capacity(DECISION_BYTES);
    out.extend_from_slice(before);
    for (index, policy) in policies.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_policy(&mut out, policy)?;
    }
    out.extend_from_slice(after);
    Ok(out)
}

/// Returns decisions as the JSON text of an object with the list `decisions`.
///
/// # Errors
/// As [`write_decision`].
pub(super) fn write_decision_list<'a>(
    views: impl Iterator<Item = DecisionView<'a>>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = b"{\"decisions\":[".to_vec();
    for (index, view) in views.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&write_decision(view)?);
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn push_policy(out: &mut Vec<u8>, mut policy: PolicyView<'_>) -> Result<(), serde_json::Error> {
    let rules = std::mem::take(&mut policy.rules);
    let around = write_around(&policy)?;
    let (before, after) = split_at_list(&around, NO_RULES);
    out.extend_from_slice(before);
    for (index, rule) in rules.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_rule(out, rule);
    }
    out.extend_from_slice(after);
    Ok(())
}

/// Returns the text of a view whose list was taken out.
fn write_around(view: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::with_capacity(AROUND_BYTES);
    serde_json::to_writer(&mut text, &WithMoments(view))?;
    Ok(text)
}

/// Splits a text within the brackets of its first empty list of that name. The text of such a field cannot stand within a string, where quotes
/// are escaped, and the view has no other field of the name before it.
fn split_at_list<'a>(text: &'a [u8], list: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = text
        .windows(list.len())
        .position(|window| window == list)
        .map_or(text.len(), |at| at + list.len() - 1);
    text.split_at(at)
}

fn push_rule(out: &mut Vec<u8>, rule: &RuleView<'_>) {
    out.extend_from_slice(b"{\"number\":");
    push_integer(out, rule.number.into());
    out.extend_from_slice(b",\"rule\":");
    push_string(out, &rule.rule);
    out.extend_from_slice(b",\"category\":");
    push_string(out, &rule.category);
    out.extend_from_slice(b",\"severity\":");
    push_string(out, rule.severity.as_str());
    out.extend_from_slice(b",\"answer\":");
    push_string(out, rule.answer.as_str());
    out.extend_from_slice(b",\"observed\":");
    rule.observed.push_json(out);
    out.extend_from_slice(b",\"limit\":");
    rule.limit.push_json(out);
    out.extend_from_slice(b",\"nearest_passing\":");
    match rule.nearest_passing {
        Some(nearest) => push_number(out, nearest),
        None => out.extend_from_slice(b"null"),
    }
    if let Some(description) = &rule.description {
        out.extend_from_slice(b",\"description\":");
        push_string(out, description);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use ark_model::decision::Outcome;
    use ark_model::ids::{DecisionId, Digest, Millis, TraceId};
    use ark_model::verdict::{ObservedValue, RuleResult, Severity};
    use strum::VariantArray;

    use super::*;

    /// A rule with every form of value, and texts that must be escaped.
    fn make_rule(number: u16, answer: RuleResult) -> RuleView<'static> {
        let values = [
            ObservedValue::None,
            ObservedValue::Flag(true),
            ObservedValue::Number(0.1 + 0.2),
            ObservedValue::Text("\"rules\":[] \\ \n".to_owned()),
        ];
        let value = |step: usize| {
            let value = &values[(usize::from(number) + step) % values.len()];
            Cow::Owned(value.clone())
        };
        RuleView {
            number,
            rule: Cow::Borrowed("max_\"size\""),
            category: Cow::Borrowed("\"policies\":[]"),
            severity: Severity::VARIANTS[usize::from(number) % Severity::VARIANTS.len()],
            answer,
            observed: value(0),
            limit: value(1),
            nearest_passing: number.is_multiple_of(2).then_some(-0.5),
            description: number
                .is_multiple_of(3)
                .then_some(Cow::Borrowed("at \u{2264} 1\t")),
        }
    }

    fn make_policy(
        rules: Vec<RuleView<'static>>,
        failure: Option<&'static str>,
    ) -> PolicyView<'static> {
        PolicyView {
            policy: Cow::Borrowed("a,\"rules\":[]"),
            version: Cow::Borrowed("1.0.0"),
            sha256: Digest::hash_bytes(b"p"),
            settings_sha256: failure.map(|_| Digest::hash_bytes(b"{}")),
            failure: failure.map(Cow::Borrowed),
            compliance_score: failure.is_none().then_some(1.0 / 3.0),
            rules_checked: rules.len(),
            rules,
            warnings: Cow::Owned(vec!["\"rules\":[]".to_owned()]),
        }
    }

    fn make_view(policies: Vec<PolicyView<'static>>) -> DecisionView<'static> {
        DecisionView {
            decision_id: DecisionId::fresh(),
            trace_id: TraceId::fresh(),
            agent: "api".parse().unwrap(),
            submitter: None,
            action_type: Cow::Borrowed("\"policies\":[]"),
            outcome: Outcome::Denied,
            compliance_score: 0.0,
            dry_run: false,
            decided_at_ms: Millis(1_764_222_247_001),
            refusal: Some(Cow::Borrowed("r\"")),
            approval: None,
            reasons: vec!["\"policies\":[]".to_owned()],
            warnings: Vec::new(),
            policies,
            shadows: Vec::new(),
            action: None,
            facts: None,
        }
    }

    #[test]
    fn the_text_is_that_of_the_view() {
        let rules = || {
            let answers = RuleResult::VARIANTS.iter().cycle();
            (1..=26)
                .zip(answers)
                .map(|(number, answer)| make_rule(number, *answer))
                .collect()
        };
        let cases: [fn(Vec<RuleView<'static>>) -> Vec<PolicyView<'static>>; 4] = [
            |_| Vec::new(),
            |_| vec![make_policy(Vec::new(), Some("trap"))],
            |rules| vec![make_policy(rules, None)],
            |rules| vec![make_policy(rules, None), make_policy(Vec::new(), None)],
        ];
        for policies in cases {
            let view = make_view(policies(rules()));
            let expected = serde_json::to_string(&WithMoments(&view)).unwrap();
            let list = format!("{{\"decisions\":[{expected},{expected}]}}");
            let copies =
                [(), ()].map(|()| serde_json::from_str::<DecisionView<'_>>(&expected).unwrap());
            let text = write_decision(view).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), expected);
            let text = write_decision_list(copies.into_iter()).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), list);
        }
    }
}
