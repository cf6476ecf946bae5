//! What is held: listing, approving, rejecting.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::hrm::{HrmError, Resolution};
use ark_model::form::Fields;
use ark_model::ids::{DecisionId, Millis, Name};
use ark_model::principal::Principal;
use ark_store::{Approval, ApprovalFilter, ApprovalStatus};

use super::control::words;
use super::envelope::{by_of, key_of_header};
use super::exchange::{Asked, json_answer, not_a, path_text, query_of, read_json};
use super::openapi::{Described, Keyed};
use super::operating::{agent_of, limit_of, next_of};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::Shared;
use super::view::DecisionView;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(approvals))
        .routes(routes!(approval))
        .routes(routes!(approve))
        .routes(routes!(reject))
}

/// A page of what is or was held.
#[derive(Serialize, ToSchema)]
struct ApprovalPage {
    approvals: Vec<Approval>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// An approval that is settled.
#[derive(Serialize, ToSchema)]
struct ApprovalSettled<'a> {
    id: DecisionId,
    status: ApprovalStatus,
    settled_at_ms: Millis,
    /// The second judgement, of an approved one.
    decision: Option<DecisionView<'a>>,
}

/// Lists what is held, or was
#[utoipa::path(get, path = "/v1/approvals", operation_id = "list_approvals", tag = "approvals",
    params(
        ("status" = Option<ApprovalStatus>, Query, description = "In this state."),
        ("agent" = Option<Name>, Query, description = "Proposed by this agent."),
        ("limit" = Option<u32>, Query, description = "How many rows at most; 50 if left out.", minimum = 1, maximum = 500),
        ("cursor" = Option<DecisionId>, Query, description = "Where to go on: the `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = ApprovalPage)))]
async fn approvals(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["status", "agent", "limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let filter = ApprovalFilter {
        status: query
            .get("status")
            .map(|status| {
                let remedy = "give open, approved, rejected or expired";
                ApprovalStatus::parse(status).ok_or_else(|| not_a("status", status, remedy))
            })
            .transpose()?,
        agent: query
            .get("agent")
            .map(|agent| agent_of(agent))
            .transpose()?,
        after: query
            .get("cursor")
            .map(|cursor| {
                let remedy = "give the next_cursor of the page before";
                cursor.parse().map_err(|_| not_a("cursor", cursor, remedy))
            })
            .transpose()?,
    };
    let rows = off_reactor(&api, move |api| api.store.approvals_page(&filter, limit)).await??;
    let next = next_of(&rows, limit, |row| row.id.to_string());
    Ok(json_answer(
        StatusCode::OK,
        None,
        &ApprovalPage {
            approvals: rows,
            next_cursor: next,
        },
    ))
}

/// Something that is held, or was
#[utoipa::path(get, path = "/v1/approvals/{id}", operation_id = "read_approval", tag = "approvals",
    params(("id" = DecisionId, Path, description = "The decision that held the action.")),
    responses((status = 200, description = "The approval.", body = Approval)))]
async fn approval(State(api): Shared, id: PathText, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let id = id_of(id)?;
    let row = off_reactor(&api, move |api| api.store.approval(id))
        .await??
        .ok_or_else(|| Problem::not_found(format!("there is no approval {id}")))?;
    Ok(json_answer(StatusCode::OK, Some(row.trace_id), &row))
}

/// Approves what is held
///
/// The action is judged again, under the facts of now and with the approval as one of them. Whoever proposed it cannot approve it.
#[utoipa::path(post, path = "/v1/approvals/{id}/approve", operation_id = "approve", tag = "approvals",
    params(("id" = DecisionId, Path, description = "The decision that held the action."), Keyed),
    request_body = ref("#/components/schemas/ResolutionRequest"),
    responses(
        (status = 200, description = "It is settled, with the second judgement.", body = ApprovalSettled),
        (status = 409, description = "It is settled already, or the agent is in quarantine."),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn approve(
    state: Shared,
    caller: Extension<Principal>,
    id: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    resolve(state, caller, id, query, headers, body, true).await
}

/// Rejects what is held
#[utoipa::path(post, path = "/v1/approvals/{id}/reject", operation_id = "reject", tag = "approvals",
    params(("id" = DecisionId, Path, description = "The decision that held the action."), Keyed),
    request_body = ref("#/components/schemas/ResolutionRequest"),
    responses(
        (status = 200, description = "It is settled.", body = ApprovalSettled),
        (status = 409, description = "It is settled already."),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn reject(
    state: Shared,
    caller: Extension<Principal>,
    id: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    resolve(state, caller, id, query, headers, body, false).await
}

async fn resolve(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    id: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
    approve: bool,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let id = id_of(id)?;
    let document = read_json(&headers, body).await?;
    let idempotency = key_of_header(&headers, &format!("{id} {approve} {document}"))?;
    let mut fields = Fields::from_document(document, "")?;
    let remedy = "say why, for the audit log";
    let comment = words("comment", &fields.required_text("comment", remedy)?)?;
    let by = by_of(&principal, "by", fields.take_text("by")?)?;
    fields.reject_unknown()?;
    let resolution = Resolution {
        id,
        approve,
        by,
        comment,
        idempotency,
    };
    let (reply, answer) = oneshot::channel();
    api.hrm
        .resolve_approval(resolution, Box::new(move |result| drop(reply.send(result))));
    let resolved = answer.await.unwrap_or(Err(HrmError::Closed))?;
    let receipt = resolved.receipt;
    let decision = match (resolved.decision, receipt.decision_id) {
        (Some(decision), _) => Some(decision),
        (None, Some(id)) => super::reading::find_decision(&api, id).await?.map(Arc::new),
        (None, None) => None,
    };
    if let Some(decision) = &decision
        && api.hrm.sends_message(decision)
    {
        api.router.wake_outbox();
    }
    let mut response = json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &ApprovalSettled {
            id: receipt.id,
            status: receipt.status,
            settled_at_ms: receipt.at,
            decision: decision
                .as_deref()
                .map(|decision| DecisionView::of(decision, false)),
        },
    );
    if resolved.replayed {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn id_of(id: PathText) -> Result<DecisionId, Problem> {
    let id = path_text(id)?;
    id.parse()
        .map_err(|_| not_a("id", &id, "give the decision_id of a held action"))
}
