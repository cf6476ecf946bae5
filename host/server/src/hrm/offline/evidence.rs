//! Evidence of one decision: its audit row, the hash of the row before it, the policies that judged and their settings.
//!
//! With the components of the policies, anyone can check offline that the row is as it was chained and that the policies judge so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use ark_model::ids::{DecisionId, Digest, Millis};
use ark_model::settings::Settings;
use ark_store::{AuditKind, AuditRow, ChainHead, ReadError, ReadOnlyStore, audit_row_hash};

use super::library::PolicyLibrary;
use super::replay::replay_decision;

/// The format of an evidence file.
pub const EVIDENCE_FORMAT: &str = "ark-evidence/1";

/// The content of an evidence file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// [`EVIDENCE_FORMAT`].
    pub format: String,
    /// When the file was made.
    pub made_at_ms: Millis,
    /// The audit row of the decision.
    pub row: AuditRow,
    /// The hash of the row before it; 64 zeros for the first.
    pub previous_hash: Digest,
    /// The last row of the log when the file was made. The chain leads from the decision's hash to it.
    pub log_head: ChainHead,
    /// The digests of the policies that judged, shadow policies last.
    pub policies: Vec<Digest>,
    /// The settings of these policies, by their digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<Digest, Settings>,
}

/// The result of checking an evidence file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceReport {
    /// The id of the decision.
    pub decision_id: String,
    /// The hash of its row. The log, or an archive of it, must contain the same.
    pub hash: Digest,
    /// The sequence number of its row.
    pub seq: u64,
    /// What is wrong. `None`: the row is as it was chained, and the policies judge so.
    pub problem: Option<String>,
}

/// Collects the evidence of a decision. Returns `None` when the database has no such decision.
///
/// # Errors
/// The database cannot be read.
pub fn collect_evidence(
    store: &ReadOnlyStore,
    id: DecisionId,
) -> Result<Option<Evidence>, ReadError> {
    let id = id.to_string();
    let mut previous = store.audit_base()?;
    let mut decision = None;
    let mut head = previous;
    store.visit_audit_rows(|row| {
        if decision.is_none() {
            if row.kind == AuditKind::Decision && row.id == id {
                decision = Some(row.clone());
            } else {
                previous.hash = row.hash;
            }
        }
        head = ChainHead {
            seq: row.seq,
            hash: row.hash,
        };
        true
    })?;
    let Some(row) = decision else {
        return Ok(None);
    };
    let judged = recorded_judges(&row.body);
    let mut settings = BTreeMap::new();
    for digest in judged.iter().filter_map(|judge| judge.settings) {
        let json = store
            .policy_settings(digest)?
            .ok_or(ReadError::MissingSettings(digest))?;
        let read =
            Settings::parse(&json).map_err(|cause| ReadError::InvalidSettings { digest, cause })?;
        settings.insert(digest, read);
    }
    Ok(Some(Evidence {
        format: EVIDENCE_FORMAT.to_owned(),
        made_at_ms: Millis::now(),
        policies: judged.into_iter().map(|judge| judge.digest).collect(),
        settings,
        row,
        previous_hash: previous.hash,
        log_head: head,
    }))
}

#[derive(Deserialize)]
struct RecordedJudge {
    digest: Digest,
    #[serde(default)]
    settings: Option<Digest>,
}

/// Decodes the policies and settings of a decision, shadow policies last. A malformed body has none.
fn recorded_judges(body: &str) -> Vec<RecordedJudge> {
    #[derive(Deserialize)]
    struct Verdicts {
        verdicts: Vec<RecordedJudge>,
        #[serde(default)]
        shadows: Vec<RecordedJudge>,
    }
    serde_json::from_str::<Verdicts>(body)
        .map(|body| body.verdicts.into_iter().chain(body.shadows).collect())
        .unwrap_or_default()
}

/// Checks an evidence file. Nothing else is needed than the policies; their settings are in the file.
#[must_use]
pub fn check_evidence(evidence: &Evidence, policies: PolicyLibrary<'_>) -> EvidenceReport {
    let library = policies.with_settings(evidence.settings.values().cloned());
    let row = &evidence.row;
    let judged: Vec<Digest> = recorded_judges(&row.body)
        .into_iter()
        .map(|judge| judge.digest)
        .collect();
    let problem = if evidence.format != EVIDENCE_FORMAT {
        Some(format!(
            "its format is {:?}, not {EVIDENCE_FORMAT}",
            evidence.format
        ))
    } else if audit_row_hash(evidence.previous_hash, row) != row.hash {
        Some("the row does not match its hash: it was changed".to_owned())
    } else if judged != evidence.policies {
        Some("the policies named are not those that judged".to_owned())
    } else if row.seq > evidence.log_head.seq
        || (row.seq == evidence.log_head.seq && row.hash != evidence.log_head.hash)
    {
        Some("the log's head does not fit the row".to_owned())
    } else {
        // A decision with a failed policy cannot be judged again, since the failure may be one of time. It must have denied, which is checked.
        replay_decision(row, &library)
            .err()
            .map(|problem| problem.to_string())
    };
    EvidenceReport {
        decision_id: row.id.clone(),
        hash: row.hash,
        seq: row.seq,
        problem,
    }
}
