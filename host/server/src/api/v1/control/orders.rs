//! Orders: halting and resuming the host, quarantining and restoring an agent.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::deadline::Deadline;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiPath, NoQuery, request_body};
use crate::api::http::fields::{Actor, Reason};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::hrm::IssuedOrder;
use ark_model::control::{Order, QuarantineCause};
use ark_model::form::parse_json;
use ark_model::ids::{Millis, Name};

use crate::api::v1::legacy_digests::describe_order;
use crate::api::v1::names::{AgentNamePath, unknown_agent};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(quarantine_agent))
        .routes(routes!(restore_agent))
        .routes(routes!(halt_host))
        .routes(routes!(resume_host))
}

/// An order to the host.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrderRequest {
    /// Why, for the audit log.
    reason: Reason,
    by: Option<Actor>,
}

request_body!(OrderRequest);

/// An order that is in force and on disk.
#[derive(Serialize, ToSchema)]
struct OrderCarriedOut {
    /// `halt`, `resume`, `quarantine` or `restore`.
    order: &'static str,
    agent: Option<Name>,
    /// Whether anything changed: otherwise it was in force before, and the first order's reason stays.
    changed: bool,
    since_ms: Millis,
}

/// Halts the host
///
/// Nothing but reads is approved from then on, also after a restart, until the halt is ended.
#[utoipa::path(post, path = "/v1/halt", operation_id = "halt", tag = "control", params(IdempotencyHeader),
    request_body = OrderRequest,
    responses(
        (status = 200, description = "The order is in force and on disk.", body = OrderCarriedOut),
    ))]
async fn halt_host(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    deadline: Deadline,
    request: ApiJson<OrderRequest>,
) -> Result<Response, Problem> {
    let guards = Arc::clone(&api.guards);
    deadline.answer_with(move || {
        let is_halted = guards.current_halt().is_some();
        is_halted.then(|| Problem::in_force_not_confirmed(Order::Halt.as_str()))
    });
    carry_out_order(&api, &caller, Order::Halt, idempotency, request).await
}

/// Ends a halt
///
/// A halt by a broken pin cannot be ended.
#[utoipa::path(post, path = "/v1/resume", operation_id = "resume", tag = "control", params(IdempotencyHeader),
    request_body = OrderRequest,
    responses(
        (status = 200, description = "The halt has ended.", body = OrderCarriedOut),
        (status = 409, description = "The halt cannot be ended, or there is none."),
    ))]
async fn resume_host(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    request: ApiJson<OrderRequest>,
) -> Result<Response, Problem> {
    carry_out_order(&api, &caller, Order::Resume, idempotency, request).await
}

/// Puts an agent into quarantine
///
/// The agent receives no signals and its proposals are denied, until it is restored.
#[utoipa::path(post, path = "/v1/agents/{name}/quarantine", operation_id = "quarantine_agent", tag = "control",
    params(AgentNamePath, IdempotencyHeader),
    request_body = OrderRequest,
    responses(
        (status = 200, description = "The order is in force and on disk.", body = OrderCarriedOut),
    ))]
async fn quarantine_agent(
    State(api): Shared,
    caller: Caller,
    ApiPath(AgentNamePath { name: agent }): ApiPath<AgentNamePath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    deadline: Deadline,
    request: ApiJson<OrderRequest>,
) -> Result<Response, Problem> {
    check_serving(&api, &agent)?;
    let order = Order::Quarantine {
        agent: agent.clone(),
        cause: QuarantineCause::Operator,
    };
    let (guards, name) = (Arc::clone(&api.guards), order.as_str());
    deadline.answer_with(move || {
        let is_quarantined = guards.is_quarantined(&agent);
        is_quarantined.then(|| Problem::in_force_not_confirmed(name))
    });
    carry_out_order(&api, &caller, order, idempotency, request).await
}

/// Ends an agent's quarantine
#[utoipa::path(post, path = "/v1/agents/{name}/restore", operation_id = "restore_agent", tag = "control",
    params(AgentNamePath, IdempotencyHeader),
    request_body = OrderRequest,
    responses(
        (status = 200, description = "The quarantine has ended.", body = OrderCarriedOut),
        (status = 409, description = "The agent is not in quarantine."),
    ))]
async fn restore_agent(
    State(api): Shared,
    caller: Caller,
    ApiPath(AgentNamePath { name: agent }): ApiPath<AgentNamePath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    request: ApiJson<OrderRequest>,
) -> Result<Response, Problem> {
    // An agent that is no longer loaded can still be in quarantine.
    if !api.guards.is_quarantined(&agent) {
        check_serving(&api, &agent)?;
    }
    let order = Order::Restore { agent };
    carry_out_order(&api, &caller, order, idempotency, request).await
}

async fn carry_out_order(
    api: &Arc<Api>,
    caller: &Caller,
    order: Order,
    idempotency: IdempotencyHeader,
    ApiJson { form, body }: ApiJson<OrderRequest>,
) -> Result<Response, Problem> {
    let document = parse_json(&body)?;
    let idempotency = idempotency.for_request(&CanonicalRequest {
        operation: order.as_str(),
        parameters: json!({"agent": order.agent()}),
        body: &body,
        legacy: format!("{} {document}", describe_order(&order)),
    });
    let instruction = IssuedOrder {
        order: order.clone(),
        trace_id: caller.trace_id,
        reason: form.reason.into(),
        by: caller.resolve_operator(form.by)?,
        origin_host: None,
        idempotency,
    };
    let receipt = api
        .ask_hrm_blocking(|hrm, reply| hrm.carry_out_order(instruction, reply))
        .await?;
    let body = OrderCarriedOut {
        order: order.as_str(),
        agent: order.agent().cloned(),
        changed: receipt.changed,
        since_ms: receipt.at,
    };
    Ok(json_response(StatusCode::OK, Some(caller.trace_id), &body))
}

/// Refuses an agent that does not serve.
fn check_serving(api: &Api, name: &Name) -> Result<(), Problem> {
    match api.router.find_serving(name) {
        Some(_) => Ok(()),
        None => Err(unknown_agent(api, name, "name")),
    }
}
