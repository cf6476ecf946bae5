//! The compact form of a rule's answer: an array `[number, answer, observed, limit, nearest passing]` without trailing nulls.

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use ark_model::verdict::{ObservedValue, RuleAnswer, RuleResult};

/// Serialises answers in the compact form.
pub(super) fn serialize_compact<A: AsRef<[RuleAnswer]>, S: Serializer>(
    answers: &A,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(answers.as_ref().iter().map(CompactOut))
}

struct CompactOut<'a>(&'a RuleAnswer);

impl Serialize for CompactOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answer = self.0;
        let length = match (&answer.observed, &answer.limit, answer.nearest_passing) {
            (_, _, Some(_)) => 5,
            (_, limit, None) if *limit != ObservedValue::None => 4,
            (observed, _, None) if *observed != ObservedValue::None => 3,
            _ => 2,
        };
        let mut seq = serializer.serialize_seq(Some(length))?;
        seq.serialize_element(&answer.rule)?;
        seq.serialize_element(&answer.answer)?;
        if length > 2 {
            seq.serialize_element(&answer.observed)?;
        }
        if length > 3 {
            seq.serialize_element(&answer.limit)?;
        }
        if length > 4 {
            seq.serialize_element(&answer.nearest_passing)?;
        }
        seq.end()
    }
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
