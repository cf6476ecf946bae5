//! Versions of agents: `/v1/agents/{name}`, uploading, trying out, rolling out, rolling back, deleting.
//!
//! An upload is one JSON document with the manifest and the component in Base64: the manifest states the component's SHA-256, so that one
//! request is pinned as a whole, and what was cut off or mixed up is refused.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use ark_model::check::FieldError;
use ark_model::ids::{Name, Share};
use ark_runtime::Manifest;
use ark_store::CanaryVersion;

use crate::agents::{AgentChangeError, AgentChangeReceipt, Agents, ChangeRequest};
use crate::api::auth::Caller;
use crate::api::http::extract::{
    ApiHeaders, ApiJson, ApiPath, ApiQuery, NoQuery, RequestBody, read_described, request_body,
};
use crate::api::http::fields::{Actor, Reason, VersionNumber, number_field};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::pagination::{KeyPageQuery, next_cursor};
use crate::api::http::preconditions::tagged_response;
use crate::api::http::preferences::PreferAsyncHeader;
use crate::api::http::problem::Problem;
use crate::api::http::respond::{bytes_response, json_response};
use crate::api::operations::{NewOperation, OperationKind, OperationReceipt};
use crate::api::state::{Api, DescribedRoutes, Shared, UploadPlace};
use crate::changes::ChangeKey;

use super::view::{AgentChanged, AgentDeleted, AgentLine, AgentPage, AgentShown};
use crate::api::v1::names::{AgentNamePath, unknown_agent};
use crate::api::v1::operations::{OperationView, answer_operation};
use crate::api::v1::uploads::{
    ComponentBytes, VersionPath, change_request_of, receive_upload, upload_requester,
};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_agents))
        .routes(routes!(upload_agent, show_agent, delete_agent))
        .routes(routes!(roll_out_agent))
        .routes(routes!(roll_back_agent))
        .routes(routes!(try_out_agent))
        .routes(routes!(read_component))
}

/// A version of an agent: manifest and component in one, so that what was cut off or mixed up is refused. The component may have 64 MiB.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UploadRequest {
    /// What the agent is, and the SHA-256 of its component.
    manifest: Manifest,
    /// The component in standard Base64 with padding.
    component: ComponentBytes,
    /// Whether it serves from now on, also if left out; else it is kept until it is rolled out.
    rollout: Option<bool>,
    /// Why, for the audit log.
    reason: Option<Reason>,
    by: Option<Actor>,
}

/// Which version is to serve.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RolloutRequest {
    /// The version's number (GET /v1/agents/{name}), or 0 for the agents' directory.
    number: VersionNumber,
    /// Why, for the audit log.
    reason: Option<Reason>,
    by: Option<Actor>,
}

/// The version that served before is to serve again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RollbackAgentRequest {
    /// Why, for the audit log.
    reason: Option<Reason>,
    by: Option<Actor>,
}

number_field! {
    /// A part of an agent's signals: 0.05 is 5 %.
    CanaryShare("a number above 0, at most 1; or 0 without a number to end the trial", accepts: |share| share > 0.0 && share <= 1.0, schema: |schema| schema.exclusive_minimum(Some(0)).maximum(Some(1)))
}

number_field! {
    /// No part of an agent's signals.
    NoShare("a number above 0, at most 1, with the number of a version; or 0 to end the trial", accepts: |share| share == 0.0, schema: |schema| schema.minimum(Some(0)).maximum(Some(0)))
}

/// A trial of a version.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CanaryTrial {
    /// The version's number (GET /v1/agents/{name}), or 0 for the agents' directory.
    number: VersionNumber,
    /// Its part of the signals: 0.05 is 5 %.
    share: CanaryShare,
    /// Why, for the audit log.
    reason: Option<Reason>,
    by: Option<Actor>,
}

/// The end of the trial.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CanaryEnd {
    /// 0 ends the trial there is.
    #[serde(rename = "share")]
    _share: NoShare,
    /// Why, for the audit log.
    reason: Option<Reason>,
    by: Option<Actor>,
}

/// Which version is tried out, and on how much.
#[derive(ToSchema)]
#[serde(untagged)]
enum CanaryRequest {
    Trial(CanaryTrial),
    End(CanaryEnd),
}

impl RequestBody for CanaryRequest {
    fn from_document(document: Value) -> Result<Self, FieldError> {
        let ends = document.get("share").and_then(Value::as_f64) == Some(0.0);
        let has_number = document
            .get("number")
            .is_some_and(|number| !number.is_null());
        if ends && has_number {
            let problem = "is given with a share of 0";
            let remedy = "leave it out: a share of 0 ends whatever trial there is";
            return Err(FieldError::new("number", problem, remedy));
        }
        if ends {
            read_described(document).map(Self::End)
        } else {
            read_described(document).map(Self::Trial)
        }
    }
}

request_body!(UploadRequest, RolloutRequest, RollbackAgentRequest);

/// Who deletes an agent, and why.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DeleteAgentQuery {
    /// Whether waiting signals are failed; otherwise they refuse the deletion.
    force: Option<bool>,
    /// Why, for the audit log.
    #[param(inline)]
    reason: Option<Reason>,
    /// Who does it. With a token its name, which may be left out.
    #[param(inline)]
    by: Option<Actor>,
}

/// Lists the agents that serve, by name
#[utoipa::path(get, path = "/v1/agents", operation_id = "list_agents", tag = "agents", params(KeyPageQuery),
    responses((status = 200, description = "A page.", body = AgentPage, headers(("ETag" = String, description = "The digest of the answer.")))))]
async fn list_agents(
    State(api): Shared,
    ApiQuery(query): ApiQuery<KeyPageQuery>,
) -> Result<Response, Problem> {
    let (limit, after) = query.into_parts();
    let mut serving = api.router.list_serving();
    serving.retain(|slot| {
        after
            .as_ref()
            .is_none_or(|after| slot.name.as_str() > after.as_str())
    });
    serving.sort_by(|one, other| one.name.cmp(&other.name));
    serving.truncate(limit as usize);
    let page = AgentPage {
        next_cursor: next_cursor(&serving, limit, |slot| slot.name.to_string()),
        agents: serving
            .iter()
            .map(|slot| AgentLine::from_serving(&api, slot))
            .collect(),
        refused: api.refused_agents.iter().map(Into::into).collect(),
    };
    Ok(tagged_response(&page))
}

/// Uploads a version of an agent
///
/// The version is verified, compiled, checked and asked for a heartbeat before anything changes; one that is refused leaves the old one
/// serving, and `last_refused` of the agent says why. Unless `rollout` is false the version serves from then on. Compiling a large component takes
/// minutes: with `Prefer: respond-async` the answer comes before, with an operation to ask for.
#[utoipa::path(put, path = "/v1/agents/{name}", operation_id = "upload_agent", tag = "agents", params(AgentNamePath, PreferAsyncHeader),
    request_body = UploadRequest,
    responses(
        (status = 200, description = "The version is stored, and serves unless `rollout` says otherwise.", body = AgentChanged),
        (status = 202, description = "The quick checks have passed, and the component is being compiled; only with `Prefer: respond-async`.", body = OperationView,
            headers(("Location" = String, description = "The operation."), ("Preference-Applied" = String, description = "respond-async."), ("Retry-After" = String, description = "Seconds to wait before the operation is read."))),
        (status = 422, description = "The version is refused; the serving version is unchanged."),
    ))]
#[expect(
    clippy::too_many_arguments,
    reason = "each argument extracts its own part of the request"
)]
async fn upload_agent(
    State(api): Shared,
    caller: Caller,
    ApiPath(AgentNamePath { name }): ApiPath<AgentNamePath>,
    _: NoQuery,
    ApiHeaders(prefer): ApiHeaders<PreferAsyncHeader>,
    place: UploadPlace,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let uploaded = name.clone();
    let form: UploadRequest = receive_upload(
        &api,
        &caller,
        &headers,
        body,
        move |api, reason, request| {
            api.agents.refuse_upload(&uploaded, reason, request);
        },
    )
    .await?;
    let request = upload_requester(&api, &caller, form.by, form.reason)?;
    let rollout = form.rollout.unwrap_or(true);
    let (manifest, component) = (form.manifest, form.component.0);
    let operation = api
        .run_blocking(move |api| {
            let _place = place;
            api.agents
                .check_upload(&name, &manifest, &component, &request)?;
            let new = NewOperation {
                kind: OperationKind::UploadAgent,
                name: name.clone(),
                by: request.by.clone(),
                trace_id: request.trace_id,
                bytes: component.len(),
            };
            let agents = api.agents.clone();
            let rollout = rollout.then(|| agents.changes_seen(&name));
            api.operations.submit(new, move || {
                let changed =
                    agents.upload_version(&name, manifest, component, rollout, &request)?;
                Ok(OperationReceipt::Agent(changed))
            })
        })
        .await??;
    answer_operation(&operation, &prefer).await
}

/// Carries a change of an agent out on a thread that may block, and answers with its receipt.
async fn change_agent(
    api: &Arc<Api>,
    request: ChangeRequest,
    change: impl FnOnce(&Agents, &ChangeRequest) -> Result<AgentChangeReceipt, AgentChangeError>
    + Send
    + 'static,
) -> Result<Response, Problem> {
    let trace_id = request.trace_id;
    let receipt = api
        .run_blocking(move |api| change(&api.agents, &request))
        .await??;
    let changed = AgentChanged::from(receipt);
    Ok(json_response(StatusCode::OK, Some(trace_id), &changed))
}

/// The key of a change, with the digest of its request.
fn identify_change(
    idempotency: IdempotencyHeader,
    operation: &'static str,
    legacy_verb: &str,
    name: &Name,
    body: &Bytes,
) -> Option<ChangeKey> {
    let document = ark_model::form::parse_json(body).unwrap_or_default();
    let key = idempotency.for_request(&CanonicalRequest {
        operation,
        parameters: json!({"name": name}),
        body,
        legacy: format!("{legacy_verb} {name} {document}"),
    })?;
    Some(ChangeKey {
        key: key.key,
        request: key.request_digest,
        legacy_request: key.legacy_digest,
    })
}

/// Rolls out a version of an agent
#[utoipa::path(post, path = "/v1/agents/{name}/rollout", operation_id = "roll_out_agent", tag = "agents",
    params(AgentNamePath, IdempotencyHeader),
    request_body = RolloutRequest,
    responses(
        (status = 200, description = "The version serves.", body = AgentChanged),
        (status = 409, description = "There is no such version to serve."),
        (status = 422, description = "The version is refused."),
    ))]
async fn roll_out_agent(
    State(api): Shared,
    caller: Caller,
    ApiPath(AgentNamePath { name }): ApiPath<AgentNamePath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<RolloutRequest>,
) -> Result<Response, Problem> {
    let mut request = change_request_of(&caller, form.by, form.reason)?;
    request.idempotency_key =
        identify_change(idempotency, "roll_out_agent", "rollout", &name, &body);
    change_agent(&api, request, move |agents, request| {
        agents.roll_out(&name, form.number.into(), request)
    })
    .await
}

/// Starts or ends a canary of an agent on a share of its signals
///
/// The version is withdrawn when it fails. With a share of 0 the trial ends.
#[utoipa::path(post, path = "/v1/agents/{name}/canary", operation_id = "try_out_agent", tag = "agents",
    params(AgentNamePath, IdempotencyHeader),
    request_body = CanaryRequest,
    responses(
        (status = 200, description = "The trial has begun, or has ended.", body = AgentChanged),
        (status = 409, description = "There is no such version, the version serves already, or none is on trial."),
        (status = 422, description = "The version is refused."),
    ))]
async fn try_out_agent(
    State(api): Shared,
    caller: Caller,
    ApiPath(AgentNamePath { name }): ApiPath<AgentNamePath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<CanaryRequest>,
) -> Result<Response, Problem> {
    let (canary, by, reason) = match form {
        CanaryRequest::Trial(form) => {
            let number = form.number.into();
            let share = Share::new(form.share.into());
            let canary = share.map(|share| CanaryVersion { number, share });
            (canary, form.by, form.reason)
        }
        CanaryRequest::End(form) => (None, form.by, form.reason),
    };
    let mut request = change_request_of(&caller, by, reason)?;
    request.idempotency_key = identify_change(idempotency, "try_out_agent", "canary", &name, &body);
    change_agent(&api, request, move |agents, request| match canary {
        Some(canary) => agents.start_canary(&name, canary, request),
        None => agents.end_canary(&name, request),
    })
    .await
}

/// Rolls back to the version of an agent before
#[utoipa::path(post, path = "/v1/agents/{name}/rollback", operation_id = "roll_back_agent", tag = "agents",
    params(AgentNamePath, IdempotencyHeader),
    request_body = RollbackAgentRequest,
    responses(
        (status = 200, description = "The version before serves.", body = AgentChanged),
        (status = 409, description = "There is no version to go back to."),
        (status = 422, description = "The version is refused."),
    ))]
async fn roll_back_agent(
    State(api): Shared,
    caller: Caller,
    ApiPath(AgentNamePath { name }): ApiPath<AgentNamePath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<RollbackAgentRequest>,
) -> Result<Response, Problem> {
    let mut request = change_request_of(&caller, form.by, form.reason)?;
    request.idempotency_key =
        identify_change(idempotency, "roll_back_agent", "rollback", &name, &body);
    change_agent(&api, request, move |agents, request| {
        agents.roll_back(&name, request)
    })
    .await
}

/// Takes an agent out of service
///
/// The agent's state and versions stay. The call is refused while signals wait for the agent, unless `force` fails them.
#[utoipa::path(delete, path = "/v1/agents/{name}", operation_id = "delete_agent", tag = "agents", params(AgentNamePath, DeleteAgentQuery),
    responses(
        (status = 200, description = "No version of the agent serves.", body = AgentDeleted),
        (status = 409, description = "Signals wait for the agent."),
    ))]
async fn delete_agent(
    State(api): Shared,
    caller: Caller,
    ApiPath(AgentNamePath { name }): ApiPath<AgentNamePath>,
    ApiQuery(query): ApiQuery<DeleteAgentQuery>,
) -> Result<Response, Problem> {
    let request = change_request_of(&caller, query.by, query.reason)?;
    let force = query.force.unwrap_or(false);
    let agent = name.clone();
    let failed_signals = api
        .run_blocking(move |api| api.agents.delete_agent(&name, force, &request))
        .await??;
    let body = AgentDeleted {
        agent,
        deleted: true,
        failed_signals,
    };
    Ok(json_response(StatusCode::OK, Some(caller.trace_id), &body))
}

/// Reads an agent: the serving version, its condition, and its versions
#[utoipa::path(get, path = "/v1/agents/{name}", operation_id = "read_agent", tag = "agents", params(AgentNamePath),
    responses((status = 200, description = "The agent.", body = AgentShown, headers(("ETag" = String, description = "The digest of the answer.")))))]
async fn show_agent(
    State(api): Shared,
    ApiPath(AgentNamePath { name }): ApiPath<AgentNamePath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let asked = name.clone();
    let kept = api
        .run_blocking(move |api| api.agents.read_status(&asked))
        .await??;
    let slot = api.router.find_serving(&name);
    if slot.is_none() && kept.rollout.is_none() && kept.refused.is_none() {
        return Err(unknown_agent(&api, &name, "name"));
    }
    let mut shown = AgentShown::from_kept(&api, &name, kept, slot.is_some());
    if let Some(slot) = &slot {
        shown.add_serving(&api, slot);
    }
    Ok(tagged_response(&shown))
}

/// Reads the component of an uploaded version, e.g. to replay a capsule on it
#[utoipa::path(get, path = "/v1/agents/{name}/versions/{number}/component", operation_id = "read_component", tag = "agents",
    params(VersionPath),
    responses((status = 200, description = "The component's bytes.", content_type = "application/wasm", body = String)))]
async fn read_component(
    State(api): Shared,
    ApiPath(VersionPath { name, number }): ApiPath<VersionPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let bytes = api
        .run_blocking(move |api| api.agents.read_component(&name, number.into()))
        .await??;
    Ok(bytes_response("application/wasm", bytes.into()))
}
