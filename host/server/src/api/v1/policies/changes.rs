//! Changes of operator policies: uploading, trying out, setting up, ordering, rolling back, taking out.
//!
//! An upload is one JSON document with the component in Base64 and its SHA-256, so that what was cut off or mixed up is refused. A policy's
//! `ETag` is its revision, which every change raises.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;
use utoipa_axum::routes;

use ark_model::ids::Name;
use ark_store::IdempotencyRecord;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiPath, ApiQuery, NoQuery};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::preconditions::{ExpectedRevision, Preconditions, with_etag};
use crate::api::http::preferences::PreferAsyncHeader;
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::operations::{NewOperation, OperationKind, OperationReceipt};
use crate::api::state::{Api, DescribedRoutes, Shared, UploadPlace};
use crate::api::v1::names::PolicyNamePath;
use crate::api::v1::operations::{OperationView, answer_operation};
use crate::api::v1::uploads::{change_request_of, receive_upload, upload_requester};
use crate::changes::ChangeRequest;
use crate::policies::{
    ChangeConditions, Policies, PolicyChangeError, PolicyChangeReceipt, PolicyRevision,
    PolicyUpload, SettingsReplacement,
};

use super::requests::{
    DeletePolicyQuery, PolicyPlace, PolicyRevisionRequest, PolicyRollbackRequest,
    PolicyRolloutRequest, PolicyUploadRequest,
};
use super::view::PolicyChanged;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(upload_policy, revise_policy, delete_policy))
        .routes(routes!(roll_out_policy))
        .routes(routes!(roll_back_policy))
}

/// Uploads a version of an operator policy and puts it in force, or on trial
///
/// The version is verified, compiled, set up and put to its own test vectors before anything changes; one that is refused leaves what was in
/// force in force, and `last_refused` of the policy says why. With `Prefer: respond-async` the answer comes before the version is compiled, with an
/// operation to ask for.
#[utoipa::path(put, path = "/v1/policies/{name}", operation_id = "upload_policy", tag = "policies",
    params(PolicyNamePath, Preconditions, PreferAsyncHeader),
    request_body = PolicyUploadRequest,
    responses(
        (status = 200, description = "The version is in force.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 202, description = "The quick checks have passed, and the component is being compiled; only with `Prefer: respond-async`.", body = OperationView,
            headers(("Location" = String, description = "The operation."), ("Preference-Applied" = String, description = "respond-async."), ("Retry-After" = String, description = "Seconds to wait before the operation is read."))),
        (status = 409, description = "The policy is at another revision, a file declares it, or its state does not allow the change."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays in force."),
    ))]
#[expect(
    clippy::too_many_arguments,
    reason = "each argument extracts its own part of the request"
)]
async fn upload_policy(
    State(api): Shared,
    caller: Caller,
    ApiPath(PolicyNamePath { name }): ApiPath<PolicyNamePath>,
    _: NoQuery,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(prefer): ApiHeaders<PreferAsyncHeader>,
    place: UploadPlace,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let uploaded = name.clone();
    let form: PolicyUploadRequest = receive_upload(
        &api,
        &caller,
        &headers,
        body,
        move |api, reason, request| {
            api.policies.refuse_upload(&uploaded, reason, request);
        },
    )
    .await?;
    let expected = preconditions.expected_revision(form.expected_revision)?;
    let request = upload_requester(&api, &caller, form.by, form.reason)?;
    let upload = PolicyUpload {
        component: form.component.0,
        sha256: form.sha256,
        signature: form.signature,
        settings: form.settings.map(|settings| settings.0),
        mode: form.mode.unwrap_or_default(),
        place: form.place.map(PolicyPlace::to_number),
    };
    let conditions = change_conditions(expected);
    let operation = api
        .run_blocking(move |api| {
            let _place = place;
            let explain = move |error: PolicyChangeError| expected.explain(error);
            api.policies
                .check_upload(&name, &upload, &conditions, &request)
                .map_err(explain)?;
            let new = NewOperation {
                kind: OperationKind::UploadPolicy,
                name: name.clone(),
                by: request.by.clone(),
                trace_id: request.trace_id,
                bytes: upload.component.len(),
            };
            let policies = api.policies.clone();
            let seen = policies.changes_seen(&name);
            api.operations.submit(new, move || {
                let changed = policies.upload_version(&name, upload, conditions, seen, &request);
                let changed = changed.map_err(explain)?;
                Ok(OperationReceipt::Policy(changed))
            })
        })
        .await??;
    answer_operation(&operation, &prefer).await
}

/// Gives an operator policy other settings, another mode or another place
///
/// The policy's component stays.
#[utoipa::path(patch, path = "/v1/policies/{name}", operation_id = "revise_policy", tag = "policies",
    params(PolicyNamePath, Preconditions),
    request_body = PolicyRevisionRequest,
    responses(
        (status = 200, description = "The policy was changed.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "The policy is at another revision, a file declares it, or its state does not allow the change."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays in force."),
    ))]
async fn revise_policy(
    State(api): Shared,
    caller: Caller,
    ApiPath(PolicyNamePath { name }): ApiPath<PolicyNamePath>,
    _: NoQuery,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiJson { form, .. }: ApiJson<PolicyRevisionRequest>,
) -> Result<Response, Problem> {
    let PolicyRevisionRequest(form) = form;
    let expected = preconditions.expected_revision(form.expected_revision)?;
    let request = change_request_of(&caller, form.by, form.reason)?;
    let settings = form
        .settings
        .map(|given| SettingsReplacement(given.0.map(|settings| settings.0)));
    let revision = PolicyRevision {
        settings,
        mode: form.mode,
        place: form.place.map(PolicyPlace::to_number),
    };
    let conditions = change_conditions(expected);
    change_policy(&api, expected, request, move |policies, request| {
        policies.revise_policy(&name, revision, conditions, request)
    })
    .await
}

/// Puts a kept version of an operator policy in force, or on trial
#[utoipa::path(post, path = "/v1/policies/{name}/rollout", operation_id = "roll_out_policy", tag = "policies",
    params(PolicyNamePath, Preconditions, IdempotencyHeader),
    request_body = PolicyRolloutRequest,
    responses(
        (status = 200, description = "The version is in force.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "The policy is at another revision, a file declares it, or its state does not allow the change."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The version is refused, or the conditions contradict each other; what was in force stays in force."),
    ))]
async fn roll_out_policy(
    State(api): Shared,
    caller: Caller,
    ApiPath(PolicyNamePath { name }): ApiPath<PolicyNamePath>,
    _: NoQuery,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<PolicyRolloutRequest>,
) -> Result<Response, Problem> {
    let expected = preconditions.expected_revision(form.expected_revision)?;
    let request = change_request_of(&caller, form.by, form.reason)?;
    let canonical = identify_change("roll_out_policy", "rollout", &name, expected, &body);
    let conditions = conditions_under_key(idempotency, expected, &request, &canonical);
    change_policy(&api, expected, request, move |policies, request| {
        let mode = form.mode.unwrap_or_default();
        policies.roll_out(&name, form.number.into(), mode, conditions, request)
    })
    .await
}

/// Enforces the version of an operator policy that was enforced before
#[utoipa::path(post, path = "/v1/policies/{name}/rollback", operation_id = "roll_back_policy", tag = "policies",
    params(PolicyNamePath, Preconditions, IdempotencyHeader),
    request_body = PolicyRollbackRequest,
    responses(
        (status = 200, description = "The version is in force.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "The policy is at another revision, a file declares it, or its state does not allow the change."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The version is refused, or the conditions contradict each other; what was in force stays in force."),
    ))]
async fn roll_back_policy(
    State(api): Shared,
    caller: Caller,
    ApiPath(PolicyNamePath { name }): ApiPath<PolicyNamePath>,
    _: NoQuery,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<PolicyRollbackRequest>,
) -> Result<Response, Problem> {
    let expected = preconditions.expected_revision(form.expected_revision)?;
    let request = change_request_of(&caller, form.by, form.reason)?;
    let canonical = identify_change("roll_back_policy", "rollback", &name, expected, &body);
    let conditions = conditions_under_key(idempotency, expected, &request, &canonical);
    change_policy(&api, expected, request, move |policies, request| {
        policies.roll_back(&name, conditions, request)
    })
    .await
}

/// Takes an operator policy out of force
///
/// With `mode=shadow` only its shadow version is taken out. Its stored versions stay.
#[utoipa::path(delete, path = "/v1/policies/{name}", operation_id = "delete_policy", tag = "policies",
    params(PolicyNamePath, DeletePolicyQuery, Preconditions),
    responses(
        (status = 200, description = "The policy is out of force.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "The policy is at another revision, a file declares it, or its state does not allow the change."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays in force."),
    ))]
async fn delete_policy(
    State(api): Shared,
    caller: Caller,
    ApiPath(PolicyNamePath { name }): ApiPath<PolicyNamePath>,
    ApiQuery(query): ApiQuery<DeletePolicyQuery>,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
) -> Result<Response, Problem> {
    let expected = preconditions.expected_revision(query.expected_revision)?;
    let request = change_request_of(&caller, query.by, query.reason)?;
    let only_shadow = query.mode.is_some();
    let conditions = change_conditions(expected);
    change_policy(&api, expected, request, move |policies, request| {
        policies.delete_policy(&name, only_shadow, conditions, request)
    })
    .await
}

const fn change_conditions(expected: ExpectedRevision) -> ChangeConditions {
    ChangeConditions {
        expected_revision: expected.revision,
        idempotency: None,
        legacy_request: None,
    }
}

/// The conditions of a change that is made once under its key.
fn conditions_under_key(
    idempotency: IdempotencyHeader,
    expected: ExpectedRevision,
    request: &ChangeRequest,
    canonical: &CanonicalRequest<'_>,
) -> ChangeConditions {
    let key = idempotency.for_request(canonical);
    ChangeConditions {
        expected_revision: expected.revision,
        legacy_request: key.as_ref().and_then(|key| key.legacy_digest),
        idempotency: key.map(|key| IdempotencyRecord {
            scope: format!("policy:{}", request.by),
            key: key.key,
            request: key.request_digest,
            answer: String::new(),
        }),
    }
}

fn identify_change<'a>(
    operation: &'static str,
    legacy_verb: &str,
    name: &Name,
    expected: ExpectedRevision,
    body: &'a [u8],
) -> CanonicalRequest<'a> {
    let revision = expected.revision;
    CanonicalRequest {
        operation,
        parameters: json!({"name": name, "expected_revision": revision}),
        body,
        legacy: format!(
            "{legacy_verb} {name} {} {revision:?}",
            String::from_utf8_lossy(body)
        ),
    }
}

/// Carries a change of a policy out on a thread that may block, and answers with its receipt.
async fn change_policy(
    api: &Arc<Api>,
    expected: ExpectedRevision,
    request: ChangeRequest,
    change: impl FnOnce(&Policies, &ChangeRequest) -> Result<PolicyChangeReceipt, PolicyChangeError>
    + Send
    + 'static,
) -> Result<Response, Problem> {
    let trace_id = request.trace_id;
    let receipt = api
        .run_blocking(move |api| change(&api.policies, &request))
        .await?
        .map_err(|error| expected.explain(error))?;
    let changed = PolicyChanged::from(receipt);
    let response = json_response(StatusCode::OK, Some(trace_id), &changed);
    Ok(with_etag(response, changed.revision))
}
