//! What the tables of the audit log, the session log and the index of decisions are made of: entries, rows and what is indexed of a decision.

use std::sync::Arc;

use ark_model::decision::Outcome;
use ark_model::ids::{AuditId, Digest, Millis, Name, TraceId};
use ark_model::verdict::RuleResult;
use serde::{Deserialize, Serialize};

use crate::query::malformed_column;

/// The kind of an audit row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AuditKind {
    /// A decision.
    Decision,
    /// An invocation that failed: nothing of it was committed.
    Failure,
    /// An execution report.
    Execution,
    /// An order of an operator or of the watchdog: halt, resume, quarantine, restore.
    Control,
    /// A change by an operator.
    Operator,
    /// The resolution of an approval.
    Approval,
    /// A request for another Graveyard. It changes nothing by itself.
    Amendment,
    /// A step of a deployment: of a canary, a rollback, an upgrade.
    Deployment,
}

impl AuditKind {
    /// The kind as JSON and the database have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A row to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// The kind.
    pub kind: AuditKind,
    /// The id, which is fresh: no other row has it. A decision's row has the id of the decision.
    pub id: AuditId,
    /// The trace the row belongs to.
    pub trace_id: Option<TraceId>,
    /// The agent the row is about.
    pub agent: Option<Name>,
    /// The type of the action, or the name of the operation.
    pub action_type: Option<String>,
    /// The outcome of the decision.
    pub outcome: Option<Outcome>,
    /// When it happened.
    pub at: Millis,
    /// Everything else, as canonical JSON.
    pub body: String,
    /// Of a decision: what the index of decisions holds of it. It is no part of the chain.
    pub subject: Option<Arc<IndexedFields>>,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRow {
    /// The number: from 1, without a gap.
    pub seq: u64,
    /// The kind.
    pub kind: AuditKind,
    /// The id.
    pub id: String,
    /// The trace the row belongs to.
    pub trace_id: Option<TraceId>,
    /// The agent the row is about.
    pub agent: Option<Name>,
    /// The type of the action, or the name of the operation.
    pub action_type: Option<String>,
    /// The outcome of the decision.
    pub outcome: Option<Outcome>,
    /// When it happened.
    pub at: Millis,
    /// Everything else, as canonical JSON.
    pub body: String,
    /// The hash of the row in the chain.
    pub hash: Digest,
}

/// A rule that warned, held, was violated or could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiredRule {
    /// The name of the policy.
    pub policy: String,
    /// The number of the rule in the policy.
    pub number: u16,
    /// The name of the rule.
    pub rule: String,
    /// What it answered.
    pub answer: RuleResult,
}

/// What the index holds of a decision beside the columns of its audit row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexedFields {
    /// The instrument, in the proposer's spelling; absent: the action concerns none.
    pub symbol: Option<String>,
    /// The size as a fraction of capital; absent: the action has none, or concerns all of a position.
    pub size: Option<f64>,
    /// The rules that fired, in the order of the policies.
    pub fired: Vec<FiredRule>,
}

/// The outcome in the column 7 of the log, or of the index.
pub(super) fn parse_outcome(text: &str) -> rusqlite::Result<Outcome> {
    [Outcome::Approved, Outcome::Held, Outcome::Denied]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
        .ok_or_else(|| malformed_column(7, text))
}
