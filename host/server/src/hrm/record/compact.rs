//! The compact form of a rule's answer: an array `[number, answer, observed, limit, nearest passing]` without trailing nulls.

use ark_json::{push_integer, push_number};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use ark_model::verdict::{ObservedValue, RuleAnswer, RuleResult};

/// Appends an answer in the compact form.
fn push_compact(out: &mut Vec<u8>, answer: &RuleAnswer) {
    let length = match (&answer.observed, &answer.limit, answer.nearest_passing) {
        (_, _, Some(_)) => 5,
        (_, limit, None) if *limit != ObservedValue::None => 4,
        (observed, _, None) if *observed != ObservedValue::None => 3,
        _ => 2,
    };
    out.push(b'[');
    push_integer(out, answer.rule.into());
    // The names of answers have no sign that must be escaped.
    out.extend_from_slice(b",\"");
    out.extend_from_slice(answer.answer.as_str().as_bytes());
    out.push(b'"');
    let mut observed = 0..0;
    if length > 2 {
        out.push(b',');
        observed.start = out.len();
        answer.observed.push_json(out);
        observed.end = out.len();
    }
    if length > 3 {
        out.push(b',');
        answer.limit.push_json(out);
    }
    if let Some(nearest) = answer.nearest_passing {
        out.push(b',');
        // Where a rule passes, the nearest value that passes is the observed one, and its text is there already.
        if is_number(&answer.observed, nearest) {
            out.extend_from_within(observed);
        } else {
            push_number(out, nearest);
        }
    }
    out.push(b']');
}

/// Whether a value is exactly this number.
fn is_number(value: &ObservedValue, number: f64) -> bool {
    matches!(value, ObservedValue::Number(found) if found.to_bits() == number.to_bits())
}

/// Whether two answers have one compact form. Zeros of both signs are equal and do not.
fn has_same_form(one: &RuleAnswer, other: &RuleAnswer) -> bool {
    one.rule == other.rule
        && one.answer == other.answer
        && is_same_value(&one.observed, &other.observed)
        && is_same_value(&one.limit, &other.limit)
        && one.nearest_passing.map(f64::to_bits) == other.nearest_passing.map(f64::to_bits)
}

fn is_same_value(one: &ObservedValue, other: &ObservedValue) -> bool {
    match other {
        ObservedValue::Number(number) => is_number(one, *number),
        _ => one == other,
    }
}

/// The longest compact form that is kept, in bytes. Most have some 25.
const LONGEST_KEPT: usize = 256;

/// The compact forms of the last answers of one policy, by their place.
///
/// Most rules give one action after the other the same answer, about the same value and limit. To find that out and to copy the form takes a part of
/// the time that writing it takes.
#[derive(Debug, Default)]
pub(super) struct KeptForms(Vec<Option<KeptForm>>);

#[derive(Debug)]
struct KeptForm {
    answer: RuleAnswer,
    /// The compact form, behind the comma that comes before it in a list.
    form: Vec<u8>,
}

impl KeptForms {
    /// Appends answers in the compact form, with commas between them.
    pub(super) fn push_answers(&mut self, out: &mut Vec<u8>, answers: &[RuleAnswer]) {
        if self.0.len() < answers.len() {
            self.0.resize_with(answers.len(), || None);
        }
        for (index, (kept, answer)) in self.0.iter_mut().zip(answers).enumerate() {
            if let Some(kept) = kept
                && has_same_form(&kept.answer, answer)
            {
                out.extend_from_slice(&kept.form);
                continue;
            }
            let start = out.len();
            push_in_list(out, index, answer);
            let form = out.get(start..).unwrap_or_default();
            match kept {
                _ if form.len() > LONGEST_KEPT => *kept = None,
                Some(kept) => {
                    kept.answer.clone_from(answer);
                    kept.form.clear();
                    kept.form.extend_from_slice(form);
                }
                None => {
                    *kept = Some(KeptForm {
                        answer: answer.clone(),
                        form: form.to_vec(),
                    });
                }
            }
        }
    }
}

/// Appends answers in the compact form, with commas between them.
pub(super) fn push_answers(out: &mut Vec<u8>, answers: &[RuleAnswer]) {
    for (index, answer) in answers.iter().enumerate() {
        push_in_list(out, index, answer);
    }
}

fn push_in_list(out: &mut Vec<u8>, index: usize, answer: &RuleAnswer) {
    if index > 0 {
        out.push(b',');
    }
    push_compact(out, answer);
}

/// An answer that was read from the compact form.
pub(super) struct CompactIn(pub(super) RuleAnswer);

impl<'de> Deserialize<'de> for CompactIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = CompactIn;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("[rule, answer, observed, limit, nearest passing]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<CompactIn, A::Error> {
                let rule: u16 = seq
                    .next_element()?
                    .ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let answer: RuleResult = seq
                    .next_element()?
                    .ok_or_else(|| de::Error::invalid_length(1, &self))?;
                let observed = seq.next_element()?.unwrap_or(ObservedValue::None);
                let limit = seq.next_element()?.unwrap_or(ObservedValue::None);
                let nearest_passing = seq.next_element()?.flatten();
                Ok(CompactIn(RuleAnswer {
                    rule,
                    answer,
                    observed,
                    limit,
                    nearest_passing,
                }))
            }
        }

        deserializer.deserialize_seq(Elements)
    }
}
