//! The compact form of a rule's answer: an array `[number, answer, observed, limit, nearest passing]` without trailing nulls.

use ark_json::{push_integer, push_number, push_string};
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
    out.push(b',');
    push_string(out, answer.answer.as_str());
    for value in [&answer.observed, &answer.limit]
        .into_iter()
        .take(length - 2)
    {
        out.push(b',');
        value.push_json(out);
    }
    if let Some(nearest) = answer.nearest_passing {
        out.push(b',');
        push_number(out, nearest);
    }
    out.push(b']');
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
