//! Replay: a recorded decision, judged again, must come out the same to the byte.
//!
//! Every policy is evaluated in a fresh instance, so that a policy which remembered something between evaluations would be found out.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::model::decision::{Decision, Outcome, PolicyVerdict};
use crate::model::ids::Digest;
use crate::runtime::Policy;
use crate::store::{Archive, AuditKind, AuditRow, ReadError};

use super::combine::combine;
use super::record::{self, decision_of};

/// A decision that did not come out the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its place in the audit log.
    pub seq: u64,
    /// Its id.
    pub decision_id: String,
    /// What differs.
    pub problem: String,
}

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Decisions in the log.
    pub decisions: u64,
    /// Those that came out the same, to the byte.
    pub identical: u64,
    /// Those in which a policy had failed (and so denied): a failure for lack of time cannot be replayed. Their outcome was checked.
    pub failures: u64,
    /// The first that did not come out the same, up to 100.
    pub differences: Vec<Difference>,
}

/// Judges every decision of a log again with these policies.
///
/// # Errors
/// The database cannot be read. What cannot be judged again is a difference, not an error.
pub fn replay(archive: &Archive, policies: &[Policy]) -> Result<ReplayReport, ReadError> {
    let policies: HashMap<Digest, &Policy> = policies
        .iter()
        .map(|policy| (policy.identity().digest, policy))
        .collect();
    let mut report = ReplayReport::default();
    archive.audit_rows(|row| {
        if row.kind == AuditKind::Decision {
            report.decisions += 1;
            match replay_one(&row, &policies) {
                Ok(true) => report.identical += 1,
                Ok(false) => report.failures += 1,
                Err(problem) if report.differences.len() < 100 => {
                    report.differences.push(Difference {
                        seq: row.seq,
                        decision_id: row.id,
                        problem,
                    });
                }
                Err(_) => {}
            }
        }
        true
    })?;
    Ok(report)
}

/// Whether it came out the same (true), or held a policy's failure and was rightly denied (false).
pub(super) fn replay_one(
    row: &AuditRow,
    policies: &HashMap<Digest, &Policy>,
) -> Result<bool, String> {
    let identity = |digest: Digest| {
        policies
            .get(&digest)
            .map(|policy| Arc::clone(policy.identity()))
    };
    let recorded = decision_of(row, identity)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "a column of the decision is missing".to_owned())?;
    if recorded.verdicts.iter().any(|part| part.verdict.is_err()) {
        return if recorded.outcome == Outcome::Denied {
            Ok(false)
        } else {
            Err("a policy failed and the action was not denied".to_owned())
        };
    }
    let mut verdicts = Vec::with_capacity(recorded.verdicts.len());
    for part in &recorded.verdicts {
        let policy = policies
            .get(&part.policy.digest)
            .ok_or_else(|| format!("the policy {} is not at hand", part.policy.digest))?;
        let verdict = policy
            .instance()
            .and_then(|mut instance| instance.evaluate(None, &recorded.action, &recorded.facts))
            .map_err(|error| format!("{} fails now: {error}", part.policy.metadata.name))?;
        verdicts.push(PolicyVerdict {
            policy: Arc::clone(&part.policy),
            verdict: Ok(verdict),
        });
    }
    let (outcome, compliance_score) = match &recorded.refusal {
        Some(_) => (Outcome::Denied, 0.0),
        None => combine(&verdicts),
    };
    if outcome != recorded.outcome {
        return Err(format!(
            "the outcome was {}, it is {} now",
            recorded.outcome.as_str(),
            outcome.as_str()
        ));
    }
    let again = Decision {
        verdicts,
        outcome,
        compliance_score,
        ..recorded
    };
    let body = record::encode(&again).map_err(|error| error.to_string())?;
    if body != row.body {
        let at = body
            .bytes()
            .zip(row.body.bytes())
            .position(|(now, then)| now != then)
            .unwrap_or(body.len().min(row.body.len()));
        return Err(format!("the record differs from byte {at} on"));
    }
    Ok(true)
}
