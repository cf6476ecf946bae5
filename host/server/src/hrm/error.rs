//! Errors of requests to the HRM.

use std::sync::Arc;

use crate::reply::ReplyDropped;
use ark_model::ids::{DecisionId, Millis, Name};
use ark_store::{ApprovalStatus, CommitError, MissingItem, OpenError, ReadError};
use jiff::Timestamp;

use super::report_refusal::ReportRefusal;

/// Why a request to the HRM has no result. Nothing of it was committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HrmError {
    /// The queue, or the proposer's share of it, is full.
    #[error("too many proposals are waiting; try again in a second")]
    Busy,
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Closed,
    /// The decision could not be made durable, so it does not count: the action is denied.
    #[error("the decision could not be recorded, so the action is denied: {0}")]
    NotRecorded(#[source] RecordFailure),
    /// A halt or a quarantine is in force, and could not be made durable yet.
    #[error(
        "the {order} is in force, and not on disk yet: {cause}; it is recorded as soon as the database can be written"
    )]
    InForceNotRecorded {
        /// `halt` or `quarantine`.
        order: &'static str,
        /// What kept it from being recorded.
        #[source]
        cause: RecordFailure,
    },
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request; use a fresh key")]
    KeyReused,
    /// The invocation's writes collide with a commit made meanwhile. The invocation may be run again.
    #[error("the state changed meanwhile: {0}")]
    Conflict(#[source] CommitError),
    /// The agent is in quarantine.
    #[error("{0} is in quarantine; an operator can restore it")]
    Quarantined(Name),
    /// The deadline passed before the commit.
    #[error("the deadline passed before it could be committed")]
    DeadlineExceeded,
    /// The order does not apply to the present state, with the reason.
    #[error("{0}")]
    OrderNotApplicable(String),
    /// The invocation's delivery was completed before.
    #[error("the delivery is already completed")]
    DeliveryAlreadyCompleted,
    /// What the request names does not exist, with its name.
    #[error("{0}")]
    NotFound(MissingItem),
    /// No action is held under this id.
    #[error("there is no approval {0}")]
    UnknownApproval(DecisionId),
    /// The approval was resolved before.
    #[error(
        "the approval {id} was resolved before: {}{}{}",
        status.as_str(),
        by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default(),
        at.map(|at| format!(" at {}", format_utc(at))).unwrap_or_default()
    )]
    ApprovalAlreadyResolved {
        /// The approval.
        id: DecisionId,
        /// How it was resolved.
        status: ApprovalStatus,
        /// The actor who resolved it, if one is recorded.
        by: Option<String>,
        /// When it was resolved, if that is recorded.
        at: Option<Millis>,
        /// The decision of the second judgement, after an approval.
        decision_id: Option<DecisionId>,
    },
    /// An action cannot be approved by the actor who proposed it or approved it before.
    #[error(
        "{by} proposed the action of approval {id} or approved it before; somebody else must approve it"
    )]
    NotIndependent {
        /// The approval.
        id: DecisionId,
        /// The actor.
        by: String,
    },
    /// A result in the account's currency is reported before the capital is known.
    #[error("the capital is not known, so a result is no fraction of it; set the capital first")]
    UnknownCapital,
    /// There is no decision with this id.
    #[error("there is no decision {0}")]
    UnknownDecision(DecisionId),
    /// An execution report does not fit its order.
    #[error(transparent)]
    ReportRefused(#[from] ReportRefusal),
    /// An execution is reported for a decision that permits none, with the reason.
    #[error("nothing can be executed on this decision: {0}")]
    NotExecutable(String),
}

/// A moment as RFC 3339 in UTC, with milliseconds.
fn format_utc(at: Millis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    let moment = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    format!("{moment:.3}")
}

/// What kept the HRM from reading or writing its records. Cheap to clone, since it may answer several requests.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordFailure {
    /// The database could not be read.
    #[error(transparent)]
    Read(Arc<ReadError>),
    /// The database could not be opened for reading.
    #[error(transparent)]
    Open(Arc<OpenError>),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A record is not valid JSON, or could not be written as JSON.
    #[error(transparent)]
    Json(Arc<serde_json::Error>),
    /// The answer stored under an idempotency key cannot be parsed.
    #[error("the stored answer is malformed")]
    StoredAnswer,
    /// The first request with this idempotency key was not committed.
    #[error("the first request with this idempotency key was not recorded; send it again")]
    FirstRequest,
    /// The audit row of a held action does not match the approval.
    #[error("the recorded action is not the one that was held")]
    HeldActionMismatch,
    /// The audit row of a held action lacks its facts.
    #[error("the record of the held action has no facts")]
    MissingFacts,
    /// The thread could not be started.
    #[error("the thread could not be started: {0}")]
    Thread(#[source] Arc<std::io::Error>),
}

impl From<RecordFailure> for HrmError {
    fn from(failure: RecordFailure) -> Self {
        Self::NotRecorded(failure)
    }
}

impl From<ReadError> for RecordFailure {
    fn from(error: ReadError) -> Self {
        Self::Read(Arc::new(error))
    }
}

impl From<ReadError> for HrmError {
    fn from(error: ReadError) -> Self {
        Self::NotRecorded(error.into())
    }
}

impl From<serde_json::Error> for HrmError {
    fn from(error: serde_json::Error) -> Self {
        Self::NotRecorded(RecordFailure::Json(Arc::new(error)))
    }
}

impl From<CommitError> for HrmError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { .. } => Self::Conflict(error),
            CommitError::DeliveryNotPending { .. } => Self::DeliveryAlreadyCompleted,
            CommitError::NotFound(item) => Self::NotFound(item),
            CommitError::DeadlineExceeded => Self::DeadlineExceeded,
            error => Self::NotRecorded(error.into()),
        }
    }
}

impl From<ReplyDropped> for HrmError {
    fn from(_: ReplyDropped) -> Self {
        Self::Closed
    }
}
