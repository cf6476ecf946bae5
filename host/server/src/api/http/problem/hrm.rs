//! What the HRM and the router refuse, as problem documents.

use axum::http::StatusCode;

use crate::hrm::{HrmError, ReportRefusal};
use crate::router::RouterError;
use ark_model::ids::DecisionId;
use ark_store::ApprovalStatus;

use super::store::missing_item;
use super::{Problem, key_reused};

impl From<HrmError> for Problem {
    fn from(error: HrmError) -> Self {
        let detail = error.to_string();
        match error {
            HrmError::Busy => Self::busy(detail),
            HrmError::Closed => Self::unavailable(detail),
            HrmError::DeadlineExceeded => Self::deadline_exceeded().denied(),
            HrmError::NotFound(item) => missing_item(&item),
            HrmError::UnknownApproval(_) => {
                Self::not_found(detail, "id", "GET /v1/approvals lists what is held")
            }
            HrmError::ApprovalAlreadyResolved {
                status,
                decision_id,
                ..
            } => Self::new(
                StatusCode::CONFLICT,
                "approval-settled",
                "The approval was resolved before",
                detail,
            )
            .at("id", &after_resolution(status, decision_id)),
            HrmError::NotIndependent { .. } => Self::new(
                StatusCode::FORBIDDEN,
                "not-independent",
                "Another person must approve the action",
                detail,
            )
            .at("by", "have another person approve it"),
            HrmError::UnknownCapital => Self::new(
                StatusCode::CONFLICT,
                "no-capital",
                "The capital is not known",
                detail,
            )
            .at("amount", "PUT /v1/account/capital first"),
            HrmError::NotRecorded(_)
            | HrmError::Conflict(_)
            | HrmError::DeliveryAlreadyCompleted => Self {
                outcome: Some("denied"),
                retry_after: Some(1),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not-recorded",
                    "The decision could not be recorded",
                    detail,
                )
            },
            HrmError::InForceNotRecorded { .. } => Self::in_force_not_recorded(detail),
            HrmError::KeyReused => key_reused(detail),
            HrmError::Quarantined(_) => Self {
                outcome: Some("denied"),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "quarantined",
                    "The agent is in quarantine",
                    detail,
                )
            }
            .at(
                "agent",
                "have an operator restore it: POST /v1/agents/{name}/restore",
            ),
            HrmError::OrderNotApplicable(_) => Self::new(
                StatusCode::CONFLICT,
                "not-in-force",
                "The order cannot be carried out",
                detail,
            ),
            HrmError::UnknownDecision(_) => Self::not_found(
                detail,
                "decision_id",
                "give the decision_id of an approved action",
            ),
            HrmError::ReportRefused(refusal) => report_refused(&refusal, &detail),
            HrmError::NotExecutable(_) => Self::new(
                StatusCode::CONFLICT,
                "not-executable",
                "Nothing can be executed",
                detail,
            )
            .at(
                "decision_id",
                "give the decision_id of an approved trade or close_position",
            ),
        }
    }
}

/// What is left to do where an approval was resolved already.
fn after_resolution(status: ApprovalStatus, decision_id: Option<DecisionId>) -> String {
    match (status, decision_id) {
        (ApprovalStatus::Approved, Some(decision_id)) => format!(
            "nothing is left to do; what became of the action is the decision {decision_id}: GET /v1/decisions/{{id}}"
        ),
        (ApprovalStatus::Approved, None) | (ApprovalStatus::Open, _) => {
            "nothing is left to do; read it: GET /v1/approvals/{id}".to_owned()
        }
        (ApprovalStatus::Rejected, _) => {
            "it stays rejected; if the action is wanted after all, have it proposed as a new one"
                .to_owned()
        }
        (ApprovalStatus::Expired, _) => {
            "have the action proposed again, and resolve the new approval before it expires"
                .to_owned()
        }
    }
}

/// The problem of an execution report that does not fit its order.
fn report_refused(refusal: &ReportRefusal, detail: &str) -> Problem {
    let conflict = |field, remedy| {
        Problem::new(
            StatusCode::CONFLICT,
            "order-conflict",
            "The report contradicts the order",
            detail.to_owned(),
        )
        .at(field, remedy)
    };
    let unfit = |field, remedy| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unfit-report",
            "The report cannot be booked",
            detail.to_owned(),
        )
        .at(field, remedy)
    };
    match refusal {
        ReportRefusal::Contradicts { .. } => conflict(
            "status",
            "an order that has ended stays as it ended; report a later fill with its size",
        ),
        ReportRefusal::Falls { .. } => conflict(
            "filled_size_pct",
            "give the size that is filled in all so far; leave out a report that is older than the last one",
        ),
        ReportRefusal::NoFilledSize(_) => unfit(
            "filled_size_pct",
            "give the size that is filled in all so far",
        ),
        ReportRefusal::RejectedWithFill => unfit("status", "report cancelled with the filled size"),
        ReportRefusal::ResultOfOpening => unfit(
            "realized_pnl_pct",
            "leave it out; report the result on the close",
        ),
        ReportRefusal::ResultWithoutFill { .. } => unfit(
            "realized_pnl_pct",
            "leave it out; an operator corrects a result: POST /v1/account/results",
        ),
        ReportRefusal::ResultOutOfBounds { .. } => unfit(
            "realized_pnl_pct",
            "check the result and the price; an operator states a result from elsewhere: POST /v1/account/results",
        ),
    }
}

impl From<RouterError> for Problem {
    fn from(error: RouterError) -> Self {
        let detail = error.to_string();
        match error {
            RouterError::Busy => Self::busy(detail),
            RouterError::KeyReused => key_reused(detail),
            RouterError::Closed | RouterError::NotStored(_) | RouterError::Thread(_) => {
                Self::unavailable(detail)
            }
        }
    }
}
