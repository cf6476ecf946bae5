//! The compact form of a rule's answer: an array `[number, answer, observed, limit, nearest passing]` without trailing nulls.

use ark_json::{push_integer, push_number};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use ark_model::verdict::{ObservedValue, RuleAnswer, RuleResult};

/// Appends an answer in the compact form.
pub(super) fn push_compact(out: &mut Vec<u8>, answer: &RuleAnswer) {
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
