//! Operator policies: `/v1/policies`. Uploading, trying out, setting up, ordering, rolling back, taking out.
//!
//! An upload is one JSON document with the component in Base64 and its SHA-256, so that what was cut off or mixed up is refused. A policy's
//! `ETag` is its revision, which every change raises.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::routes;

use ark_model::check::FieldError;
use ark_model::ids::{Digest, Name};
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;
use ark_store::{IdempotencyRecord, PolicyVersion};

use crate::api::auth::Caller;
use crate::api::http::extract::{
    ApiHeaders, ApiJson, ApiPath, ApiQuery, NoQuery, RequestBody, read_described, request_body,
};
use crate::api::http::fields::{
    Actor, JsonValue, Reason, RevisionNumber, VersionNumber, field_schema, integer_field,
};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::pagination::{KeyPageQuery, next_cursor};
use crate::api::http::preconditions::{ExpectedRevision, Preconditions, with_etag};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{bytes_response, json_response};
use crate::api::state::{Api, DescribedRoutes, Shared, UploadPlace};
use crate::changes::Requester;
use crate::hrm::chain::ConfiguredPolicy;
use crate::policies::{
    ChangeConditions, LAST_PLACE, Policies, PolicyChangeError, PolicyChangeReceipt, PolicyRevision,
    PolicyStatus, PolicyUpload, SettingsReplacement,
};

use super::names::PolicyNamePath;
use super::policy_view::{
    PolicyChanged, PolicyPage, PolicyShown, PolicyVersionShown, doing, enforced_of, line, rules_of,
    summary,
};
use super::uploads::{ComponentBytes, VersionPath, change_requester, receive_upload};

/// How many of a policy's versions are shown with it.
const SHOWN_VERSIONS: usize = 50;

pub(crate) fn routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_policies))
        .routes(routes!(
            show_policy,
            upload_policy,
            revise_policy,
            delete_policy
        ))
        .routes(routes!(roll_out_policy))
        .routes(routes!(roll_back_policy))
        .routes(routes!(show_version))
        .routes(routes!(read_component))
}

/// A policy's settings, of which it says itself what they may be. 64 KiB at most.
#[derive(Deserialize)]
#[serde(transparent)]
struct PolicySettings(Settings);

field_schema! {
    /// A policy's settings, of which it says itself what they may be. 64 KiB at most.
    PolicySettings => ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(utoipa::openapi::Ref::from_schema_name(JsonValue::name())))
}

integer_field! {
    /// A policy's place among the others: lower ones are asked first, equal ones by name.
    PolicyPlace("0 to 1000000; lower ones are asked first", 0..=u64::from(LAST_PLACE))
}

impl PolicyPlace {
    fn to_order(self) -> u32 {
        u32::try_from(self.0).unwrap_or(LAST_PLACE)
    }
}

/// A version of an operator policy: its component pinned by its digest. The component may have 32 MiB.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicyUploadRequest {
    /// The component in standard Base64 with padding.
    component: ComponentBytes,
    /// The component's SHA-256.
    sha256: Digest,
    /// Its settings; none if left out.
    settings: Option<PolicySettings>,
    /// Whether its verdicts count (`enforce`, also if left out) or are recorded and compared (`shadow`).
    mode: Option<PolicyMode>,
    /// Its place among the others; as it was, or the last, if left out.
    order: Option<PolicyPlace>,
    /// The revision that must still be the latest; 0: there must be none. In place of `If-Match` or `If-None-Match`.
    expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    reason: Option<Reason>,
    /// Who does it. With a token its name, which may be left out; without one `operator` if left out.
    by: Option<Actor>,
}

/// What is to be different of a policy whose component stays; at least one of settings, mode and order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevisionFields {
    /// Its settings; `null`: none.
    #[serde(default, deserialize_with = "deserialize_given")]
    #[schema(value_type = Option<PolicySettings>)]
    settings: Option<GivenSettings>,
    /// Whether its verdicts count (`enforce`) or are recorded and compared (`shadow`).
    mode: Option<PolicyMode>,
    /// Its place among the others.
    order: Option<PolicyPlace>,
    /// The revision that must still be the latest. In place of `If-Match`.
    expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    reason: Option<Reason>,
    /// Who does it. With a token its name, which may be left out; without one `operator` if left out.
    by: Option<Actor>,
}

/// Settings that are given, possibly as `null`.
#[derive(Deserialize)]
#[serde(transparent)]
struct GivenSettings(Option<PolicySettings>);

/// Tells `null` from a field that is left out.
fn deserialize_given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<GivenSettings>, D::Error> {
    GivenSettings::deserialize(deserializer).map(Some)
}

/// [`RevisionFields`] of which at least one changes something.
struct PolicyRevisionRequest(RevisionFields);

impl PolicyRevisionRequest {
    /// The fields that change something, and whether `null` does.
    const CHANGES: [(&str, bool); 3] = [("settings", true), ("mode", false), ("order", false)];
}

impl RequestBody for PolicyRevisionRequest {
    fn from_document(document: Value) -> Result<Self, FieldError> {
        let fields: RevisionFields = read_described(document)?;
        if fields.settings.is_none() && fields.mode.is_none() && fields.order.is_none() {
            let remedy = "give some of settings (null: none), mode (enforce or shadow) and order";
            return Err(FieldError::new("body", "changes nothing", remedy));
        }
        Ok(Self(fields))
    }
}

impl PartialSchema for PolicyRevisionRequest {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(fields)) = RevisionFields::schema() else {
            return RevisionFields::schema();
        };
        let alternatives = Self::CHANGES.map(|(name, is_nullable)| {
            let mut object = fields.clone();
            object.required = vec![name.to_owned()];
            if !is_nullable && let Some(field) = object.properties.get_mut(name) {
                without_null(field);
            }
            object
        });
        let schema = alternatives
            .into_iter()
            .fold(AnyOfBuilder::new(), AnyOfBuilder::item);
        schema.description(fields.description.clone()).into()
    }
}

impl ToSchema for PolicyRevisionRequest {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("PolicyRevisionRequest")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        RevisionFields::schemas(schemas);
    }
}

/// The alternative of a schema that is not `null`.
fn without_null(schema: &mut RefOr<Schema>) {
    let alternative = match schema {
        RefOr::T(Schema::OneOf(one_of)) => {
            let mut items = one_of.items.iter();
            items.find(|item| matches!(item, RefOr::Ref(_))).cloned()
        }
        _ => None,
    };
    if let Some(alternative) = alternative {
        *schema = alternative;
    }
}

/// Which version is to be in force.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicyRolloutRequest {
    /// The version's number (GET /v1/policies/{name}).
    number: VersionNumber,
    /// Whether its verdicts count (`enforce`, also if left out) or are recorded and compared (`shadow`).
    mode: Option<PolicyMode>,
    /// The revision that must still be the latest. In place of `If-Match`.
    expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    reason: Option<Reason>,
    /// Who does it. With a token its name, which may be left out; without one `operator` if left out.
    by: Option<Actor>,
}

/// The version that was enforced before is to be so again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicyRollbackRequest {
    /// The revision that must still be the latest. In place of `If-Match`.
    expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    reason: Option<Reason>,
    /// Who does it. With a token its name, which may be left out; without one `operator` if left out.
    by: Option<Actor>,
}

request_body!(
    PolicyUploadRequest,
    PolicyRolloutRequest,
    PolicyRollbackRequest
);

/// What of a policy is taken out of force, unless all of it is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OnlyShadow {
    Shadow,
}

/// What is taken out of force, by whom and why.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    /// Only what is on trial.
    #[param(inline)]
    mode: Option<OnlyShadow>,
    /// The revision that must still be the latest. In place of `If-Match`.
    #[param(inline)]
    expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    #[param(inline)]
    reason: Option<Reason>,
    /// Who does it. With a token its name, which may be left out.
    #[param(inline)]
    by: Option<Actor>,
}

/// Uploads a version of an operator policy and puts it in force, or on trial
///
/// It is verified, compiled, set up and put to its own test vectors before anything changes; a version that is refused leaves what was in
/// force in force, and `last_refused` of the policy says why.
#[utoipa::path(put, path = "/v1/policies/{name}", operation_id = "upload_policy", tag = "policies",
    params(PolicyNamePath, Preconditions),
    request_body = PolicyUploadRequest,
    responses(
        (status = 200, description = "It is in force.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays."),
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
    _place: UploadPlace,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let uploaded = name.clone();
    let form: PolicyUploadRequest = receive_upload(
        &api,
        &caller,
        &headers,
        body,
        move |api, reason, requester| {
            api.policies.refuse_upload(&uploaded, reason, requester);
        },
    )
    .await?;
    let expected = preconditions.expected_revision(form.expected_revision)?;
    let order = change_requester(&caller, form.by, form.reason)?;
    let upload = PolicyUpload {
        component: form.component.0,
        sha256: form.sha256,
        settings: form.settings.map(|settings| settings.0),
        mode: form.mode.unwrap_or_default(),
        order: form.order.map(PolicyPlace::to_order),
    };
    let terms = conditions(expected);
    change_policy(&api, expected, order, move |policies, order| {
        policies.upload_version(&name, upload, terms, order)
    })
    .await
}

/// Gives an operator policy other settings, another mode or another place
///
/// Its component stays.
#[utoipa::path(patch, path = "/v1/policies/{name}", operation_id = "revise_policy", tag = "policies",
    params(PolicyNamePath, Preconditions),
    request_body = PolicyRevisionRequest,
    responses(
        (status = 200, description = "It is so.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays."),
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
    let order = change_requester(&caller, form.by, form.reason)?;
    let settings = form
        .settings
        .map(|given| SettingsReplacement(given.0.map(|settings| settings.0)));
    let revision = PolicyRevision {
        settings,
        mode: form.mode,
        order: form.order.map(PolicyPlace::to_order),
    };
    let terms = conditions(expected);
    change_policy(&api, expected, order, move |policies, order| {
        policies.revise_policy(&name, revision, terms, order)
    })
    .await
}

/// Puts a kept version of an operator policy in force, or on trial
#[utoipa::path(post, path = "/v1/policies/{name}/rollout", operation_id = "roll_out_policy", tag = "policies",
    params(PolicyNamePath, Preconditions, IdempotencyHeader),
    request_body = PolicyRolloutRequest,
    responses(
        (status = 200, description = "It is in force.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The version is refused, the conditions contradict each other, or the idempotency key was used for another request; what was in force stays."),
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
    let order = change_requester(&caller, form.by, form.reason)?;
    let request = identify_change("roll_out_policy", "rollout", &name, expected, &body);
    let terms = conditions_under_key(idempotency, expected, &order, &request);
    change_policy(&api, expected, order, move |policies, order| {
        let mode = form.mode.unwrap_or_default();
        policies.roll_out(&name, form.number.into(), mode, terms, order)
    })
    .await
}

/// Enforces the version of an operator policy that was enforced before
#[utoipa::path(post, path = "/v1/policies/{name}/rollback", operation_id = "roll_back_policy", tag = "policies",
    params(PolicyNamePath, Preconditions, IdempotencyHeader),
    request_body = PolicyRollbackRequest,
    responses(
        (status = 200, description = "It is in force.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The version is refused, the conditions contradict each other, or the idempotency key was used for another request; what was in force stays."),
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
    let order = change_requester(&caller, form.by, form.reason)?;
    let request = identify_change("roll_back_policy", "rollback", &name, expected, &body);
    let terms = conditions_under_key(idempotency, expected, &order, &request);
    change_policy(&api, expected, order, move |policies, order| {
        policies.roll_back(&name, terms, order)
    })
    .await
}

/// Takes an operator policy out of force
///
/// With `mode=shadow` only its shadow version is taken out. Its stored versions stay.
#[utoipa::path(delete, path = "/v1/policies/{name}", operation_id = "delete_policy", tag = "policies",
    params(PolicyNamePath, DeleteQuery, Preconditions),
    responses(
        (status = 200, description = "It is out of force.", body = PolicyChanged, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays."),
    ))]
async fn delete_policy(
    State(api): Shared,
    caller: Caller,
    ApiPath(PolicyNamePath { name }): ApiPath<PolicyNamePath>,
    ApiQuery(query): ApiQuery<DeleteQuery>,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
) -> Result<Response, Problem> {
    let expected = preconditions.expected_revision(query.expected_revision)?;
    let order = change_requester(&caller, query.by, query.reason)?;
    let only_shadow = query.mode.is_some();
    let terms = conditions(expected);
    change_policy(&api, expected, order, move |policies, order| {
        policies.delete_policy(&name, only_shadow, terms, order)
    })
    .await
}

const fn conditions(expected: ExpectedRevision) -> ChangeConditions {
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
    order: &Requester,
    request: &CanonicalRequest<'_>,
) -> ChangeConditions {
    let key = idempotency.for_request(request);
    ChangeConditions {
        expected_revision: expected.revision,
        legacy_request: key.as_ref().and_then(|key| key.legacy_digest),
        idempotency: key.map(|key| IdempotencyRecord {
            scope: format!("policy:{}", order.by),
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
    order: Requester,
    change: impl FnOnce(&Policies, &Requester) -> Result<PolicyChangeReceipt, PolicyChangeError>
    + Send
    + 'static,
) -> Result<Response, Problem> {
    let trace_id = order.trace_id;
    let receipt = api
        .run_blocking(move |api| change(&api.policies, &order))
        .await?
        .map_err(|error| expected.explain(error))?;
    let changed = PolicyChanged::from(receipt);
    let response = json_response(StatusCode::OK, Some(trace_id), &changed);
    Ok(with_etag(response, changed.revision))
}

/// Lists the operator policies, in the order they are asked
#[utoipa::path(get, path = "/v1/policies", operation_id = "list_policies", tag = "policies", params(KeyPageQuery),
    responses((status = 200, description = "A page.", body = PolicyPage)))]
async fn list_policies(
    State(api): Shared,
    ApiQuery(query): ApiQuery<KeyPageQuery>,
) -> Result<Response, Problem> {
    let (limit, after) = query.into_parts();
    let rows = api
        .run_blocking(|api| api.policies.list_policies())
        .await??;
    let start = match after {
        None => 0,
        Some(cursor) => rows
            .iter()
            .position(|(row, _)| row.policy.as_str() == cursor)
            .map_or(rows.len(), |place| place + 1),
    };
    let page: Vec<_> = rows.iter().skip(start).take(limit as usize).collect();
    let page = PolicyPage {
        next_cursor: next_cursor(&page, limit, |(row, _)| row.policy.to_string()),
        policies: page
            .iter()
            .map(|(row, slot)| summary(row, slot.as_deref()))
            .collect(),
        most: api.policies.max_policies(),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// Reads an operator policy: what is in force, how it does, and its versions
#[utoipa::path(get, path = "/v1/policies/{name}", operation_id = "read_policy", tag = "policies",
    params(PolicyNamePath),
    responses((status = 200, description = "The policy.", body = PolicyShown,
        headers(("ETag" = String, description = "The policy's revision.")))))]
async fn show_policy(
    State(api): Shared,
    ApiPath(PolicyNamePath { name }): ApiPath<PolicyNamePath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let asked = name.clone();
    let found = api
        .run_blocking(move |api| {
            let Some(standing) = api.policies.read_status(&asked)? else {
                return Ok(None);
            };
            let settings = |number: Option<u64>| match number {
                None => Ok(None),
                Some(number) => api.policies.read_version(&asked, number).map(Some),
            };
            // What cannot be read back is said where the policy is said to be broken.
            let enforced = settings(standing.row.enforced).unwrap_or_default();
            let shadow = settings(standing.row.shadow).unwrap_or_default();
            Ok::<_, PolicyChangeError>(Some((standing, enforced, shadow)))
        })
        .await??;
    let Some((standing, enforced, shadow)) = found else {
        let refused = api.policies.last_refusal(&name).ok_or_else(|| {
            Problem::not_found(format!(
                "there is no operator policy {name}; GET /v1/policies lists them"
            ))
        })?;
        let body = PolicyShown {
            name: name.to_string(),
            last_refused: Some(refused.into()),
            ..PolicyShown::default()
        };
        // As a change would have to expect it: there is none yet.
        return Ok(with_etag(json_response(StatusCode::OK, None, &body), 0));
    };
    let PolicyStatus {
        row,
        versions,
        slot,
        refused,
    } = standing;
    let slot = slot.as_deref();
    let doing = |set_up: Option<&ConfiguredPolicy>,
                 version: Option<(PolicyVersion, Option<Settings>)>| {
        version.map(|(version, settings)| PolicyVersionShown {
            line: line(&version, &row),
            settings,
            doing: set_up.map(doing),
        })
    };
    let summary = summary(&row, slot);
    let body = PolicyShown {
        name: summary.name.to_string(),
        order: Some(summary.order),
        source: Some(summary.source),
        revision: Some(summary.revision),
        enforced: doing(enforced_of(slot), enforced),
        shadow: doing(slot.and_then(|slot| slot.shadow.as_deref()), shadow),
        previous: summary.previous,
        broken: summary.broken,
        changed_by: Some(summary.changed_by),
        changed_at_ms: Some(summary.changed_at_ms),
        rules: rules_of(slot).cloned(),
        versions: versions
            .iter()
            .take(SHOWN_VERSIONS)
            .map(|version| line(version, &row))
            .collect(),
        last_refused: refused.map(Into::into),
    };
    Ok(with_etag(
        json_response(StatusCode::OK, None, &body),
        row.revision,
    ))
}

/// Reads a version of an operator policy with its settings
#[utoipa::path(get, path = "/v1/policies/{name}/versions/{number}", operation_id = "read_policy_version", tag = "policies",
    params(VersionPath),
    responses(
        (status = 200, description = "The version.", body = PolicyVersionShown),
        (status = 422, description = "The version cannot be read back."),
    ))]
async fn show_version(
    State(api): Shared,
    ApiPath(VersionPath { name, number }): ApiPath<VersionPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let number = u64::from(number);
    let (row, version, settings) = api
        .run_blocking(move |api| {
            let (version, settings) = api.policies.read_version(&name, number)?;
            let standing = api.policies.read_status(&name)?;
            let row = standing.map(|standing| standing.row);
            Ok::<_, PolicyChangeError>((
                row.ok_or(PolicyChangeError::UnknownPolicy(name))?,
                version,
                settings,
            ))
        })
        .await??;
    let view = PolicyVersionShown {
        line: line(&version, &row),
        settings,
        doing: None,
    };
    Ok(json_response(StatusCode::OK, None, &view))
}

/// Reads the component of a version of an operator policy
///
/// E.g. to judge with it elsewhere.
#[utoipa::path(get, path = "/v1/policies/{name}/versions/{number}/component", operation_id = "read_policy_component", tag = "policies",
    params(VersionPath),
    responses(
        (status = 200, description = "The component.", content_type = "application/wasm", body = String),
        (status = 422, description = "The component cannot be read back."),
    ))]
async fn read_component(
    State(api): Shared,
    ApiPath(VersionPath { name, number }): ApiPath<VersionPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let number = u64::from(number);
    let bytes = api
        .run_blocking(move |api| api.policies.read_component(&name, number))
        .await??;
    Ok(bytes_response("application/wasm", bytes.into()))
}
