//! The form of a decision in the audit log.
//!
//! The body of an audit row is canonical JSON: equal decisions have equal bytes. Rule answers are compact arrays `[number, answer, observed, limit,
//! nearest passing]` without trailing nulls. The names and severities of rules are not repeated: they stand once in the metadata of their policy,
//! which the digest identifies. Settings are identified by their digest too. Verdicts of shadow policies are a list of their own, left out when it
//! is empty. Id, trace, agent, outcome and time are columns of their own.

mod compact;
mod encode;
mod fields;
mod subject;

use std::sync::Arc;

use serde::Deserialize;

use ark_model::action::Action;
use ark_model::decision::{
    ApprovalGiven, Decision, Outcome, PolicyIdentity, PolicyVerdict, ShadowVerdict,
};
use ark_model::facts::Facts;
use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use ark_model::verdict::Verdict;
use ark_store::{AuditKind, AuditRow};

pub use encode::{RecordEncoder, encode_decision};
pub(super) use subject::index_fields;

use compact::CompactIn;

/// Why a body cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The body is not in the form that [`encode_decision`] writes.
    #[error("the record is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The body names a policy that the caller does not know.
    #[error(
        "the policy with digest {0} is not known here; add its component to read this decision"
    )]
    UnknownPolicy(Digest),
}

/// The columns of an audit row beside its body.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionColumns {
    /// The id of the decision.
    pub id: DecisionId,
    /// The trace.
    pub trace_id: TraceId,
    /// The agent.
    pub agent: Name,
    /// The time of the decision.
    pub decided_at: Millis,
    /// The outcome.
    pub outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyIn {
    action: Action,
    facts: Facts,
    verdicts: Vec<PolicyVerdictIn>,
    #[serde(default)]
    shadows: Vec<ShadowIn>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    approval: Option<ApprovalGiven>,
    #[serde(default)]
    submitter: Option<String>,
    compliance_score: f64,
}

#[derive(Deserialize)]
struct PolicyVerdictIn {
    digest: Digest,
    #[serde(default)]
    settings: Option<Digest>,
    #[serde(flatten)]
    verdict: RecordedVerdict,
}

#[derive(Deserialize)]
struct ShadowIn {
    outcome: Outcome,
    #[serde(flatten)]
    part: PolicyVerdictIn,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RecordedVerdict {
    Failure {
        failure: String,
    },
    Verdict {
        answers: Vec<CompactIn>,
        warnings: Vec<String>,
        compliance_score: f64,
    },
}

fn decode_policy_verdict(
    part: PolicyVerdictIn,
    policy: &impl Fn(Digest) -> Option<Arc<PolicyIdentity>>,
) -> Result<PolicyVerdict, RecordError> {
    let identity = policy(part.digest).ok_or(RecordError::UnknownPolicy(part.digest))?;
    let verdict = match part.verdict {
        RecordedVerdict::Failure { failure } => Err(failure),
        RecordedVerdict::Verdict {
            answers,
            warnings,
            compliance_score,
        } => Ok(Verdict {
            answers: answers
                .into_iter()
                .map(|CompactIn(answer)| answer)
                .collect(),
            warnings,
            compliance_score,
        }),
    };
    Ok(PolicyVerdict {
        policy: identity,
        settings: part.settings,
        verdict,
    })
}

/// Decodes a decision. `policy` returns the identity of the policy with a digest.
///
/// # Errors
/// The body is malformed, or names a policy that `policy` does not know.
pub fn decode_decision(
    columns: DecisionColumns,
    body: &str,
    policy: impl Fn(Digest) -> Option<Arc<PolicyIdentity>>,
) -> Result<Decision, RecordError> {
    let body: BodyIn = serde_json::from_str(body)?;
    let verdicts = body
        .verdicts
        .into_iter()
        .map(|part| decode_policy_verdict(part, &policy))
        .collect::<Result<_, RecordError>>()?;
    let shadows = body
        .shadows
        .into_iter()
        .map(|shadow| {
            Ok(ShadowVerdict {
                policy_verdict: decode_policy_verdict(shadow.part, &policy)?,
                outcome: shadow.outcome,
            })
        })
        .collect::<Result<_, RecordError>>()?;
    Ok(Decision {
        id: columns.id,
        trace_id: columns.trace_id,
        agent: columns.agent,
        submitter: body.submitter,
        decided_at: columns.decided_at,
        action: body.action,
        facts: body.facts,
        verdicts,
        shadows,
        refusal: body.refusal,
        approval: body.approval,
        outcome: columns.outcome,
        compliance_score: body.compliance_score,
    })
}

/// Decodes the decision of an audit row. Returns `None` when the row is no decision, or lacks a column of one.
///
/// # Errors
/// As [`decode_decision`].
pub fn decode_decision_row(
    row: &AuditRow,
    policy: impl Fn(Digest) -> Option<Arc<PolicyIdentity>>,
) -> Result<Option<Decision>, RecordError> {
    let (AuditKind::Decision, Some(trace_id), Some(agent), Some(outcome), Ok(id)) = (
        row.kind,
        row.trace_id,
        row.agent.clone(),
        row.outcome,
        row.id.parse(),
    ) else {
        return Ok(None);
    };
    decode_decision(
        DecisionColumns {
            id,
            trace_id,
            agent,
            decided_at: row.at,
            outcome,
        },
        &row.body,
        policy,
    )
    .map(Some)
}

/// Decodes the action alone from the body of a decision.
pub(super) fn decode_action(body: &str) -> Result<Action, serde_json::Error> {
    #[derive(Deserialize)]
    struct OnlyAction {
        action: Action,
    }
    serde_json::from_str::<OnlyAction>(body).map(|body| body.action)
}

/// Decodes the facts alone from the body of a decision.
pub(super) fn decode_facts(body: &str) -> Result<Facts, serde_json::Error> {
    #[derive(Deserialize)]
    struct OnlyFacts {
        facts: Facts,
    }
    serde_json::from_str::<OnlyFacts>(body).map(|body| body.facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::form::{parse_action, parse_json};
    use ark_model::verdict::{Metadata, ObservedValue, RuleAnswer, RuleResult};

    fn make_policy() -> Arc<PolicyIdentity> {
        let metadata = Metadata {
            name: "p".into(),
            version: "1.0.0".into(),
            rules: Vec::new(),
        };
        Arc::new(PolicyIdentity::new(Digest::hash_bytes(b"p"), metadata))
    }

    fn make_policy_verdict(settings: bool, verdict: Result<Verdict, String>) -> PolicyVerdict {
        PolicyVerdict {
            policy: make_policy(),
            settings: settings.then(|| Digest::hash_bytes(b"{}")),
            verdict,
        }
    }

    /// A verdict with every form of answer.
    fn make_verdict() -> Verdict {
        use ObservedValue::{Flag, None as Nothing, Number, Text};
        let answer = |rule, answer, observed, limit, nearest_passing| RuleAnswer {
            rule,
            answer,
            observed,
            limit,
            nearest_passing,
        };
        Verdict {
            answers: vec![
                answer(1, RuleResult::Pass, Nothing, Nothing, None),
                answer(2, RuleResult::NotApplicable, Flag(false), Nothing, None),
                answer(3, RuleResult::Violation, Nothing, Number(0.1), None),
                answer(
                    4,
                    RuleResult::Hold,
                    Text("a\"b".into()),
                    Number(1e300),
                    Some(0.1 + 0.2),
                ),
                answer(5, RuleResult::Warn, Nothing, Nothing, Some(-0.5)),
                answer(6, RuleResult::Pass, Number(0.05), Number(0.1), Some(0.05)),
                answer(7, RuleResult::Warn, Number(0.0), Nothing, Some(-0.0)),
            ],
            warnings: vec!["w".into()],
            compliance_score: 1.0 / 3.0,
        }
    }

    fn make_decision(shadows: Vec<ShadowVerdict>) -> Decision {
        let request = parse_action(
            parse_json(br#"{"agent":"a","action_type":"buy","parameters":{"symbol":"X","position_size_pct":0.07}}"#)
                .unwrap(),
        )
        .unwrap();
        Decision {
            id: DecisionId::fresh(),
            trace_id: TraceId::fresh(),
            agent: request.agent,
            submitter: Some("desk".into()),
            decided_at: Millis(5),
            action: request.action,
            facts: Facts {
                agent: "a".into(),
                opposite_trade_age: Some(0.25),
                veto: Some("v".into()),
                ..Facts::default()
            },
            verdicts: vec![
                make_policy_verdict(false, Ok(make_verdict())),
                make_policy_verdict(true, Err("trap".into())),
            ],
            shadows,
            refusal: Some("r".into()),
            approval: Some(ApprovalGiven {
                held: DecisionId::fresh(),
                by: "ada".into(),
            }),
            outcome: Outcome::Denied,
            compliance_score: 0.0,
        }
    }

    fn index_decision(decision: &Decision) -> DecisionColumns {
        DecisionColumns {
            id: decision.id,
            trace_id: decision.trace_id,
            agent: decision.agent.clone(),
            decided_at: decision.decided_at,
            outcome: decision.outcome,
        }
    }

    /// Encodes a decision, checks that it decodes to itself, and returns its body.
    fn encode_and_decode(decision: &Decision) -> String {
        let body = encode_decision(decision).unwrap();
        let decoded =
            decode_decision(index_decision(decision), &body, |_| Some(make_policy())).unwrap();
        assert_eq!(decoded, *decision);
        assert_eq!(encode_decision(&decoded).unwrap(), body);
        body
    }

    #[test]
    fn a_decision_reads_back_as_itself() {
        let decision = make_decision(Vec::new());
        let body = encode_and_decode(&decision);
        assert!(
            body.contains(r#"[1,"pass"],[2,"not-applicable",false],[3,"violation",null,0.1],[4,"hold","a\"b",1e+300,0.30000000000000004],[5,"warn",null,null,-0.5],[6,"pass",0.05,0.1,0.05],[7,"warn",0.0,null,-0.0]"#),
            "{body}"
        );
        assert!(!body.contains("shadows"), "{body}");
        assert!(matches!(
            decode_decision(index_decision(&decision), &body, |_| None),
            Err(RecordError::UnknownPolicy(_))
        ));
    }

    #[test]
    fn one_decision_after_the_other_is_encoded_as_each_alone() {
        let changed = |change: fn(&mut Verdict)| {
            let mut decision = make_decision(Vec::new());
            if let Ok(verdict) = &mut decision.verdicts[0].verdict {
                change(verdict);
            }
            decision
        };
        let shadow = ShadowVerdict {
            policy_verdict: make_policy_verdict(false, Ok(make_verdict())),
            outcome: Outcome::Held,
        };
        let decisions = [
            changed(|_| {}),
            changed(|_| {}),
            changed(|verdict| verdict.answers[6].observed = ObservedValue::Number(-0.0)),
            changed(|verdict| verdict.answers[6].nearest_passing = Some(0.0)),
            changed(|verdict| verdict.answers[3].observed = ObservedValue::Text("a".into())),
            changed(|verdict| verdict.answers[3].observed = ObservedValue::Text("a".repeat(4096))),
            changed(|verdict| verdict.answers[0].answer = RuleResult::Error),
            changed(|verdict| verdict.answers[0].limit = ObservedValue::Flag(true)),
            changed(|verdict| verdict.answers[0].rule = 20),
            changed(|verdict| verdict.answers.truncate(2)),
            changed(|verdict| verdict.answers.clear()),
            changed(|verdict| verdict.answers.swap(0, 5)),
            make_decision(vec![shadow]),
            changed(|_| {}),
        ];
        let mut encoder = RecordEncoder::default();
        for decision in decisions.iter().chain(decisions.iter().rev()) {
            assert_eq!(
                encoder.encode_decision(decision).unwrap(),
                encode_decision(decision).unwrap()
            );
        }
    }

    #[test]
    fn a_decision_with_shadow_verdicts_reads_back_as_itself() {
        encode_and_decode(&make_decision(vec![
            ShadowVerdict {
                policy_verdict: make_policy_verdict(true, Ok(make_verdict())),
                outcome: Outcome::Held,
            },
            ShadowVerdict {
                policy_verdict: make_policy_verdict(true, Err("slow".into())),
                outcome: Outcome::Denied,
            },
        ]));
    }
}
