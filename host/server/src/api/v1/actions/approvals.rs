//! Held actions: listing, approving, rejecting (`/v1/approvals`).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiPath, ApiQuery, NoQuery, request_body};
use crate::api::http::fields::{Actor, Reason};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::pagination::{Limit, next_cursor, page_rows};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, with_replayed};
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::hrm::Resolution;
use ark_model::form::parse_json;
use ark_model::ids::{DecisionId, Millis, Name};
use ark_store::{Approval, ApprovalFilter, ApprovalStatus};

use super::decision_view::{DecisionView, read_decisions};
use super::decisions::find_decision;
use super::held_action::HeldAction;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_approvals))
        .routes(routes!(show_approval))
        .routes(routes!(approve_action))
        .routes(routes!(reject_action))
}

/// A held action in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ApprovalPath {
    /// The decision that held the action.
    id: DecisionId,
}

/// Which held actions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ApprovalsQuery {
    /// In this state.
    status: Option<ApprovalStatus>,
    /// Proposed by this agent.
    agent: Option<Name>,
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    cursor: Option<DecisionId>,
}

/// What is said to an approval or a rejection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolutionRequest {
    /// Why, for the audit log.
    comment: Reason,
    by: Option<Actor>,
}

request_body!(ResolutionRequest);

/// A page of held actions.
#[derive(Serialize, ToSchema)]
struct ApprovalPage {
    approvals: Vec<HeldAction>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A held action that is resolved.
#[derive(Serialize, ToSchema)]
struct ApprovalResolved<'a> {
    id: DecisionId,
    status: ApprovalStatus,
    settled_at_ms: Millis,
    /// The second judgement, of an approved one.
    decision: Option<DecisionView<'a>>,
}

/// Lists approvals
#[utoipa::path(get, path = "/v1/approvals", operation_id = "list_approvals", tag = "approvals", params(ApprovalsQuery),
    responses((status = 200, description = "A page.", body = ApprovalPage)))]
async fn list_approvals(
    State(api): Shared,
    ApiQuery(query): ApiQuery<ApprovalsQuery>,
) -> Result<Response, Problem> {
    let limit = page_rows(query.limit);
    let filter = ApprovalFilter {
        status: query.status,
        agent: query.agent,
        after: query.cursor,
    };
    api.run_blocking(move |api| {
        let rows = api.store.approvals_page(&filter, limit)?;
        let next_cursor = next_cursor(&rows, limit, |row| row.id.to_string());
        let approvals = read_held_actions(api, rows)?;
        let page = ApprovalPage {
            approvals: approvals
                .into_iter()
                .map(HeldAction::without_facts)
                .collect(),
            next_cursor,
        };
        Ok(json_response(StatusCode::OK, None, &page))
    })
    .await?
}

/// Reads an approval
#[utoipa::path(get, path = "/v1/approvals/{id}", operation_id = "read_approval", tag = "approvals", params(ApprovalPath),
    responses((status = 200, description = "The approval.", body = HeldAction)))]
async fn show_approval(
    State(api): Shared,
    ApiPath(ApprovalPath { id }): ApiPath<ApprovalPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let (trace_id, held) = api
        .run_blocking(move |api| {
            let row = api.store.approval(id)?;
            let trace_id = row.as_ref().map(|row| row.trace_id);
            let held = read_held_actions(api, row.into_iter().collect())?.pop();
            trace_id.zip(held).ok_or_else(|| {
                let detail = format!("there is no approval {id}");
                Problem::not_found(detail, "id", "GET /v1/approvals lists what is held")
            })
        })
        .await??;
    Ok(json_response(StatusCode::OK, Some(trace_id), &held))
}

/// Reads what the decisions say that held actions. To be called off the reactor.
fn read_held_actions(api: &Api, rows: Vec<Approval>) -> Result<Vec<HeldAction>, Problem> {
    let ids: Vec<DecisionId> = rows.iter().map(|row| row.id).collect();
    let decisions = read_decisions(&api.store, &ids).map_err(Problem::unavailable)?;
    let held = rows.into_iter().zip(decisions);
    Ok(held
        .map(|(row, decision)| HeldAction::new(row, decision))
        .collect())
}

/// Approves a held action
///
/// The action is judged again, under the facts of now and with the approval as one of them. Anyone who proposed it cannot approve it.
#[utoipa::path(post, path = "/v1/approvals/{id}/approve", operation_id = "approve", tag = "approvals",
    params(ApprovalPath, IdempotencyHeader),
    request_body = ResolutionRequest,
    responses(
        (status = 200, description = "The approval is resolved; the answer has the second judgement.", body = ApprovalResolved),
        (status = 409, description = "The approval was resolved before, or the agent is in quarantine."),
    ))]
async fn approve_action(
    State(api): Shared,
    caller: Caller,
    ApiPath(ApprovalPath { id }): ApiPath<ApprovalPath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    request: ApiJson<ResolutionRequest>,
) -> Result<Response, Problem> {
    resolve_approval(&api, &caller, id, true, idempotency, request).await
}

/// Rejects a held action
#[utoipa::path(post, path = "/v1/approvals/{id}/reject", operation_id = "reject", tag = "approvals",
    params(ApprovalPath, IdempotencyHeader),
    request_body = ResolutionRequest,
    responses(
        (status = 200, description = "The approval is resolved.", body = ApprovalResolved),
        (status = 409, description = "The approval was resolved before."),
    ))]
async fn reject_action(
    State(api): Shared,
    caller: Caller,
    ApiPath(ApprovalPath { id }): ApiPath<ApprovalPath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    request: ApiJson<ResolutionRequest>,
) -> Result<Response, Problem> {
    resolve_approval(&api, &caller, id, false, idempotency, request).await
}

async fn resolve_approval(
    api: &Arc<Api>,
    caller: &Caller,
    id: DecisionId,
    approve: bool,
    idempotency: IdempotencyHeader,
    ApiJson { form, body }: ApiJson<ResolutionRequest>,
) -> Result<Response, Problem> {
    let document = parse_json(&body)?;
    let idempotency = idempotency.for_request(&CanonicalRequest {
        operation: if approve { "approve" } else { "reject" },
        parameters: json!({"id": id}),
        body: &body,
        legacy: format!("{id} {approve} {document}"),
    });
    let resolution = Resolution {
        id,
        approve,
        by: caller.resolve_actor("by", form.by)?,
        comment: form.comment.into(),
        idempotency,
    };
    let resolved = api
        .ask_hrm(|hrm, reply| hrm.resolve_approval(resolution, reply))
        .await?;
    let receipt = resolved.receipt;
    let decision = match (resolved.decision, receipt.decision_id) {
        (Some(decision), _) => Some(decision),
        (None, Some(id)) => find_decision(api, id).await?.map(Arc::new),
        (None, None) => None,
    };
    if let Some(decision) = &decision
        && api.hrm.sends_message(decision)
    {
        api.router.wake_outbox();
    }
    let body = ApprovalResolved {
        id: receipt.id,
        status: receipt.status,
        settled_at_ms: receipt.at,
        decision: decision
            .as_deref()
            .map(|decision| DecisionView::of(decision, false)),
    };
    let response = json_response(StatusCode::OK, Some(receipt.trace_id), &body);
    Ok(with_replayed(response, resolved.replayed))
}
