//! Versions of agents: `/v1/agents/{name}`, uploading, trying out, rolling out, rolling back, deleting.
//!
//! An upload is one JSON document with the manifest and the component in Base64: the manifest states the component's SHA-256, so that one
//! request is pinned as a whole, and what was cut off or mixed up is refused.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use utoipa_axum::routes;

use crate::agents::{AgentChangeReceipt, Requester};
use ark_model::check::FieldError;
use ark_model::form::{Fields, parse_json};
use ark_model::ids::{Name, Share};
use ark_model::principal::Principal;
use ark_runtime::{MAX_COMPONENT_BYTES, Manifest};
use ark_store::Trial;

use super::agent_view::{AgentDeleted, AgentLine, AgentPage, AgentShown, line, on_trial};
use super::control::{parsed_name, standing, words};
use super::envelope::{by_of, key_of_header};
use super::exchange::{Asked, json_answer, not_a, query_of, read_at_most, read_json, trace_of};
use super::openapi::{Described, KeyPageQuery, Keyed, ReasonQuery};
use super::operating::{in_database, limit_of, next_of, whole};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};

/// The most bytes of an upload: the largest component in Base64, and a manifest.
pub(super) const UPLOAD_BYTES: usize = MAX_COMPONENT_BYTES / 3 * 4 + 256 * 1024;
/// How long a client may take to send an upload.
pub(super) const UPLOAD_TIME: Duration = Duration::from_secs(60);
/// How many uploads are held in memory at a time.
pub(super) const UPLOADS: usize = 2;
/// Why something is done, unless it is said.
const NO_REASON: &str = "none given";

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(list))
        .routes(routes!(upload, show, delete))
        .routes(routes!(rollout))
        .routes(routes!(rollback))
        .routes(routes!(canary))
        .routes(routes!(component))
}

/// Lists the agents that serve, by name
#[utoipa::path(get, path = "/v1/agents", operation_id = "list_agents", tag = "agents", params(KeyPageQuery),
    responses((status = 200, description = "A page.", body = AgentPage)))]
async fn list(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    use std::sync::atomic::Ordering::Relaxed;
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let after = query.get("cursor");
    let mut seats = api.router.list_serving();
    seats.retain(|seat| after.is_none_or(|after| seat.name.as_str() > after.as_str()));
    seats.sort_by(|one, other| one.name.cmp(&other.name));
    seats.truncate(limit as usize);
    let agents = seats
        .iter()
        .map(|seat| {
            let manifest = seat.agent.manifest();
            AgentLine {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                description: manifest.description.clone(),
                sha256: seat.agent.digest(),
                topics: manifest.topics.clone(),
                actions: manifest.actions.clone(),
                capabilities: manifest.capabilities.clone(),
                handled: seat.handled.load(Relaxed),
                failed: seat.failed.load(Relaxed),
                waiting: seat.waiting_deliveries(),
                quarantined: api.guards.is_quarantined(&manifest.name),
            }
        })
        .collect();
    let page = AgentPage {
        next_cursor: next_of(&seats, limit, |seat| seat.name.to_string()),
        agents,
        refused: api.refused.clone(),
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upload {
    manifest: Manifest,
    component: String,
    #[serde(default = "yes")]
    rollout: bool,
    reason: Option<String>,
    by: Option<String>,
}

const fn yes() -> bool {
    true
}

/// Uploads a version of an agent
///
/// It is verified, compiled, checked and asked for a heartbeat before anything changes; a version that is refused leaves the old one
/// serving, and `last_refused` of the agent says why. Unless `rollout` is false it serves from then on.
#[utoipa::path(put, path = "/v1/agents/{name}", operation_id = "upload_agent", tag = "agents",
    params(("name" = Name, Path, description = "The agent.")),
    request_body = ref("#/components/schemas/UploadRequest"),
    responses(
        (status = 200, description = "It is kept, and serves if it should.", body = AgentChangeReceipt),
        (status = 422, description = "The version is refused; what served goes on."),
    ))]
async fn upload(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let name = parsed_name(name)?;
    let _place = api
        .uploads
        .try_acquire()
        .map_err(|_| Problem::busy("other uploads are under way"))?;
    let bytes = match read_at_most(&headers, body, UPLOAD_BYTES, UPLOAD_TIME).await {
        Ok(bytes) => bytes,
        Err(problem) => {
            let reason = problem.detail().to_owned();
            return Err(refused(&api, name, reason, &principal, &headers, problem).await);
        }
    };
    let parsed = off_reactor(&api, move |_| parse(&bytes)).await?;
    let (upload, component) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let reason = error.to_string();
            return Err(refused(&api, name, reason, &principal, &headers, error.into()).await);
        }
    };
    let order = order(&principal, upload.by, upload.reason.as_deref(), &headers)?;
    let trace_id = order.trace_id;
    let changed = off_reactor(&api, move |api| {
        api.agents
            .upload_version(&name, upload.manifest, component, upload.rollout, &order)
    })
    .await??;
    Ok(json_answer(StatusCode::OK, Some(trace_id), &changed))
}

async fn refused(
    api: &Arc<Api>,
    name: Name,
    reason: String,
    principal: &Principal,
    headers: &HeaderMap,
    problem: Problem,
) -> Problem {
    let Ok(order) = order(principal, None, None, headers) else {
        return problem;
    };
    let recorded = off_reactor(api, move |api| {
        api.agents.refuse_upload(&name, reason, &order)
    })
    .await;
    recorded.err().unwrap_or(problem)
}

fn parse(bytes: &[u8]) -> Result<(Upload, Vec<u8>), FieldError> {
    let mut document = parse_json(bytes)?;
    let limits = document.pointer_mut("/manifest/limits");
    for limit in limits.and_then(Value::as_object_mut).into_iter().flatten() {
        // `5.0` is a whole number in JSON.
        if let Some(number) = in_database(limit.1) {
            *limit.1 = Value::from(number);
        }
    }
    let upload: Upload = serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "body" } else { path.as_str() };
        FieldError::new(
            field,
            error.inner().to_string(),
            "send {\"manifest\": {…}, \"component\": \"BASE64\"}, and if you like rollout, reason, by",
        )
    })?;
    let component = STANDARD.decode(&upload.component).map_err(|error| {
        let remedy = "send the component in standard Base64 with padding";
        FieldError::new("component", format!("is not Base64: {error}"), remedy)
    })?;
    Ok((upload, component))
}

/// Lets a version of an agent serve
#[utoipa::path(post, path = "/v1/agents/{name}/rollout", operation_id = "roll_out_agent", tag = "agents",
    params(("name" = Name, Path, description = "The agent."), Keyed),
    request_body = ref("#/components/schemas/RolloutRequest"),
    responses(
        (status = 200, description = "It serves.", body = AgentChangeReceipt),
        (status = 409, description = "There is no such version to serve."),
        (status = 422, description = "The version is refused, or the idempotency key was used for another request."),
    ))]
async fn rollout(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let name = parsed_name(name)?;
    let document = read_json(&headers, body).await?;
    let key = key_of_header(&headers, &format!("rollout {name} {document}"))?;
    let mut fields = Fields::from_document(document, "")?;
    let number = whole(&mut fields, "number")?.ok_or_else(|| {
        let remedy =
            "give a version's number (GET /v1/agents/{name}), or 0 for the agents' directory";
        FieldError::new("number", "is missing", remedy)
    })?;
    let (reason, by) = (fields.take_text("reason")?, fields.take_text("by")?);
    fields.reject_unknown()?;
    let mut order = order(&principal, by, reason.as_deref(), &headers)?;
    order.idempotency_key = key.map(|key| (key.key, key.request_digest));
    let trace_id = order.trace_id;
    let changed =
        off_reactor(&api, move |api| api.agents.roll_out(&name, number, &order)).await??;
    Ok(json_answer(StatusCode::OK, Some(trace_id), &changed))
}

/// Tries a version of an agent out on a share of its signals
///
/// It is withdrawn when it fails. With a share of 0 the trial ends.
#[utoipa::path(post, path = "/v1/agents/{name}/canary", operation_id = "try_out_agent", tag = "agents",
    params(("name" = Name, Path, description = "The agent."), Keyed),
    request_body = ref("#/components/schemas/CanaryRequest"),
    responses(
        (status = 200, description = "It is on trial, or no more.", body = AgentChangeReceipt),
        (status = 409, description = "There is no such version, it serves already, or none is on trial."),
        (status = 422, description = "The version is refused, or the idempotency key was used for another request."),
    ))]
async fn canary(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let name = parsed_name(name)?;
    let document = read_json(&headers, body).await?;
    let key = key_of_header(&headers, &format!("canary {name} {document}"))?;
    let mut fields = Fields::from_document(document, "")?;
    let number = whole(&mut fields, "number")?;
    let share = fields.take_number("share")?.ok_or_else(|| {
        let remedy = "give the canary's part of the signals, e.g. 0.05 for 5 %; 0 ends the trial";
        FieldError::new("share", "is missing", remedy)
    })?;
    let (reason, by) = (fields.take_text("reason")?, fields.take_text("by")?);
    fields.reject_unknown()?;
    let trial = match (Share::new(share), number) {
        (Some(share), Some(number)) => Some(Trial { number, share }),
        (Some(_), None) => {
            let remedy = "give the number of the version to be tried out (GET /v1/agents/{name})";
            return Err(FieldError::new("number", "is missing", remedy).into());
        }
        (None, None) if share == 0.0 => None,
        (None, Some(_)) if share == 0.0 => {
            let remedy = "leave it out: a share of 0 ends whatever trial there is";
            return Err(FieldError::new("number", "goes with a share above 0", remedy).into());
        }
        (None, _) => {
            let share = share.to_string();
            return Err(not_a(
                "share",
                &share,
                "give a number above 0, at most 1; or 0",
            ));
        }
    };
    let mut order = order(&principal, by, reason.as_deref(), &headers)?;
    order.idempotency_key = key.map(|key| (key.key, key.request_digest));
    let trace_id = order.trace_id;
    let changed = off_reactor(&api, move |api| match trial {
        Some(trial) => api.agents.start_trial(&name, trial, &order),
        None => api.agents.end_trial(&name, &order),
    })
    .await??;
    Ok(json_answer(StatusCode::OK, Some(trace_id), &changed))
}

/// Lets the version of an agent serve that served before
#[utoipa::path(post, path = "/v1/agents/{name}/rollback", operation_id = "roll_back_agent", tag = "agents",
    params(("name" = Name, Path, description = "The agent."), Keyed),
    request_body = ref("#/components/schemas/RollbackAgentRequest"),
    responses(
        (status = 200, description = "It serves.", body = AgentChangeReceipt),
        (status = 409, description = "There is no version to go back to."),
        (status = 422, description = "The version is refused, or the idempotency key was used for another request."),
    ))]
async fn rollback(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let name = parsed_name(name)?;
    let document = read_json(&headers, body).await?;
    let key = key_of_header(&headers, &format!("rollback {name} {document}"))?;
    let mut fields = Fields::from_document(document, "")?;
    let (reason, by) = (fields.take_text("reason")?, fields.take_text("by")?);
    fields.reject_unknown()?;
    let mut order = order(&principal, by, reason.as_deref(), &headers)?;
    order.idempotency_key = key.map(|key| (key.key, key.request_digest));
    let trace_id = order.trace_id;
    let changed: AgentChangeReceipt =
        off_reactor(&api, move |api| api.agents.roll_back(&name, &order)).await??;
    Ok(json_answer(StatusCode::OK, Some(trace_id), &changed))
}

/// Lets no version of an agent serve any more
///
/// Its state and its versions stay. Refused while signals wait for it, unless `force` settles them as failed.
#[utoipa::path(delete, path = "/v1/agents/{name}", operation_id = "delete_agent", tag = "agents",
    params(
        ("name" = Name, Path, description = "The agent."),
        ("force" = Option<bool>, Query, description = "Settle what waits as failed."),
        ReasonQuery,
    ),
    responses(
        (status = 200, description = "It serves no more.", body = AgentDeleted),
        (status = 409, description = "Signals wait for it."),
    ))]
async fn delete(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query_of(query, &["force", "reason", "by"])?;
    let name = parsed_name(name)?;
    let force = match query.get("force").map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(not_a("force", other, "give true or false")),
    };
    let text = |field: &str| query.get(field).cloned();
    let order = order(&principal, text("by"), text("reason").as_deref(), &headers)?;
    let (trace_id, agent) = (order.trace_id, name.clone());
    let settled = off_reactor(&api, move |api| {
        api.agents.delete_agent(&name, force, &order)
    })
    .await??;
    Ok(json_answer(
        StatusCode::OK,
        Some(trace_id),
        &AgentDeleted {
            agent,
            deleted: true,
            failed_signals: settled,
        },
    ))
}

/// An agent: what serves, how it does, and its versions
#[utoipa::path(get, path = "/v1/agents/{name}", operation_id = "read_agent", tag = "agents",
    params(("name" = Name, Path, description = "The agent.")),
    responses((status = 200, description = "The agent.", body = AgentShown)))]
async fn show(State(api): Shared, name: PathText, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let name = parsed_name(name)?;
    let asked = name.clone();
    let kept = off_reactor(&api, move |api| api.agents.read_status(&asked)).await??;
    let seat = api.router.find_serving(&name);
    let unheard_of = seat.is_none() && kept.rollout.is_none() && kept.refused.is_none();
    if unheard_of {
        let detail = format!("there is no agent {name}; GET /v1/agents lists them");
        return Err(Problem::not_found(detail));
    }
    let serving = match &kept.rollout {
        Some(rollout) => rollout.serving,
        None => seat.as_ref().map(|_| 0),
    };
    let rollout = kept.rollout.as_ref();
    let mut shown = AgentShown {
        quarantine: api.guards.find_quarantine(&name),
        serving,
        previous: rollout.and_then(|rollout| rollout.previous),
        rolled_out_by: rollout.map(|rollout| rollout.by.clone()),
        rolled_out_at_ms: rollout.map(|rollout| rollout.at),
        versions: kept.versions.iter().map(|it| line(it, serving)).collect(),
        last_refused: kept.refused,
        name: name.to_string(),
        ..AgentShown::default()
    };
    if let Some(seat) = &seat {
        let standing = standing(&api, seat);
        let manifest = seat.agent.manifest();
        shown.quarantined = Some(standing.quarantined);
        shown.health = standing.health;
        shown.handled = Some(standing.handled);
        shown.failed = Some(standing.failed);
        shown.waiting = Some(standing.waiting);
        shown.version = Some(manifest.version.clone());
        shown.description = Some(manifest.description.clone());
        shown.sha256 = Some(seat.agent.digest());
        shown.topics = Some(manifest.topics.clone());
        shown.actions = Some(manifest.actions.clone());
        shown.capabilities = Some(manifest.capabilities.clone());
        shown.limits = Some(seat.agent.limits().clone());
        shown.canary = seat.canary().as_deref().map(on_trial);
    }
    Ok(json_answer(StatusCode::OK, None, &shown))
}

/// The component of an uploaded version, e.g. to replay a capsule on it
#[utoipa::path(get, path = "/v1/agents/{name}/versions/{number}/component", operation_id = "read_component", tag = "agents",
    params(
        ("name" = Name, Path, description = "The agent."),
        ("number" = u64, Path, description = "The version's number.", minimum = 1, maximum = 9_223_372_036_854_775_807_u64),
    ),
    responses((status = 200, description = "Its bytes.", content_type = "application/wasm", body = String)))]
async fn component(
    State(api): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Asked,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let Path((name, number)) =
        path.map_err(|rejection| FieldError::new("path", rejection.body_text(), "send UTF-8"))?;
    let name = parsed_name(Ok(Path(name)))?;
    let number: u64 = number
        .parse()
        .map_err(|_| not_a("number", &number, "give a version's number"))?;
    let bytes = off_reactor(&api, move |api| api.agents.read_component(&name, number)).await??;
    let wasm = HeaderValue::from_static("application/wasm");
    Ok(([(header::CONTENT_TYPE, wasm)], bytes).into_response())
}

/// Who wants it and why.
pub(super) fn order(
    principal: &Principal,
    by: Option<String>,
    reason: Option<&str>,
    headers: &HeaderMap,
) -> Result<Requester, Problem> {
    let by = words("by", &by_of(principal, "by", by)?)?;
    if by == crate::watchdog::WATCHDOG_ACTOR {
        return Err(not_a("by", &by, "give your own name"));
    }
    let reason = words("reason", reason.unwrap_or(NO_REASON))?;
    Ok(Requester {
        by,
        reason,
        trace_id: trace_of(headers, None)?,
        idempotency_key: None,
    })
}
