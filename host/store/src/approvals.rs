//! The approvals' table: what is held, and what became of it.
//!
//! Invariant: an approval is settled once; the writer refuses to settle one that is not open.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};

use super::Store;
use super::audit::{digest_column, malformed_column, parse_column, parse_required};
use super::error::{CommitError, ReadError};
use super::writer::WriteError;

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// It waits.
    Open,
    /// Somebody approved; the action was judged again.
    Approved,
    /// Somebody rejected.
    Rejected,
    /// Nobody did either in time.
    Expired,
}

impl ApprovalStatus {
    /// As in JSON and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Approved, Self::Rejected, Self::Expired]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// An action that waits for somebody's approval, or did.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Approval {
    /// The decision that held the action; the approval's own id too.
    pub id: DecisionId,
    /// Who proposed.
    pub agent: Name,
    /// Who handed the proposal in; may not approve it.
    pub submitter: String,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The action's type.
    pub action_type: String,
    /// Digest of (agent, canonical action): an approval counts for this very action.
    pub action_hash: Digest,
    /// Digest of the data subject's name as it was before redaction, so that its consent is found when the action is judged again.
    #[serde(skip)]
    pub subject_hash: Option<Digest>,
    /// Those who approved it before, where a policy held it again; none of them may approve it again.
    pub earlier: Vec<String>,
    /// Why it is held, in words.
    pub reasons: Vec<String>,
    /// What became of it.
    pub status: ApprovalStatus,
    /// Since when it waits.
    pub created_at_ms: Millis,
    /// Until when.
    pub expires_at_ms: Millis,
    /// When it was settled.
    pub settled_at_ms: Option<Millis>,
    /// Who settled it.
    pub settled_by: Option<String>,
    /// What they said.
    pub comment: Option<String>,
    /// The decision of the second judgement.
    pub decision_id: Option<DecisionId>,
}

/// A change of the approvals.
#[derive(Debug, Clone, PartialEq)]
pub enum ApprovalChange {
    /// An action is held.
    Open(Box<Approval>),
    /// It is settled.
    Resolve {
        /// Which.
        id: DecisionId,
        /// How: not open.
        status: ApprovalStatus,
        /// By whom; `ark` when it expired.
        by: String,
        /// What they said.
        comment: String,
        /// The decision of the second judgement.
        decision_id: Option<DecisionId>,
        /// When.
        at: Millis,
    },
}

/// Which approvals to list. Everything given must match.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// The status.
    pub status: Option<ApprovalStatus>,
    /// Who proposed.
    pub agent: Option<Name>,
    /// Only those after this one.
    pub after: Option<DecisionId>,
}

pub(super) fn write_approval_change(
    connection: &Connection,
    change: &ApprovalChange,
) -> Result<(), WriteError> {
    match change {
        ApprovalChange::Open(approval) => {
            let json = |texts: &[String]| {
                serde_json::to_string(texts)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
            };
            connection
                .prepare_cached(
                    "INSERT INTO approvals (id, agent, submitter, trace_id, action_type, action_hash, subject_hash, earlier,
                         reasons, status, created_at, expires_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'open', ?10, ?11)",
                )?
                .execute(params![
                    approval.id.to_string(),
                    approval.agent.as_str(),
                    approval.submitter,
                    approval.trace_id.to_string(),
                    approval.action_type,
                    approval.action_hash.as_bytes(),
                    approval.subject_hash.as_ref().map(Digest::as_bytes),
                    json(&approval.earlier)?,
                    json(&approval.reasons)?,
                    approval.created_at_ms.0,
                    approval.expires_at_ms.0,
                ])?;
            Ok(())
        }
        ApprovalChange::Resolve {
            id,
            status,
            by,
            comment,
            decision_id,
            at,
        } => {
            let changed = connection
                .prepare_cached(
                    "UPDATE approvals SET status = ?2, settled_at = ?3, settled_by = ?4, comment = ?5, decision_id = ?6
                     WHERE id = ?1 AND status = 'open'",
                )?
                .execute(params![
                    id.to_string(),
                    status.as_str(),
                    at.0,
                    by,
                    comment,
                    decision_id.map(|id| id.to_string()),
                ])?;
            if changed == 1 {
                return Ok(());
            }
            let problem = format!("the approval {id} is not open");
            Err(WriteError::Refused(CommitError::NotFound(problem)))
        }
    }
}

const COLUMNS: &str = "id, agent, submitter, trace_id, action_type, action_hash, subject_hash, earlier, reasons, status,
    created_at, expires_at, settled_at, settled_by, comment, decision_id";

fn read_approval(row: &Row<'_>) -> rusqlite::Result<Approval> {
    let texts = |column: usize| -> rusqlite::Result<Vec<String>> {
        let json: String = row.get(column)?;
        serde_json::from_str(&json).map_err(|_| malformed_column(column, &json))
    };
    let status: String = row.get(9)?;
    Ok(Approval {
        id: parse_required(row, 0)?,
        agent: parse_required(row, 1)?,
        submitter: row.get(2)?,
        trace_id: parse_required(row, 3)?,
        action_type: row.get(4)?,
        action_hash: digest_column(row, 5)?,
        subject_hash: match row.get_ref(6)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(digest_column(row, 6)?),
        },
        earlier: texts(7)?,
        reasons: texts(8)?,
        status: ApprovalStatus::parse(&status).ok_or_else(|| malformed_column(9, &status))?,
        created_at_ms: Millis(row.get(10)?),
        expires_at_ms: Millis(row.get(11)?),
        settled_at_ms: row.get::<_, Option<u64>>(12)?.map(Millis),
        settled_by: row.get(13)?,
        comment: row.get(14)?,
        decision_id: parse_column(row, 15)?,
    })
}

fn find_approval(connection: &Connection, id: DecisionId) -> rusqlite::Result<Option<Approval>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM approvals WHERE id = ?1"))?
        .query_row([id.to_string()], read_approval)
        .optional()
}

impl super::ReadOnlyStore {
    /// An approval by the id of the decision that held the action.
    ///
    /// # Errors
    /// The database cannot be read, or is of an earlier schema.
    pub fn approval(&self, id: DecisionId) -> Result<Option<Approval>, ReadError> {
        self.require_current_schema()?;
        self.readers()
            .with_connection(|connection| find_approval(connection, id))
    }
}

impl Store {
    /// An approval by the id of the decision that held the action.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn approval(&self, id: DecisionId) -> Result<Option<Approval>, ReadError> {
        self.inner
            .readers
            .with_connection(|connection| find_approval(connection, id))
    }

    /// Approvals, the oldest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn approvals_page(
        &self,
        filter: &ApprovalFilter,
        limit: u32,
    ) -> Result<Vec<Approval>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM approvals
                     WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR agent = ?2) AND (?3 IS NULL OR id > ?3)
                     ORDER BY id LIMIT ?4"
                ))?
                .query_map(
                    params![
                        filter.status.map(ApprovalStatus::as_str),
                        filter.agent.as_ref().map(Name::as_str),
                        filter.after.map(|id| id.to_string()),
                        limit
                    ],
                    read_approval,
                )?
                .collect()
        })
    }

    /// How many approvals are open, and since when the oldest of them is.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn open_approval_stats(&self) -> Result<(u64, Option<Millis>), ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT count(*), min(created_at) FROM approvals WHERE status = 'open'",
                )?
                .query_row([], |row| {
                    Ok((row.get(0)?, row.get::<_, Option<u64>>(1)?.map(Millis)))
                })
        })
    }

    /// Every approval that is open, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn open_approvals(&self) -> Result<Vec<Approval>, ReadError> {
        let open = ApprovalFilter {
            status: Some(ApprovalStatus::Open),
            ..ApprovalFilter::default()
        };
        self.approvals_page(&open, u32::MAX)
    }
}
