//! Operations: `/v1/operations/{id}`, what became of an upload that was answered before it was done.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use ark_model::ids::{Millis, Name, OperationId, TraceId};

use super::agents::view::AgentChanged;
use super::policies::view::PolicyChanged;
use crate::api::http::extract::{ApiPath, NoQuery};
use crate::api::http::preconditions::with_etag;
use crate::api::http::preferences::PreferAsyncHeader;
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::operations::{
    Operation, OperationEnd, OperationKind, OperationReceipt, OperationState,
};
use crate::api::state::{DescribedRoutes, Shared};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new().routes(routes!(read_operation))
}

/// An operation in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct OperationPath {
    /// The operation.
    id: OperationId,
}

/// What an operation that succeeded has changed: the answer that the request gets whose caller waits.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum OperationResult {
    /// A version of an agent is there.
    Agent(AgentChanged),
    /// A version of an operator policy is there.
    Policy(PolicyChanged),
}

impl From<&OperationReceipt> for OperationResult {
    fn from(receipt: &OperationReceipt) -> Self {
        match receipt {
            OperationReceipt::Agent(receipt) => Self::Agent(receipt.clone().into()),
            OperationReceipt::Policy(receipt) => Self::Policy(receipt.clone().into()),
        }
    }
}

/// A request that goes on after it was answered.
#[derive(Serialize, ToSchema)]
#[schema(as = Operation)]
pub(crate) struct OperationView {
    /// The operation's id.
    id: OperationId,
    /// What the operation does.
    kind: OperationKind,
    /// The agent or the policy.
    name: Name,
    /// Who asked for it.
    by: String,
    /// The trace of the request.
    trace_id: TraceId,
    /// The state.
    state: OperationState,
    /// When the operation was accepted.
    accepted_at_ms: Millis,
    /// When work on the operation began.
    started_at_ms: Option<Millis>,
    /// When the operation ended.
    ended_at_ms: Option<Millis>,
    /// What the operation changed; absent unless it succeeded.
    result: Option<OperationResult>,
    /// Why the operation failed; absent unless it failed. It is the problem that a caller gets who waits for the answer.
    problem: Option<Problem>,
}

impl OperationView {
    fn of(operation: &Operation) -> Self {
        let progress = operation.progress();
        let end = progress.ended.as_ref().map(|(_, end)| end.as_ref());
        Self {
            id: operation.id,
            kind: operation.kind,
            name: operation.name.clone(),
            by: operation.by.clone(),
            trace_id: operation.trace_id,
            state: progress.state(),
            accepted_at_ms: operation.accepted_at,
            started_at_ms: progress.started_at,
            ended_at_ms: progress.ended.as_ref().map(|(at, _)| *at),
            result: end.and_then(|end| end.as_ref().ok().map(OperationResult::from)),
            problem: end.and_then(|end| end.as_ref().err().cloned()),
        }
    }
}

/// Answers a request that became an operation: with its end, or, if the caller prefers that, with the operation.
///
/// # Errors
/// The problem that the operation ended with.
pub(crate) async fn answer_operation(
    operation: &Operation,
    prefer: &PreferAsyncHeader,
) -> Result<Response, Problem> {
    let end = match prefer.patience() {
        None => operation.wait_until_ended().await,
        // Also of one that has ended already: what the answer is does not depend on which thread was quicker.
        Some(Duration::ZERO) => return Ok(answer_accepted(operation)),
        Some(patience) => {
            match tokio::time::timeout(patience, operation.wait_until_ended()).await {
                Ok(end) => end,
                Err(_) => return Ok(answer_accepted(operation)),
            }
        }
    };
    answer_end(operation, &end)
}

fn answer_end(operation: &Operation, end: &OperationEnd) -> Result<Response, Problem> {
    let receipt = end.as_ref().map_err(Clone::clone)?;
    let result = OperationResult::from(receipt);
    let response = json_response(StatusCode::OK, Some(operation.trace_id), &result);
    Ok(match receipt {
        OperationReceipt::Agent(_) => response,
        OperationReceipt::Policy(receipt) => with_etag(response, receipt.revision),
    })
}

fn answer_accepted(operation: &Operation) -> Response {
    let view = OperationView::of(operation);
    let mut response = json_response(StatusCode::ACCEPTED, Some(operation.trace_id), &view);
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/operations/{}", operation.id)) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(
        "preference-applied",
        HeaderValue::from_static("respond-async"),
    );
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Reads an operation: its state and its result
///
/// An operation is known for an hour after its end, and not over a restart of the host.
#[utoipa::path(get, path = "/v1/operations/{id}", operation_id = "read_operation", tag = "operations", params(OperationPath),
    responses((status = 200, description = "The operation.", body = OperationView)))]
async fn read_operation(
    State(api): Shared,
    ApiPath(OperationPath { id }): ApiPath<OperationPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let operation = api.operations.find(id).ok_or_else(|| {
        Problem::not_found(
            format!(
                "there is no operation {id}: one is known for an hour after its end, and not over a restart of the host"
            ),
            "id",
            "GET /v1/agents/{name} and GET /v1/policies/{name} say whether the version is there; the same upload may be sent again",
        )
    })?;
    let view = OperationView::of(&operation);
    Ok(json_response(StatusCode::OK, None, &view))
}
