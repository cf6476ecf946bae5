//! Decisions: the outcome over all verdicts about one action, and its record.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use ark_json::{as_whole, push_integer, push_string};
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::facts::Facts;
use super::ids::{DecisionId, Digest, Millis, Name, TraceId};
use super::verdict::{Metadata, ObservedValue, Rule, RuleAnswer, RuleResult, Verdict};

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The action may be carried out.
    Approved,
    /// The action waits for an approval.
    Held,
    /// The action must not be carried out.
    Denied,
}

impl Outcome {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What identifies a policy: its exact bytes and its own description. It does not change once it is made.
///
/// It has lines of the cache for itself: the count of the references to it, which is before it, is changed by several threads for every decision, and
/// all of them read it.
#[derive(Debug)]
#[repr(align(64))]
pub struct PolicyIdentity {
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// The policy's description of itself.
    pub metadata: Metadata,
    /// What [`Self::answer_start`] returns of each rule, in the order of the metadata, once it was asked for.
    answer_starts: OnceLock<Vec<Vec<u8>>>,
}

impl PartialEq for PolicyIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.metadata == other.metadata
    }
}

/// One policy's part of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyVerdict {
    /// The policy.
    pub policy: Arc<PolicyIdentity>,
    /// The SHA-256 of the settings that the policy judged with; absent: it had none.
    pub settings: Option<Digest>,
    /// The verdict, or why the policy could not judge. A policy that could not judge denies.
    pub verdict: Result<Verdict, String>,
}

/// What a policy in shadow mode said about an action. It does not change the outcome of the decision.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowVerdict {
    /// The verdict. Here a policy that could not judge denies nothing.
    pub policy_verdict: PolicyVerdict,
    /// The outcome that the decision would have had if this version had been enforced, in the place of the enforced version of the same name if
    /// there is one.
    pub outcome: Outcome,
}

/// The approval under which an action was judged again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalGiven {
    /// The id of the decision that held the action. It is also the id of the approval.
    pub held: DecisionId,
    /// The name of the approver.
    pub by: String,
}

/// The record of one judgement.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The id.
    pub id: DecisionId,
    /// The trace that the decision belongs to.
    pub trace_id: TraceId,
    /// The requester.
    pub agent: Name,
    /// The name of the token that proposed in the requester's name; absent: the agent itself, or a caller without a token.
    pub submitter: Option<String>,
    /// When the decision was made.
    pub decided_at: Millis,
    /// The action as it was judged: normalised and redacted.
    pub action: Action,
    /// The facts under which the action was judged.
    pub facts: Facts,
    /// The verdicts: the Graveyard's first, then those of the enforced operator policies in their order.
    pub verdicts: Vec<PolicyVerdict>,
    /// The verdicts of the policies in shadow mode, in their order.
    pub shadows: Vec<ShadowVerdict>,
    /// Why the host denies, apart from any policy, e.g. because the manifest does not grant the action type; absent: it does not.
    pub refusal: Option<String>,
    /// The approval under which the action was judged again; absent: the action was not held before.
    pub approval: Option<ApprovalGiven>,
    /// The outcome over all verdicts, the refusal and the approval.
    pub outcome: Outcome,
    /// The lowest compliance score of the verdicts; 0 where a policy could not judge or the host refuses.
    pub compliance_score: f64,
}

impl Decision {
    /// Returns whether a rule of a policy in force is violated.
    #[must_use]
    pub fn violates_rules(&self) -> bool {
        self.fired_rules()
            .any(|(_, answer)| answer.answer == RuleResult::Violation)
    }

    /// Returns the rules that warned, held, were violated or could not be evaluated, with their answers, in the order of the policies.
    pub fn fired_rules(&self) -> impl Iterator<Item = (&Rule, &RuleAnswer)> {
        self.verdicts.iter().flat_map(|part| {
            let answers = part
                .verdict
                .as_ref()
                .map_or(&[][..], |verdict| &verdict.answers);
            answers
                .iter()
                .filter(|answer| answer.answer.has_fired())
                .filter_map(|answer| part.policy.rule(answer.rule).map(|rule| (rule, answer)))
        })
    }

    /// Returns the reasons for the outcome, for people: one line for each rule that fired, those that deny first.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut lines: Vec<(u8, String)> = Vec::new();
        if let Some(refusal) = &self.refusal {
            lines.push((0, refusal.clone()));
        }
        for part in &self.verdicts {
            if let Err(failure) = &part.verdict {
                lines.push((
                    0,
                    format!("{} could not judge: {failure}", part.policy.metadata.name),
                ));
            }
        }
        for (rule, answer) in self.fired_rules() {
            let (order, verb) = match answer.answer {
                RuleResult::Violation => (1, "is violated"),
                RuleResult::Error => (1, "could not be evaluated"),
                RuleResult::Hold => (2, "asks for an approval"),
                _ => (3, "warns"),
            };
            let mut line = String::with_capacity(REASON_BYTES);
            line.push_str(&rule.name);
            line.push(' ');
            line.push_str(verb);
            if answer.observed != ObservedValue::None {
                line.push_str(": ");
                push_comparison(&mut line, &answer.observed, &answer.limit);
            }
            if let Some(nearest) = answer.nearest_passing {
                line.push_str("; ");
                push_nearest_passing(&mut line, nearest, &answer.observed);
                line.push_str(" would pass");
            }
            lines.push((order, line));
        }
        lines.sort_by_key(|(order, _)| *order);
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// The room that a reason is given at first.
const REASON_BYTES: usize = 128;

/// Returns an observed value or a limit as text for people; `None` when there is no value.
#[must_use]
pub fn format_value(value: &ObservedValue) -> Option<String> {
    if *value == ObservedValue::None {
        return None;
    }
    let mut text = String::new();
    push_value(&mut text, value);
    Some(text)
}

/// Appends an observed value or a limit as text for people; nothing when there is no value.
fn push_value(text: &mut String, value: &ObservedValue) {
    match value {
        ObservedValue::None => {}
        ObservedValue::Flag(flag) => text.push_str(if *flag { "yes" } else { "no" }),
        ObservedValue::Number(number) => push_double(text, without_noise(*number)),
        ObservedValue::Text(value) => text.push_str(value),
    }
}

/// Returns the limit as text for people, where it says something beside the observed value; `None` where it does not: beside a text, "yes" or
/// "no" does not say what would pass.
#[must_use]
pub fn format_limit(observed: &ObservedValue, limit: &ObservedValue) -> Option<String> {
    if says_more(limit, observed) {
        format_value(limit)
    } else {
        None
    }
}

/// Whether a limit says something beside the observed value.
const fn says_more(limit: &ObservedValue, observed: &ObservedValue) -> bool {
    !matches!(
        (observed, limit),
        (_, ObservedValue::None) | (ObservedValue::Text(_), ObservedValue::Flag(_))
    )
}

/// The word before a limit: what a yes-no rule compares with is what it demands.
#[must_use]
pub const fn name_limit(limit: &ObservedValue) -> &'static str {
    match limit {
        ObservedValue::Flag(_) => "required",
        ObservedValue::Number(_) | ObservedValue::Text(_) | ObservedValue::None => "limit",
    }
}

/// Returns what was observed and what it was compared with, e.g. `observed 3, limit 2` or `observed yes, required no`; `None` when nothing was
/// observed.
#[must_use]
pub fn describe_comparison(observed: &ObservedValue, limit: &ObservedValue) -> Option<String> {
    if *observed == ObservedValue::None {
        return None;
    }
    let mut text = String::new();
    push_comparison(&mut text, observed, limit);
    Some(text)
}

/// Appends what was observed and what it was compared with, as [`describe_comparison`] returns it.
fn push_comparison(text: &mut String, observed: &ObservedValue, limit: &ObservedValue) {
    text.push_str("observed ");
    push_value(text, observed);
    if says_more(limit, observed) {
        text.push_str(", ");
        text.push_str(name_limit(limit));
        text.push(' ');
        push_value(text, limit);
    }
}

/// Returns a number as text for people, without the noise of sums of doubles: 0.12000000000000001 is 0.12.
#[must_use]
pub fn format_number(number: f64) -> String {
    let mut text = String::new();
    push_double(&mut text, without_noise(number));
    text
}

/// Appends a number as `f64` is displayed.
fn push_double(text: &mut String, number: f64) {
    // To write an integer takes a small part of the time that finding the shortest text of a double takes. Writing into memory cannot fail.
    let _ = match as_whole(number) {
        Some(whole) => write!(text, "{whole}"),
        None => write!(text, "{number}"),
    };
}

/// Returns the nearest passing value as text for people. It is rounded away from what was observed only, so that what is shown passes.
#[must_use]
pub fn format_nearest_passing(nearest: f64, observed: &ObservedValue) -> String {
    let mut text = String::new();
    push_nearest_passing(&mut text, nearest, observed);
    text
}

/// Appends the nearest passing value, as [`format_nearest_passing`] returns it.
fn push_nearest_passing(text: &mut String, nearest: f64, observed: &ObservedValue) {
    let rounded = without_noise(nearest);
    let passes = match observed {
        ObservedValue::Number(observed) if *observed > nearest => rounded <= nearest,
        ObservedValue::Number(observed) if *observed < nearest => rounded >= nearest,
        _ => true,
    };
    push_double(text, if passes { rounded } else { nearest });
}

/// Digits of a number that are shown. A double has 15 to 17, the last of which are noise after a sum.
const SHOWN_DIGITS: usize = 12;

/// Rounds to [`SHOWN_DIGITS`] significant digits.
fn without_noise(number: f64) -> f64 {
    // Most numbers are whole: a 32-bit integer has 10 digits at most.
    if as_whole(number).is_some() {
        return number;
    }
    // Most others have no noise. To find the shortest text of one takes a small part of the time that rounding it and reading it again takes.
    if count_digits(&format!("{number:e}")) <= SHOWN_DIGITS {
        return number;
    }
    format!("{number:.*e}", SHOWN_DIGITS - 1)
        .parse()
        .unwrap_or(number)
}

/// Counts the significant digits of a number in scientific notation.
fn count_digits(scientific: &str) -> usize {
    scientific
        .bytes()
        .take_while(|byte| *byte != b'e')
        .filter(u8::is_ascii_digit)
        .count()
}

impl PolicyIdentity {
    /// Makes the identity of a policy.
    #[must_use]
    pub const fn new(digest: Digest, metadata: Metadata) -> Self {
        Self {
            digest,
            metadata,
            answer_starts: OnceLock::new(),
        }
    }

    /// Returns the rule with this number.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<&Rule> {
        self.metadata.rules.get(self.find_rule(number)?)
    }

    /// Returns the start of the JSON object by which an answer of the rule with this number is shown: the fields that are the same in each of
    /// its answers. It is written once, when it is asked for first.
    #[must_use]
    pub fn answer_start(&self, number: u16) -> Option<&[u8]> {
        let index = self.find_rule(number)?;
        let starts = self
            .answer_starts
            .get_or_init(|| self.metadata.rules.iter().map(write_answer_start).collect());
        starts.get(index).map(Vec::as_slice)
    }

    fn find_rule(&self, number: u16) -> Option<usize> {
        let rules = &self.metadata.rules;
        let has_number = |index: &usize| rules.get(*index).is_some_and(|it| it.number == number);
        // Most policies number their rules from 1 in order.
        let likely = usize::from(number).checked_sub(1).filter(has_number);
        likely.or_else(|| rules.iter().position(|rule| rule.number == number))
    }
}

/// Writes the fields of a rule with which each of its answers begins.
fn write_answer_start(rule: &Rule) -> Vec<u8> {
    let mut out = b"{\"number\":".to_vec();
    push_integer(&mut out, rule.number.into());
    for (name, value) in [
        ("rule", rule.name.as_str()),
        ("category", rule.category.as_str()),
        ("severity", rule.severity.as_str()),
    ] {
        out.push(b',');
        push_string(&mut out, name);
        out.push(b':');
        push_string(&mut out, value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_twelve_digits() {
        for (number, rounded) in [
            (0.0, 0.0),
            (-0.0, 0.0),
            (0.1 + 0.2, 0.3),
            (-(0.1 + 0.2), -0.3),
            (0.123_456_789_012, 0.123_456_789_012),
            (0.123_456_789_012_4, 0.123_456_789_012),
            (0.123_456_789_012_6, 0.123_456_789_013),
            (123_456_789_012.0, 123_456_789_012.0),
            (1_234_567_890_123.0, 1_234_567_890_120.0),
            (999_999_999_999.9, 1e12),
            (1e300, 1e300),
            (5e-324, 5e-324),
            (f64::INFINITY, f64::INFINITY),
        ] {
            assert_eq!(without_noise(number), rounded, "{number}");
        }
        assert!(without_noise(f64::NAN).is_nan());
    }

    #[test]
    fn observed_values_are_rendered() {
        use ObservedValue::{Flag, None, Number, Text};
        for (observed, limit, said) in [
            (Flag(true), Flag(false), Some("observed yes, required no")),
            (Flag(false), Flag(true), Some("observed no, required yes")),
            (Number(3.0), Number(2.0), Some("observed 3, limit 2")),
            (
                Number(0.05 + 0.07),
                Number(0.1),
                Some("observed 0.12, limit 0.1"),
            ),
            (Number(1.0), None, Some("observed 1")),
            (
                Text("no meme coins".to_owned()),
                Flag(false),
                Some("observed no meme coins"),
            ),
            (
                Text("unknown".to_owned()),
                Text("granted".to_owned()),
                Some("observed unknown, limit granted"),
            ),
            (None, Number(1.0), Option::None),
        ] {
            assert_eq!(describe_comparison(&observed, &limit).as_deref(), said);
        }
    }

    #[test]
    fn numbers_are_shown_without_noise() {
        for (number, shown) in [
            (0.1 + 0.2, "0.3"),
            (0.05 + 0.07, "0.12"),
            (1.0 / 3.0, "0.333333333333"),
            (64_000.0, "64000"),
            (0.0, "0"),
            (-0.0, "-0"),
            (-7.0, "-7"),
            (2_147_483_647.0, "2147483647"),
            (2_147_483_648.0, "2147483648"),
            (f64::NAN, "NaN"),
            (-1.5, "-1.5"),
            (f64::INFINITY, "inf"),
            (1e300, &1e300_f64.to_string()),
        ] {
            assert_eq!(format_number(number), shown);
        }
    }

    #[test]
    fn a_nearest_value_that_is_shown_passes() {
        for (nearest, observed, shown) in [
            // A limit from above: what is shown is no larger.
            (0.1 - 0.07, 0.12, "0.03"),
            (0.039_999_999_999_999_98, 0.12, "0.03999999999999998"),
            // A limit from below: what is shown is no smaller.
            (1.499_999_999_999_999_8, 1.0, "1.5"),
            (1.500_000_000_000_000_2, 1.0, "1.5000000000000002"),
        ] {
            let observed = ObservedValue::Number(observed);
            assert_eq!(format_nearest_passing(nearest, &observed), shown);
        }
    }
}
