//! Judges a recorded decision again with other policies than those that judged it, and says what differs.
//!
//! Two verdicts of one component with the same settings must be equal to the byte, as in a replay: a difference is one of the engine. Two
//! versions of a policy differ when another rule fires or a rule answers otherwise, as in a comparison of versions; a limit that is stated
//! otherwise and changes no answer is no difference.

use serde::Serialize;
use serde_json::Value;

use ark_model::decision::{Decision, Outcome, PolicyVerdict};
use ark_model::ids::{DecisionId, Digest, Millis};

use crate::hrm::combine::combine_verdicts;

use super::diff::{ChangedRule, fire_alike, fired_rules};

/// A decision that comes out otherwise under other policies, or on another engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerdictChange {
    /// The decision.
    pub decision_id: DecisionId,
    /// When it was decided.
    pub decided_at_ms: Millis,
    /// The agent.
    pub agent: String,
    /// The type of the action.
    pub action_type: String,
    /// The recorded outcome.
    pub recorded: Outcome,
    /// The outcome under the other policies.
    pub now: Outcome,
    /// The policies whose verdicts differ.
    pub policies: Vec<PolicyVerdictChange>,
}

/// Two verdicts under one name that differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyVerdictChange {
    /// The name of the policy.
    pub policy: String,
    /// What was recorded; absent: no such policy judged.
    pub recorded: Option<PolicyAnswer>,
    /// What it says now; absent: there is no such policy.
    pub now: Option<PolicyAnswer>,
}

/// What a version of a policy says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyAnswer {
    /// The version that the policy states.
    pub version: String,
    /// SHA-256 of its component.
    pub sha256: Digest,
    /// SHA-256 of its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_sha256: Option<Digest>,
    /// The rules that fired.
    pub fired: Vec<ChangedRule>,
    /// Why it could not judge, which denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl PolicyAnswer {
    fn of(part: &PolicyVerdict) -> Self {
        Self {
            version: part.policy.metadata.version.clone(),
            sha256: part.policy.digest,
            settings_sha256: part.settings,
            fired: fired_rules(part),
            failure: part.verdict.as_ref().err().cloned(),
        }
    }
}

/// Compares a recorded decision with what other policies say of its action under its facts: the Graveyard's verdict first. `None`: nothing
/// differs.
#[must_use]
pub fn compare_verdicts(recorded: &Decision, verdicts: &[PolicyVerdict]) -> Option<VerdictChange> {
    let now = match recorded.refusal {
        Some(_) => Outcome::Denied,
        None => combine_verdicts(verdicts).0,
    };
    let named = |parts: &'_ [PolicyVerdict], name: &str| {
        let mut parts = parts.iter();
        parts
            .find(|part| part.policy.metadata.name == name)
            .cloned()
    };
    let mut policies = Vec::new();
    for part in &recorded.verdicts {
        let name = &part.policy.metadata.name;
        let other = named(verdicts, name);
        if other
            .as_ref()
            .is_none_or(|other| verdicts_differ(part, other))
        {
            policies.push(PolicyVerdictChange {
                policy: name.clone(),
                recorded: Some(PolicyAnswer::of(part)),
                now: other.as_ref().map(PolicyAnswer::of),
            });
        }
    }
    for part in verdicts {
        let name = &part.policy.metadata.name;
        if named(&recorded.verdicts, name).is_none() {
            policies.push(PolicyVerdictChange {
                policy: name.clone(),
                recorded: None,
                now: Some(PolicyAnswer::of(part)),
            });
        }
    }
    if now == recorded.outcome && policies.is_empty() {
        return None;
    }
    Some(VerdictChange {
        decision_id: recorded.id,
        decided_at_ms: recorded.decided_at,
        agent: recorded.agent.to_string(),
        action_type: recorded.action.action_type.clone(),
        recorded: recorded.outcome,
        now,
        policies,
    })
}

/// Whether two verdicts under one name differ.
fn verdicts_differ(recorded: &PolicyVerdict, now: &PolicyVerdict) -> bool {
    let is_same_version =
        recorded.policy.digest == now.policy.digest && recorded.settings == now.settings;
    match (&recorded.verdict, &now.verdict) {
        // As they are written: what is no number has no other form there.
        (Ok(recorded), Ok(now)) if is_same_version => {
            let write = |verdict| serde_json::to_value(verdict).unwrap_or(Value::Null);
            write(recorded) != write(now)
        }
        _ => !fire_alike(
            (&fired_rules(recorded), recorded.verdict.is_err()),
            (&fired_rules(now), now.verdict.is_err()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use ark_model::decision::PolicyIdentity;
    use ark_model::facts::Facts;
    use ark_model::form::{parse_action, parse_json};
    use ark_model::ids::TraceId;
    use ark_model::verdict::{
        Metadata, ObservedValue, Rule, RuleAnswer, RuleResult, Severity, Verdict,
    };

    fn make_verdict(name: &str, build: &[u8], answer: RuleResult, limit: f64) -> PolicyVerdict {
        PolicyVerdict {
            policy: Arc::new(PolicyIdentity::new(
                Digest::hash_bytes(build),
                Metadata {
                    name: name.to_owned(),
                    version: "1.0.0".to_owned(),
                    rules: vec![Rule {
                        number: 1,
                        name: "size".to_owned(),
                        category: "risk".to_owned(),
                        severity: Severity::High,
                        hold: false,
                        description: String::new(),
                    }],
                },
            )),
            settings: None,
            verdict: Ok(Verdict {
                answers: vec![RuleAnswer {
                    rule: 1,
                    answer,
                    observed: ObservedValue::Number(0.5),
                    limit: ObservedValue::Number(limit),
                    nearest_passing: None,
                }],
                warnings: Vec::new(),
                compliance_score: 1.0,
            }),
        }
    }

    fn make_decision(verdicts: Vec<PolicyVerdict>) -> Decision {
        let request = parse_action(
            parse_json(br#"{"agent":"a","action_type":"buy","parameters":{"symbol":"X","position_size_pct":0.07}}"#)
                .unwrap(),
        )
        .unwrap();
        Decision {
            id: DecisionId::fresh(),
            trace_id: TraceId::fresh(),
            agent: request.agent,
            submitter: None,
            decided_at: Millis(5),
            action: request.action,
            facts: Facts::default(),
            outcome: combine_verdicts(&verdicts).0,
            verdicts,
            shadows: Vec::new(),
            refusal: None,
            approval: None,
            compliance_score: 1.0,
        }
    }

    #[test]
    fn one_component_must_answer_to_the_byte_and_another_version_fire_alike() {
        use RuleResult::{Pass, Violation};
        let recorded = make_decision(vec![make_verdict("p", b"one", Pass, 1.0)]);
        for (now, differs) in [
            (make_verdict("p", b"one", Pass, 1.0), false),
            // An engine that computes another limit.
            (make_verdict("p", b"one", Pass, 1.1), true),
            // Another version with another limit that the action keeps too.
            (make_verdict("p", b"two", Pass, 1.1), false),
            (make_verdict("p", b"two", Violation, 0.1), true),
            (make_verdict("q", b"one", Pass, 1.0), true),
        ] {
            let change = compare_verdicts(&recorded, std::slice::from_ref(&now));
            assert_eq!(change.is_some(), differs, "{now:?}");
        }
    }

    #[test]
    fn a_policy_more_or_less_is_a_difference_and_a_refusal_denies_in_any_case() {
        use RuleResult::{Pass, Violation};
        let first = make_verdict("p", b"one", Pass, 1.0);
        let second = make_verdict("q", b"q", Pass, 1.0);
        let recorded = make_decision(vec![first.clone()]);
        let change = compare_verdicts(&recorded, &[first.clone(), second.clone()]);
        let change = change.expect("a policy more");
        assert_eq!(change.policies.len(), 1);
        assert_eq!(change.policies[0].policy, "q");
        assert_eq!(change.policies[0].recorded, None);
        let recorded = make_decision(vec![first.clone(), second]);
        let change = compare_verdicts(&recorded, std::slice::from_ref(&first));
        assert_eq!(change.expect("a policy less").policies[0].now, None);
        let refused = Decision {
            refusal: Some("not granted".to_owned()),
            outcome: Outcome::Denied,
            ..make_decision(vec![first.clone()])
        };
        assert_eq!(compare_verdicts(&refused, &[first]), None);
        let denied = make_verdict("p", b"two", Violation, 0.1);
        let change = compare_verdicts(&refused, &[denied]).expect("another rule fires");
        assert_eq!(change.now, Outcome::Denied);
    }
}
