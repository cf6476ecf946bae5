//! Replay: a recorded decision, judged again, must come out the same to the byte.
//!
//! Every policy is evaluated in a fresh instance, so that a policy which keeps state between evaluations is found out. The verdicts of shadow
//! policies must come out the same too.

use std::sync::Arc;

use serde::Serialize;

use ark_model::decision::{Decision, Outcome, PolicyIdentity, PolicyVerdict, ShadowVerdict};
use ark_model::ids::Digest;
use ark_model::verdict::Metadata;
use ark_runtime::PolicyError;
use ark_store::{AuditKind, AuditRow, ReadError, ReadOnlyStore};

use crate::hrm::combine::{combine_verdicts, shadow_outcome};
use crate::hrm::record::{RecordError, decode_decision_row, encode_decision};

use super::library::{LibraryError, PolicyLibrary};

/// Differences that a report lists at most.
const MAX_DIFFERENCES: usize = 100;

/// A decision that did not come out the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayDifference {
    /// The sequence number of its audit row.
    pub seq: u64,
    /// The id of the decision.
    pub decision_id: String,
    /// What differs from the record.
    pub problem: String,
}

/// The result of replaying a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Decisions in the log, of the rows that were read.
    pub decisions: u64,
    /// Decisions that came out the same, to the byte.
    pub identical: u64,
    /// Decisions with a failed policy. They are not judged again, since the failure may be one of time; it was checked that they deny.
    pub failures: u64,
    /// The first decisions that did not come out the same, up to 100.
    pub differences: Vec<ReplayDifference>,
    /// The number of the last row of the log when it was read: a later replay goes on behind it.
    pub last_seq: u64,
}

/// The way in which a decision came out the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replayed {
    /// It was judged again and is the same to the byte.
    Identical,
    /// It contains a failed policy and denies, as it must. It was not judged again.
    Failed,
}

/// Why a decision did not come out the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayProblem {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("a column of the decision is missing")]
    MissingColumn,
    #[error("a policy failed and the action was not denied")]
    FailureNotDenied,
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("{policy} fails now: {source}")]
    PolicyFails { policy: String, source: PolicyError },
    #[error("the outcome was {}, it is {} now", .recorded.as_str(), .now.as_str())]
    Outcome { recorded: Outcome, now: Outcome },
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
    #[error("the record differs from byte {0} on")]
    Bytes(usize),
}

/// Judges every decision of a log, from the row `from` on, again with the policies of a library. Rows before are not read.
///
/// # Errors
/// The database cannot be read. A decision that cannot be judged again is a difference, not an error.
pub fn replay_log(
    store: &ReadOnlyStore,
    library: &PolicyLibrary<'_>,
    from: u64,
) -> Result<ReplayReport, ReadError> {
    // The log may end before `from`, or with rows in an archive.
    let (last_seq, _hash) = store.audit_head()?;
    let mut report = ReplayReport {
        last_seq,
        ..ReplayReport::default()
    };
    store.visit_audit_rows_from(from, |row| {
        // A host may append to the log while it is read.
        report.last_seq = report.last_seq.max(row.seq);
        if row.kind == AuditKind::Decision {
            report.add_row(row, library);
        }
        true
    })?;
    Ok(report)
}

/// As [`replay_log`], of the last decisions only, `limit` at most.
///
/// # Errors
/// The database cannot be read.
pub fn replay_last(
    store: &ReadOnlyStore,
    library: &PolicyLibrary<'_>,
    limit: u32,
) -> Result<ReplayReport, ReadError> {
    let (last_seq, _hash) = store.audit_head()?;
    let mut report = ReplayReport {
        last_seq,
        ..ReplayReport::default()
    };
    for row in store.last_decisions(limit)? {
        report.add_row(row, library);
    }
    Ok(report)
}

impl ReplayReport {
    /// Judges the decision of a row again.
    fn add_row(&mut self, row: AuditRow, library: &PolicyLibrary<'_>) {
        self.decisions += 1;
        match replay_decision(&row, library) {
            Ok(Replayed::Identical) => self.identical += 1,
            Ok(Replayed::Failed) => self.failures += 1,
            Err(problem) if self.differences.len() < MAX_DIFFERENCES => {
                self.differences.push(ReplayDifference {
                    seq: row.seq,
                    decision_id: row.id,
                    problem: problem.to_string(),
                });
            }
            Err(_) => {}
        }
    }
}

/// Judges one decision again and compares it with its row.
pub(super) fn replay_decision(
    row: &AuditRow,
    library: &PolicyLibrary<'_>,
) -> Result<Replayed, ReplayProblem> {
    // A policy that failed may be one that cannot be loaded now either. Its name is then not needed.
    let identity = |digest: Digest| {
        Some(library.find_policy(digest).map_or_else(
            |_| Arc::new(unnamed_identity(digest)),
            |policy| Arc::clone(policy.identity()),
        ))
    };
    let recorded = decode_decision_row(row, identity)?.ok_or(ReplayProblem::MissingColumn)?;
    if recorded.verdicts.iter().any(|part| part.verdict.is_err()) {
        return match recorded.outcome {
            Outcome::Denied => Ok(Replayed::Failed),
            Outcome::Approved | Outcome::Held => Err(ReplayProblem::FailureNotDenied),
        };
    }
    let verdicts = recorded
        .verdicts
        .iter()
        .map(|part| reevaluate_policy(part, &recorded, library))
        .collect::<Result<Vec<_>, ReplayProblem>>()?;
    let mut shadows = Vec::with_capacity(recorded.shadows.len());
    for shadow in &recorded.shadows {
        let part = match &shadow.policy_verdict.verdict {
            Ok(_) => reevaluate_policy(&shadow.policy_verdict, &recorded, library)?,
            // The failure may be one of time, which cannot be replayed. It had no effect on the outcome.
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
        return Err(ReplayProblem::Outcome {
            recorded: recorded.outcome,
            now: outcome,
        });
    }
    let replayed = Decision {
        verdicts,
        shadows,
        outcome,
        compliance_score,
        ..recorded
    };
    let body = encode_decision(&replayed)?;
    if body == row.body {
        return Ok(Replayed::Identical);
    }
    let differs_at = body
        .bytes()
        .zip(row.body.bytes())
        .position(|(now, then)| now != then);
    Err(ReplayProblem::Bytes(
        differs_at.unwrap_or(body.len().min(row.body.len())),
    ))
}

/// Evaluates the policy of a recorded verdict again, in a fresh instance.
fn reevaluate_policy(
    part: &PolicyVerdict,
    recorded: &Decision,
    library: &PolicyLibrary<'_>,
) -> Result<PolicyVerdict, ReplayProblem> {
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
        .map_err(|source| ReplayProblem::PolicyFails {
            policy: part.policy.metadata.name.clone(),
            source,
        })?;
    Ok(PolicyVerdict {
        verdict: Ok(verdict),
        ..part.clone()
    })
}

fn unnamed_identity(digest: Digest) -> PolicyIdentity {
    let metadata = Metadata {
        name: String::new(),
        version: String::new(),
        rules: Vec::new(),
    };
    PolicyIdentity::new(digest, metadata)
}
