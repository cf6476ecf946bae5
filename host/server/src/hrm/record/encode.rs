//! Writes the body of a decision's audit row.
//!
//! It is written by hand, since it is written for every decision: the order of the fields is the canonical one, and what is absent is left out.

use ark_json::{push_number, push_string};
use serde::ser::Error as _;

use ark_model::decision::{Decision, PolicyVerdict};
use ark_model::ids::Digest;
use ark_model::verdict::RuleAnswer;

use super::compact::{KeptForms, push_answers};
use super::fields::{push_action, push_facts, push_value};

/// The room a body is given at first: one with 26 rules has some 1,500 bytes.
const BODY_BYTES: usize = 2 * 1024;

/// Encodes a decision as the body of its audit row.
///
/// # Errors
/// A number in the action or the facts is not finite, which no decision contains.
pub fn encode_decision(decision: &Decision) -> Result<String, serde_json::Error> {
    write_body(decision, |out, _, answers| push_answers(out, answers))
}

/// Encodes one decision after the other, as [`encode_decision`] does.
#[derive(Debug, Default)]
pub struct RecordEncoder {
    /// What is kept of the answers, by the place of the policy among the verdicts.
    kept: Vec<KeptForms>,
}

impl RecordEncoder {
    /// Encodes a decision as the body of its audit row.
    ///
    /// # Errors
    /// As [`encode_decision`].
    pub fn encode_decision(&mut self, decision: &Decision) -> Result<String, serde_json::Error> {
        write_body(decision, |out, place, answers| {
            if self.kept.len() <= place {
                self.kept.resize_with(place + 1, KeptForms::default);
            }
            if let Some(kept) = self.kept.get_mut(place) {
                kept.push_answers(out, answers);
            }
        })
    }
}

/// Writes a body. `push_answers` appends the answers of the policy in one place among all verdicts, those of shadow policies behind the others.
fn write_body(
    decision: &Decision,
    mut push_answers: impl FnMut(&mut Vec<u8>, usize, &[RuleAnswer]),
) -> Result<String, serde_json::Error> {
    let mut out = Vec::with_capacity(BODY_BYTES);
    out.extend_from_slice(b"{\"action\":");
    push_action(&mut out, &decision.action)?;
    out.extend_from_slice(b",\"facts\":");
    push_facts(&mut out, &decision.facts)?;
    out.extend_from_slice(b",\"verdicts\":[");
    for (index, part) in decision.verdicts.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        push_verdict(&mut out, part, |out, answers| {
            push_answers(out, index, answers);
        });
    }
    out.push(b']');
    let enforced = decision.verdicts.len();
    for (index, shadow) in decision.shadows.iter().enumerate() {
        let start: &[u8] = if index == 0 { b",\"shadows\":[" } else { b"," };
        out.extend_from_slice(start);
        out.extend_from_slice(b"{\"outcome\":");
        push_string(&mut out, shadow.outcome.as_str());
        out.push(b',');
        push_verdict(&mut out, &shadow.policy_verdict, |out, answers| {
            push_answers(out, enforced + index, answers);
        });
    }
    if !decision.shadows.is_empty() {
        out.push(b']');
    }
    if let Some(refusal) = &decision.refusal {
        out.extend_from_slice(b",\"refusal\":");
        push_string(&mut out, refusal);
    }
    if let Some(approval) = &decision.approval {
        push_value(&mut out, b",\"approval\":", approval)?;
    }
    if let Some(submitter) = &decision.submitter {
        out.extend_from_slice(b",\"submitter\":");
        push_string(&mut out, submitter);
    }
    out.extend_from_slice(b",\"compliance_score\":");
    push_number(&mut out, decision.compliance_score);
    out.push(b'}');
    String::from_utf8(out).map_err(serde_json::Error::custom)
}

/// Appends the fields of a policy's verdict and the bracket that closes them.
fn push_verdict(
    out: &mut Vec<u8>,
    part: &PolicyVerdict,
    push_answers: impl FnOnce(&mut Vec<u8>, &[RuleAnswer]),
) {
    out.extend_from_slice(b"\"policy\":");
    push_string(out, &part.policy.metadata.name);
    out.extend_from_slice(b",\"digest\":");
    push_digest(out, part.policy.digest);
    if let Some(settings) = part.settings {
        out.extend_from_slice(b",\"settings\":");
        push_digest(out, settings);
    }
    match &part.verdict {
        Err(failure) => {
            out.extend_from_slice(b",\"failure\":");
            push_string(out, failure);
        }
        Ok(verdict) => {
            out.extend_from_slice(b",\"answers\":[");
            push_answers(out, &verdict.answers);
            out.extend_from_slice(b"],\"warnings\":[");
            for (index, warning) in verdict.warnings.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push_string(out, warning);
            }
            out.extend_from_slice(b"],\"compliance_score\":");
            push_number(out, verdict.compliance_score);
        }
    }
    out.push(b'}');
}

fn push_digest(out: &mut Vec<u8>, digest: Digest) {
    out.push(b'"');
    out.extend_from_slice(&digest.to_hex());
    out.push(b'"');
}
