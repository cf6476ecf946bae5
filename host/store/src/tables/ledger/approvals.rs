//! Approvals: actions that wait for a person's approval, and how each was resolved.
//!
//! Invariant: an approval is resolved once. The writer refuses to resolve one that is not open.

use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use crate::error::{MissingItem, ReadError, WriteError};
use crate::query::{
    digest_column, execute_cached, json_column, malformed_column, millis_column, optional_digest,
    optional_millis, parse_column, parse_required, to_json_text,
};
use crate::reader::Reader;

/// The status of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ApprovalStatus {
    /// The action waits.
    Open,
    /// Somebody approved, and the action was judged again.
    Approved,
    /// Somebody rejected the action.
    Rejected,
    /// Nobody approved or rejected the action in time.
    Expired,
}

impl ApprovalStatus {
    /// The status as JSON and the database have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// An action that waits for a person's approval, or did.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The decision that held the action. It is the approval's id too.
    pub id: DecisionId,
    /// The agent that proposed the action.
    pub agent: Name,
    /// The caller that submitted the proposal. It may not approve it.
    pub submitter: String,
    /// The trace the proposal belongs to.
    pub trace_id: TraceId,
    /// The type of the action.
    pub action_type: String,
    /// The digest of (agent, canonical action). An approval is valid for this action only.
    pub action_hash: Digest,
    /// The digest of the data subject's name before redaction, to find the subject's consent when the action is judged again.
    pub subject_hash: Option<Digest>,
    /// Those who approved the action before, when a policy held it again. None of them may approve it again.
    pub earlier: Vec<String>,
    /// Why the action is held, as sentences.
    pub reasons: Vec<String>,
    /// The status.
    pub status: ApprovalStatus,
    /// When the action was held.
    pub created_at_ms: Millis,
    /// When the approval expires.
    pub expires_at_ms: Millis,
    /// When the approval was resolved.
    pub settled_at_ms: Option<Millis>,
    /// Who resolved the approval.
    pub settled_by: Option<String>,
    /// The comment of who resolved it.
    pub comment: Option<String>,
    /// The decision of the second judgement.
    pub decision_id: Option<DecisionId>,
}

/// A change of the approvals.
#[derive(Debug, Clone, PartialEq)]
pub enum ApprovalChange {
    /// Opens an approval for an action that is held.
    Open(Box<Approval>),
    /// Resolves an open approval.
    Resolve {
        /// The approval.
        id: DecisionId,
        /// The new status, which is not `Open`.
        status: ApprovalStatus,
        /// Who resolves it; `ark` when it has expired.
        by: String,
        /// The comment.
        comment: String,
        /// The decision of the second judgement.
        decision_id: Option<DecisionId>,
        /// When it is resolved.
        at: Millis,
    },
}

/// Which approvals to list. An approval must match everything that is given.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// The status.
    pub status: Option<ApprovalStatus>,
    /// The agent that proposed the action.
    pub agent: Option<Name>,
    /// The approval behind which the page begins.
    pub after: Option<DecisionId>,
}

pub(crate) fn write_approval_change(
    connection: &Connection,
    change: &ApprovalChange,
) -> Result<(), WriteError> {
    match change {
        ApprovalChange::Open(approval) => {
            execute_cached(
                connection,
                "INSERT INTO approvals (id, agent, submitter, trace_id, action_type, action_hash, subject_hash, earlier,
                     reasons, status, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'open', ?10, ?11)",
                params![
                    approval.id.to_string(),
                    approval.agent.as_str(),
                    approval.submitter,
                    approval.trace_id.to_string(),
                    approval.action_type,
                    approval.action_hash.as_bytes(),
                    approval.subject_hash.as_ref().map(Digest::as_bytes),
                    to_json_text(&approval.earlier)?,
                    to_json_text(&approval.reasons)?,
                    approval.created_at_ms.0,
                    approval.expires_at_ms.0,
                ],
            )?;
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
            let changed = execute_cached(
                connection,
                "UPDATE approvals SET status = ?2, settled_at = ?3, settled_by = ?4, comment = ?5, decision_id = ?6
                 WHERE id = ?1 AND status = 'open'",
                params![
                    id.to_string(),
                    status.as_str(),
                    at.0,
                    by,
                    comment,
                    decision_id.map(|id| id.to_string()),
                ],
            )?;
            if changed == 1 {
                return Ok(());
            }
            Err(WriteError::refuse(MissingItem::OpenApproval { id: *id }))
        }
    }
}

const APPROVAL_COLUMNS: &str = "id, agent, submitter, trace_id, action_type, action_hash, subject_hash, earlier, reasons, status,
    created_at, expires_at, settled_at, settled_by, comment, decision_id";

fn read_approval(row: &Row<'_>) -> rusqlite::Result<Approval> {
    let status: String = row.get(9)?;
    Ok(Approval {
        id: parse_required(row, 0)?,
        agent: parse_required(row, 1)?,
        submitter: row.get(2)?,
        trace_id: parse_required(row, 3)?,
        action_type: row.get(4)?,
        action_hash: digest_column(row, 5)?,
        subject_hash: optional_digest(row, 6)?,
        earlier: json_column(row, 7)?,
        reasons: json_column(row, 8)?,
        status: ApprovalStatus::parse(&status).ok_or_else(|| malformed_column(9, &status))?,
        created_at_ms: millis_column(row, 10)?,
        expires_at_ms: millis_column(row, 11)?,
        settled_at_ms: optional_millis(row, 12)?,
        settled_by: row.get(13)?,
        comment: row.get(14)?,
        decision_id: parse_column(row, 15)?,
    })
}

/// The statement of [`Reader::approvals_page`]. Its parameters: status, agent, the id that the page is behind, limit.
fn select_page(filter: &ApprovalFilter) -> String {
    let status = match filter.status {
        None => "TRUE",
        // The index of those that are open is taken only for the word itself.
        Some(ApprovalStatus::Open) => "status = 'open'",
        Some(_) => "status = ?1",
    };
    let agent = if filter.agent.is_some() {
        "agent = ?2"
    } else {
        "TRUE"
    };
    format!(
        "SELECT {APPROVAL_COLUMNS} FROM approvals WHERE id > ?3 AND {status} AND {agent} ORDER BY id LIMIT ?4"
    )
}

impl Reader {
    /// The approval of the decision that held the action; `None` when no action was held with that decision.
    ///
    /// # Errors
    /// The database cannot be read, or has an earlier schema.
    pub fn approval(&self, id: DecisionId) -> Result<Option<Approval>, ReadError> {
        self.require_current_schema()?;
        self.select_row(
            &format!("SELECT {APPROVAL_COLUMNS} FROM approvals WHERE id = ?1"),
            [id.to_string()],
            read_approval,
        )
    }

    /// The approvals that match, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn approvals_page(
        &self,
        filter: &ApprovalFilter,
        limit: u32,
    ) -> Result<Vec<Approval>, ReadError> {
        let params = params![
            filter.status.map(ApprovalStatus::as_str),
            filter.agent.as_ref().map(Name::as_str),
            // Before every id.
            filter.after.map_or_else(String::new, |id| id.to_string()),
            limit
        ];
        self.select_rows(&select_page(filter), params, read_approval)
    }

    /// Every approval that is open, oldest first.
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

    /// How many approvals are open, and when the oldest of them was opened.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn open_approval_stats(&self) -> Result<(u64, Option<Millis>), ReadError> {
        let stats = self.select_row(
            "SELECT count(*), min(created_at) FROM approvals WHERE status = 'open'",
            [],
            |row| Ok((row.get(0)?, optional_millis(row, 1)?)),
        )?;
        Ok(stats.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::explain_plan;

    #[test]
    fn a_page_of_open_approvals_is_found_by_their_index_and_any_other_from_where_it_begins() {
        let found = |status, agent: Option<&str>| {
            explain_plan(&select_page(&ApprovalFilter {
                status,
                agent: agent.map(|it| it.parse().unwrap()),
                after: None,
            }))
        };
        let by_id = "SEARCH approvals USING PRIMARY KEY (id>?)";
        for agent in [None, Some("ann")] {
            assert_eq!(
                found(Some(ApprovalStatus::Open), agent),
                "SEARCH approvals USING INDEX approvals_open (id>?)"
            );
            assert_eq!(found(Some(ApprovalStatus::Expired), agent), by_id);
            assert_eq!(found(None, agent), by_id);
        }
    }
}
