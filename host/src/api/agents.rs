//! Versions of agents: `/v1/agents/{name}`, uploading, trying out, rolling out, rolling back, deleting.
//!
//! An upload is one JSON document with the manifest and the component in Base64: the manifest states the component's SHA-256, so that one
//! request is pinned as a whole, and what was cut off or mixed up is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router as Routes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::agents::{ChangeError, Changed, Order};
use crate::model::check::FieldError;
use crate::model::form::Fields;
use crate::model::ids::{Name, Share};
use crate::model::principal::Principal;
use crate::router::Canary;
use crate::runtime::{LoadError, MAX_COMPONENT_BYTES, Manifest};
use crate::store::{AgentVersion, Trial};

use super::control::{parsed_name, standing, words};
use super::envelope::by_of;
use super::exchange::{Asked, json_answer, not_a, query_of, read_at_most, read_json, trace_of};
use super::operating::whole;
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};

/// The most bytes of an upload: the largest component in Base64, and a manifest.
const UPLOAD_BYTES: usize = MAX_COMPONENT_BYTES / 3 * 4 + 256 * 1024;
/// How long a client may take to send an upload.
const UPLOAD_TIME: Duration = Duration::from_secs(60);
/// How many uploads are held in memory at a time.
pub(super) const UPLOADS: usize = 2;
/// Why something is done, unless it is said.
const NO_REASON: &str = "none given";

pub(super) fn routes() -> Routes<Arc<Api>> {
    Routes::new()
        .route("/v1/agents/{name}", put(upload).get(show).delete(delete))
        .route("/v1/agents/{name}/rollout", post(rollout))
        .route("/v1/agents/{name}/rollback", post(rollback))
        .route("/v1/agents/{name}/canary", post(canary))
        .route(
            "/v1/agents/{name}/versions/{number}/component",
            get(component),
        )
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

/// Uploads a version and, unless `rollout` is false, lets it serve. Role: operator.
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
            .upload(&name, upload.manifest, component, upload.rollout, &order)
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
    let recorded = off_reactor(api, move |api| api.agents.refuse(&name, reason, &order)).await;
    recorded.err().unwrap_or(problem)
}

fn parse(bytes: &[u8]) -> Result<(Upload, Vec<u8>), FieldError> {
    let deserializer = &mut serde_json::Deserializer::from_slice(bytes);
    let upload: Upload = serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "body" } else { path.as_str() };
        FieldError::new(
            field,
            error.inner().to_string(),
            "send {\"manifest\": {…}, \"component\": \"BASE64\"}, and if you like rollout, reason, by",
        )
    })?;
    deserializer_ended(bytes)?;
    let component = STANDARD.decode(&upload.component).map_err(|error| {
        let remedy = "send the component in standard Base64 with padding";
        FieldError::new("component", format!("is not Base64: {error}"), remedy)
    })?;
    Ok((upload, component))
}

fn deserializer_ended(bytes: &[u8]) -> Result<(), FieldError> {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
        .map(drop)
        .map_err(|error| {
            let remedy = "send one JSON object in UTF-8";
            FieldError::new("body", format!("is not JSON: {error}"), remedy)
        })
}

/// Lets a version serve. Role: operator.
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
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let number = whole(&mut fields, "number")?.ok_or_else(|| {
        let remedy =
            "give a version's number (GET /v1/agents/{name}), or 0 for the agents' directory";
        FieldError::new("number", "is missing", remedy)
    })?;
    let (reason, by) = (fields.text("reason")?, fields.text("by")?);
    fields.finish()?;
    let order = order(&principal, by, reason.as_deref(), &headers)?;
    let trace_id = order.trace_id;
    let changed =
        off_reactor(&api, move |api| api.agents.roll_out(&name, number, &order)).await??;
    Ok(json_answer(StatusCode::OK, Some(trace_id), &changed))
}

/// Tries a version out on a share of the agent's signals, or with a share of 0 ends the trial. Role: operator.
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
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let number = whole(&mut fields, "number")?;
    let share = fields.number("share")?.ok_or_else(|| {
        let remedy = "give the canary's part of the signals, e.g. 0.05 for 5 %; 0 ends the trial";
        FieldError::new("share", "is missing", remedy)
    })?;
    let (reason, by) = (fields.text("reason")?, fields.text("by")?);
    fields.finish()?;
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
    let order = order(&principal, by, reason.as_deref(), &headers)?;
    let trace_id = order.trace_id;
    let changed = off_reactor(&api, move |api| match trial {
        Some(trial) => api.agents.try_out(&name, trial, &order),
        None => api.agents.end_trial(&name, &order),
    })
    .await??;
    Ok(json_answer(StatusCode::OK, Some(trace_id), &changed))
}

/// Lets the version serve that served before. Role: operator.
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
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let (reason, by) = (fields.text("reason")?, fields.text("by")?);
    fields.finish()?;
    let order = order(&principal, by, reason.as_deref(), &headers)?;
    let trace_id = order.trace_id;
    let changed: Changed =
        off_reactor(&api, move |api| api.agents.roll_back(&name, &order)).await??;
    Ok(json_answer(StatusCode::OK, Some(trace_id), &changed))
}

/// Lets no version serve any more. Role: operator.
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
    let settled = off_reactor(&api, move |api| api.agents.delete(&name, force, &order)).await??;
    Ok(json_answer(
        StatusCode::OK,
        Some(trace_id),
        &json!({"agent": agent, "deleted": true, "failed_signals": settled}),
    ))
}

/// An agent: what serves, how it does, and its versions. Role: reader.
async fn show(State(api): Shared, name: PathText, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let name = parsed_name(name)?;
    let asked = name.clone();
    let kept = off_reactor(&api, move |api| api.agents.standing(&asked)).await??;
    let seat = api.router.seat(&name);
    let unheard_of = seat.is_none() && kept.rollout.is_none() && kept.refused.is_none();
    if unheard_of {
        let detail = format!("there is no agent {name}; GET /v1/agents lists them");
        return Err(Problem::not_found(detail));
    }
    let mut body = json!({"name": name});
    if let Some(seat) = &seat {
        let manifest = seat.agent.manifest();
        body = standing(&api, seat);
        body["version"] = json!(manifest.version);
        body["description"] = json!(manifest.description);
        body["sha256"] = json!(seat.agent.digest());
        body["topics"] = json!(manifest.topics);
        body["actions"] = json!(manifest.actions);
        body["capabilities"] = json!(manifest.capabilities);
        body["limits"] = json!(seat.agent.limits());
        body["canary"] = json!(seat.canary().as_deref().map(on_trial));
    }
    let serving = match &kept.rollout {
        Some(rollout) => rollout.serving,
        None => seat.as_ref().map(|_| 0),
    };
    body["quarantine"] = json!(api.guards.quarantine(&name));
    body["serving"] = json!(serving);
    body["previous"] = json!(kept.rollout.as_ref().and_then(|it| it.previous));
    body["rolled_out_by"] = json!(kept.rollout.as_ref().map(|it| &it.by));
    body["rolled_out_at_ms"] = json!(kept.rollout.as_ref().map(|it| it.at));
    body["versions"] = kept.versions.iter().map(|it| line(it, serving)).collect();
    body["last_refused"] = json!(kept.refused);
    Ok(json_answer(StatusCode::OK, None, &body))
}

fn on_trial(canary: &Canary) -> Value {
    json!({
        "number": canary.number,
        "version": canary.agent.manifest().version,
        "sha256": canary.agent.digest(),
        "share": canary.share,
        "handled": canary.handled.load(Ordering::Relaxed),
        "failed": canary.failed.load(Ordering::Relaxed),
    })
}

fn line(version: &AgentVersion, serving: Option<u64>) -> Value {
    let manifest: Value = serde_json::from_str(&version.manifest_json).unwrap_or_default();
    json!({
        "number": version.number,
        "version": manifest["version"],
        "sha256": version.sha256,
        "bytes": version.bytes,
        "uploaded_by": version.by,
        "uploaded_at_ms": version.at,
        "serving": serving == Some(version.number),
        "manifest": manifest,
    })
}

/// The component of an uploaded version, e.g. to replay a capsule on it. Role: reader.
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
    let bytes = off_reactor(&api, move |api| api.agents.component(&name, number)).await??;
    let wasm = HeaderValue::from_static("application/wasm");
    Ok(([(header::CONTENT_TYPE, wasm)], bytes).into_response())
}

/// Who wants it and why.
fn order(
    principal: &Principal,
    by: Option<String>,
    reason: Option<&str>,
    headers: &HeaderMap,
) -> Result<Order, Problem> {
    let by = words("by", &by_of(principal, "by", by)?)?;
    if by == crate::watchdog::WATCHDOG {
        return Err(not_a("by", &by, "give your own name"));
    }
    let reason = words("reason", reason.unwrap_or(NO_REASON))?;
    Ok(Order {
        by,
        reason,
        trace_id: trace_of(headers, None)?,
    })
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        let refused = |field: &str, remedy: &str| {
            let title = "The version is refused; what served goes on";
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "agent-refused",
                title,
                detail.clone(),
            )
            .at(field, remedy)
        };
        match error {
            ChangeError::Manifest(_) => refused("manifest", "correct the manifest"),
            ChangeError::OtherName { .. } => {
                refused("manifest.name", "upload it under its own name")
            }
            ChangeError::Load(LoadError::WrongDigest { .. }) => {
                refused("manifest.sha256", "state the SHA-256 of these bytes")
            }
            ChangeError::Load(LoadError::WrongMetadata { field, .. }) => refused(
                &format!("manifest.{field}"),
                "let manifest and component agree",
            ),
            ChangeError::Load(LoadError::Limits(limit)) => refused(
                &format!("manifest.limits.{}", limit.field),
                "stay within the operator's ceiling (GET /v1/watchdog)",
            ),
            ChangeError::Load(_) => refused("component", "see `ark inspect FILE`"),
            ChangeError::Heartbeat(_) => refused("component", "see `ark agent test`"),
            ChangeError::NoAgent(_) => {
                Self::not_found(detail).at("name", "GET /v1/agents lists them")
            }
            ChangeError::NoVersion { .. } => {
                Self::not_found(detail).at("number", "GET /v1/agents/{name} lists the versions")
            }
            ChangeError::NoPrevious(_) | ChangeError::Directory(_) => Self::new(
                StatusCode::CONFLICT,
                "no-such-version",
                "There is no version to serve",
                detail,
            )
            .at(
                "number",
                "roll out a version that GET /v1/agents/{name} lists",
            ),
            ChangeError::Serves { .. } => Self::new(
                StatusCode::CONFLICT,
                "version-serves",
                "The version serves already",
                detail,
            )
            .at("number", "try out another version than the one that serves"),
            ChangeError::NoTrial(_) => Self::new(
                StatusCode::CONFLICT,
                "no-trial",
                "No version is on trial",
                detail,
            )
            .at("share", "begin a trial with a number and a share above 0"),
            ChangeError::Waiting { .. } => Self::new(
                StatusCode::CONFLICT,
                "signals-wait",
                "Signals wait for the agent",
                detail,
            )
            .at("force", "wait until they are handled, or give force=true"),
            ChangeError::Read(error) => error.into(),
            ChangeError::Commit(error) => error.into(),
            ChangeError::Router(error) => error.into(),
            ChangeError::Broken { .. } => Self::unavailable(detail),
        }
    }
}
