//! Replay: a recorded decision, judged again, must come out the same to the byte.
//!
//! Every policy is evaluated in a fresh instance, so that a policy which remembered something between evaluations would be found out. What
//! policies on trial said must come out the same too.

use std::sync::Arc;

use serde::Serialize;

use ark_model::decision::{Decision, Outcome, PolicyIdentity, PolicyVerdict, ShadowVerdict};
use ark_model::ids::Digest;
use ark_model::verdict::Metadata;
use ark_store::{AuditKind, AuditRow, ReadError, ReadOnlyStore};

use super::combine::{combine_verdicts, shadow_outcome};
use super::library::PolicyLibrary;
use super::record::{self, decode_decision_row};

/// A decision that did not come out the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayDifference {
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
    pub differences: Vec<ReplayDifference>,
}

/// Judges every decision of a log again with the policies of this library.
///
/// # Errors
/// The database cannot be read. What cannot be judged again is a difference, not an error.
pub fn replay_log(
    archive: &ReadOnlyStore,
    library: &PolicyLibrary<'_>,
) -> Result<ReplayReport, ReadError> {
    let mut report = ReplayReport::default();
    archive.visit_audit_rows(|row| {
        if row.kind == AuditKind::Decision {
            report.decisions += 1;
            match replay_decision(&row, library) {
                Ok(true) => report.identical += 1,
                Ok(false) => report.failures += 1,
                Err(problem) if report.differences.len() < 100 => {
                    report.differences.push(ReplayDifference {
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
pub(super) fn replay_decision(row: &AuditRow, library: &PolicyLibrary<'_>) -> Result<bool, String> {
    // A policy that could not judge may be one that cannot be loaded now either; what it is called is then not needed.
    let identity = |digest: Digest| {
        Some(library.find_policy(digest).map_or_else(
            |_| Arc::new(unnamed_identity(digest)),
            |policy| Arc::clone(policy.identity()),
        ))
    };
    let recorded = decode_decision_row(row, identity)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| "a column of the decision is missing".to_owned())?;
    if recorded.verdicts.iter().any(|part| part.verdict.is_err()) {
        return if recorded.outcome == Outcome::Denied {
            Ok(false)
        } else {
            Err("a policy failed and the action was not denied".to_owned())
        };
    }
    let verdicts = recorded
        .verdicts
        .iter()
        .map(|part| reevaluate_policy(part, &recorded, library))
        .collect::<Result<Vec<_>, String>>()?;
    let mut shadows = Vec::with_capacity(recorded.shadows.len());
    for shadow in &recorded.shadows {
        let part = match &shadow.policy_verdict.verdict {
            Ok(_) => reevaluate_policy(&shadow.policy_verdict, &recorded, library)?,
            // It had no say, and a failure for lack of time cannot be replayed: it stands as it was recorded.
            Err(_) => shadow.policy_verdict.clone(),
        };
        shadows.push(ShadowVerdict {
            outcome: shadow_outcome(&verdicts, &part, recorded.refusal.is_some()),
            policy_verdict: part,
        });
    }
    let (outcome, compliance_score) = match &recorded.refusal {
        Some(_) => (Outcome::Denied, 0.0),
        None => combine_verdicts(&verdicts),
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
        shadows,
        outcome,
        compliance_score,
        ..recorded
    };
    let body = record::encode_decision(&again).map_err(|error| error.to_string())?;
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

/// A policy's part of a decision, judged again in a fresh instance.
fn reevaluate_policy(
    part: &PolicyVerdict,
    recorded: &Decision,
    library: &PolicyLibrary<'_>,
) -> Result<PolicyVerdict, String> {
    let policy = library.find_policy(part.policy.digest)?;
    let settings = part
        .settings
        .map(|digest| library.find_settings(digest))
        .transpose()?;
    let verdict = policy
        .new_instance()
        .and_then(|mut instance| {
            instance.evaluate(settings.as_ref(), &recorded.action, &recorded.facts)
        })
        .map_err(|error| format!("{} fails now: {error}", part.policy.metadata.name))?;
    Ok(PolicyVerdict {
        verdict: Ok(verdict),
        ..part.clone()
    })
}

fn unnamed_identity(digest: Digest) -> PolicyIdentity {
    PolicyIdentity {
        digest,
        metadata: Metadata {
            name: String::new(),
            version: String::new(),
            rules: Vec::new(),
        },
    }
}
