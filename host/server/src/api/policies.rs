//! Operator policies: `/v1/policies`. Uploading, trying out, setting up, ordering, rolling back, taking out.
//!
//! An upload is one JSON document with the component in Base64 and its SHA-256, so that what was cut off or mixed up is refused. A policy's
//! `ETag` is its revision, which every change raises.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::changes::Requester;
use crate::hrm::chain::ConfiguredPolicy;
use crate::policies::{
    ChangeConditions, LAST_PLACE, PolicyChangeError, PolicyChangeReceipt, PolicyRevision,
    PolicyStatus, PolicyUpload, SettingsReplacement,
};
use ark_model::check::FieldError;
use ark_model::form::parse_json;
use ark_model::ids::{Digest, Name};
use ark_model::policy::PolicyMode;
use ark_model::principal::Principal;
use ark_model::settings::Settings;
use ark_store::{IdempotencyRecord, PolicyVersion};

use super::agents::{UPLOAD_BYTES, UPLOAD_TIME, order};
use super::envelope::key_of_header;
use super::exchange::{Asked, json_answer, not_a, path_text, query_of, read_at_most, read_bytes};
use super::openapi::{Conditional, Described, ExpectedRevision, KeyPageQuery, Keyed, ReasonQuery};
use super::operating::{Expected, in_database, limit_of, next_of, place_of, tagged};
use super::policy_view::{
    PolicyPage, PolicyShown, PolicyVersionShown, doing, enforced_of, line, rules_of, summary,
};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};

/// How many of a policy's versions are shown with it.
const VERSIONS: usize = 50;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(list))
        .routes(routes!(show, upload, revise, delete))
        .routes(routes!(rollout))
        .routes(routes!(rollback))
        .routes(routes!(version))
        .routes(routes!(component))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UploadForm {
    component: String,
    sha256: Digest,
    settings: Option<Settings>,
    mode: Option<PolicyMode>,
    order: Option<u32>,
    expected_revision: Option<u64>,
    reason: Option<String>,
    by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevisionForm {
    #[serde(default, deserialize_with = "said")]
    settings: Option<SettingsReplacement>,
    mode: Option<PolicyMode>,
    order: Option<u32>,
    expected_revision: Option<u64>,
    reason: Option<String>,
    by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolloutForm {
    number: u64,
    mode: Option<PolicyMode>,
    expected_revision: Option<u64>,
    reason: Option<String>,
    by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackForm {
    expected_revision: Option<u64>,
    reason: Option<String>,
    by: Option<String>,
}

/// Tells `null` from nothing.
fn said<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SettingsReplacement>, D::Error> {
    SettingsReplacement::deserialize(deserializer).map(Some)
}

/// One JSON document with these fields and no others.
fn form<T: DeserializeOwned>(bytes: &[u8], remedy: &str) -> Result<T, FieldError> {
    let wrong = |path: &str, problem: String| {
        let field = if path == "." { "body" } else { path };
        FieldError::new(field, problem, remedy)
    };
    let mut document = parse_json(bytes)?;
    for field in ["number", "order", "expected_revision"] {
        // `5.0` is a whole number in JSON.
        if let Some(place) = document.get_mut(field)
            && let Some(number) = in_database(place)
        {
            *place = Value::from(number);
        }
    }
    serde_path_to_error::deserialize(document)
        .map_err(|error| wrong(&error.path().to_string(), error.inner().to_string()))
}

fn policy_of(name: PathText) -> Result<Name, Problem> {
    let name = path_text(name)?;
    name.parse()
        .map_err(|_| not_a("name", &name, "give a policy's name"))
}

fn check_order(order: Option<u32>) -> Result<(), Problem> {
    match order {
        Some(order) if order > LAST_PLACE => {
            let remedy = format!("give 0 to {LAST_PLACE}; lower ones are asked first");
            Err(not_a("order", &order.to_string(), &remedy))
        }
        _ => Ok(()),
    }
}

/// Uploads a version of an operator policy and puts it in force, or on trial
///
/// It is verified, compiled, set up and put to its own test vectors before anything changes; a version that is refused leaves what was in
/// force in force, and `last_refused` of the policy says why.
#[utoipa::path(put, path = "/v1/policies/{name}", operation_id = "upload_policy", tag = "policies",
    params(("name" = Name, Path, description = "The policy."), Conditional),
    request_body = ref("#/components/schemas/PolicyUploadRequest"),
    responses(
        (status = 200, description = "It is in force.", body = PolicyChangeReceipt, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays."),
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
    let name = policy_of(name)?;
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
    let parsed = off_reactor(&api, move |_| {
        let remedy = "send {\"component\": \"BASE64\", \"sha256\": \"HEX\"}, and if you like settings, mode, order, reason, by, expected_revision";
        let form: UploadForm = form(&bytes, remedy)?;
        let component = STANDARD.decode(&form.component).map_err(|error| {
            let remedy = "send the component in standard Base64 with padding";
            FieldError::new("component", format!("is not Base64: {error}"), remedy)
        })?;
        Ok::<_, FieldError>((form, component))
    })
    .await?;
    let (form, component) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let reason = error.to_string();
            return Err(refused(&api, name, reason, &principal, &headers, error.into()).await);
        }
    };
    check_order(form.order)?;
    let expected = Expected::of(&headers, form.expected_revision)?;
    let order = order(&principal, form.by, form.reason.as_deref(), &headers)?;
    let upload = PolicyUpload {
        component,
        sha256: form.sha256,
        settings: form.settings,
        mode: form.mode.unwrap_or_default(),
        order: form.order,
    };
    let terms = terms(expected);
    change(&api, expected, order, move |api, order| {
        api.policies.upload_version(&name, upload, terms, order)
    })
    .await
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
        api.policies.refuse_upload(&name, reason, &order)
    })
    .await;
    recorded.err().unwrap_or(problem)
}

/// Gives an operator policy other settings, another mode or another place
///
/// Its component stays.
#[utoipa::path(patch, path = "/v1/policies/{name}", operation_id = "revise_policy", tag = "policies",
    params(("name" = Name, Path, description = "The policy."), Conditional),
    request_body = ref("#/components/schemas/PolicyRevisionRequest"),
    responses(
        (status = 200, description = "It is so.", body = PolicyChangeReceipt, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays."),
    ))]
async fn revise(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let name = policy_of(name)?;
    let bytes = read_bytes(&headers, body).await?;
    let remedy = "send some of settings (null: none), mode (enforce or shadow), order, and if you like reason, by, expected_revision";
    let form: RevisionForm = form(&bytes, remedy)?;
    if form.settings.is_none() && form.mode.is_none() && form.order.is_none() {
        return Err(FieldError::new("body", "changes nothing", remedy).into());
    }
    check_order(form.order)?;
    let expected = Expected::of(&headers, form.expected_revision)?;
    let order = order(&principal, form.by, form.reason.as_deref(), &headers)?;
    let revision = PolicyRevision {
        settings: form.settings,
        mode: form.mode,
        order: form.order,
    };
    let terms = terms(expected);
    change(&api, expected, order, move |api, order| {
        api.policies.revise_policy(&name, revision, terms, order)
    })
    .await
}

/// Puts a kept version of an operator policy in force, or on trial
#[utoipa::path(post, path = "/v1/policies/{name}/rollout", operation_id = "roll_out_policy", tag = "policies",
    params(("name" = Name, Path, description = "The policy."), Conditional, Keyed),
    request_body = ref("#/components/schemas/PolicyRolloutRequest"),
    responses(
        (status = 200, description = "It is in force.", body = PolicyChangeReceipt, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The version is refused, the conditions contradict each other, or the idempotency key was used for another request; what was in force stays."),
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
    let name = policy_of(name)?;
    let bytes = read_bytes(&headers, body).await?;
    let remedy = "send number, a version that GET /v1/policies/{name} lists, and if you like mode, reason, by, expected_revision";
    let form: RolloutForm = form(&bytes, remedy)?;
    let expected = Expected::of(&headers, form.expected_revision)?;
    let order = order(&principal, form.by, form.reason.as_deref(), &headers)?;
    let request = format!("rollout {name} {}", String::from_utf8_lossy(&bytes));
    let terms = keyed(&headers, expected, &order, &request)?;
    change(&api, expected, order, move |api, order| {
        api.policies.roll_out(
            &name,
            form.number,
            form.mode.unwrap_or_default(),
            terms,
            order,
        )
    })
    .await
}

/// Enforces the version of an operator policy that was enforced before
#[utoipa::path(post, path = "/v1/policies/{name}/rollback", operation_id = "roll_back_policy", tag = "policies",
    params(("name" = Name, Path, description = "The policy."), Conditional, Keyed),
    request_body = ref("#/components/schemas/PolicyRollbackRequest"),
    responses(
        (status = 200, description = "It is in force.", body = PolicyChangeReceipt, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The version is refused, the conditions contradict each other, or the idempotency key was used for another request; what was in force stays."),
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
    let name = policy_of(name)?;
    let bytes = read_bytes(&headers, body).await?;
    let form: RollbackForm = form(
        &bytes,
        "send {}, and if you like reason, by, expected_revision",
    )?;
    let expected = Expected::of(&headers, form.expected_revision)?;
    let order = order(&principal, form.by, form.reason.as_deref(), &headers)?;
    let request = format!("rollback {name} {}", String::from_utf8_lossy(&bytes));
    let terms = keyed(&headers, expected, &order, &request)?;
    change(&api, expected, order, move |api, order| {
        api.policies.roll_back(&name, terms, order)
    })
    .await
}

/// Takes an operator policy out of force
///
/// With `mode=shadow` only what is on trial of it. Its versions stay.
#[utoipa::path(delete, path = "/v1/policies/{name}", operation_id = "delete_policy", tag = "policies",
    params(
        ("name" = Name, Path, description = "The policy."),
        ("mode" = inline(Option<OnlyShadow>), Query, description = "Only what is on trial."),
        Conditional, ExpectedRevision, ReasonQuery,
    ),
    responses(
        (status = 200, description = "It is out of force.", body = PolicyChangeReceipt, headers(("ETag" = String, description = "The policy's new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, is set up in a file, or cannot be so as things are."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The policy is refused, or the conditions contradict each other; what was in force stays."),
    ))]
async fn delete(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query_of(query, &["mode", "reason", "by", "expected_revision"])?;
    let name = policy_of(name)?;
    let only_shadow = match query.get("mode").map(String::as_str) {
        None => false,
        Some("shadow") => true,
        Some(other) => {
            let remedy = "give shadow to end a trial only, or leave it out";
            return Err(not_a("mode", other, remedy));
        }
    };
    let field = place_of(&query, "expected_revision", "give the policy's revision")?;
    let expected = Expected::of(&headers, field)?;
    let text = |field: &str| query.get(field).cloned();
    let order = order(&principal, text("by"), text("reason").as_deref(), &headers)?;
    let terms = terms(expected);
    change(&api, expected, order, move |api, order| {
        api.policies.delete_policy(&name, only_shadow, terms, order)
    })
    .await
}

const fn terms(expected: Expected) -> ChangeConditions {
    ChangeConditions {
        expected_revision: expected.revision,
        idempotency: None,
    }
}

fn keyed(
    headers: &HeaderMap,
    expected: Expected,
    order: &Requester,
    request: &str,
) -> Result<ChangeConditions, Problem> {
    let key = key_of_header(headers, &format!("{request} {:?}", expected.revision))?;
    Ok(ChangeConditions {
        expected_revision: expected.revision,
        idempotency: key.map(|key| IdempotencyRecord {
            scope: format!("policy:{}", order.by),
            key: key.key,
            request: key.request_digest,
            answer: String::new(),
        }),
    })
}

/// What of a policy is taken out of force, unless all of it is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "it describes what `delete` reads")]
enum OnlyShadow {
    Shadow,
}

async fn change(
    api: &Arc<Api>,
    expected: Expected,
    order: Requester,
    work: impl FnOnce(&Api, &Requester) -> Result<PolicyChangeReceipt, PolicyChangeError>
    + Send
    + 'static,
) -> Result<Response, Problem> {
    let trace_id = order.trace_id;
    let changed = off_reactor(api, move |api| work(api, &order))
        .await?
        .map_err(|error| {
            let problem = Problem::from(error);
            if expected.header {
                problem.by_header()
            } else {
                problem
            }
        })?;
    let answer = json_answer(StatusCode::OK, Some(trace_id), &changed);
    Ok(tagged(answer, changed.revision))
}

/// Lists the operator policies, in the order they are asked
#[utoipa::path(get, path = "/v1/policies", operation_id = "list_policies", tag = "policies", params(KeyPageQuery),
    responses((status = 200, description = "A page.", body = PolicyPage)))]
async fn list(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let rows = off_reactor(&api, |api| api.policies.list_policies()).await??;
    let start = match query.get("cursor") {
        None => 0,
        Some(cursor) => rows
            .iter()
            .position(|(row, _)| row.policy.as_str() == cursor.as_str())
            .map_or(rows.len(), |place| place + 1),
    };
    let page: Vec<_> = rows.iter().skip(start).take(limit as usize).collect();
    let next = next_of(&page, limit, |(row, _)| row.policy.to_string());
    let page = PolicyPage {
        policies: page
            .iter()
            .map(|(row, slot)| summary(row, slot.as_deref()))
            .collect(),
        most: api.policies.max_policies(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Reads an operator policy: what is in force, how it does, and its versions
#[utoipa::path(get, path = "/v1/policies/{name}", operation_id = "read_policy", tag = "policies",
    params(("name" = Name, Path, description = "The policy.")),
    responses((status = 200, description = "The policy.", body = PolicyShown,
        headers(("ETag" = String, description = "The policy's revision.")))))]
async fn show(State(api): Shared, name: PathText, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let name = policy_of(name)?;
    let asked = name.clone();
    let found = off_reactor(&api, move |api| {
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
            last_refused: Some(refused),
            ..PolicyShown::default()
        };
        // As a change would have to expect it: there is none yet.
        return Ok(tagged(json_answer(StatusCode::OK, None, &body), 0));
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
            .take(VERSIONS)
            .map(|version| line(version, &row))
            .collect(),
        last_refused: refused,
    };
    Ok(tagged(
        json_answer(StatusCode::OK, None, &body),
        row.revision,
    ))
}

/// Reads a version of an operator policy with its settings
#[utoipa::path(get, path = "/v1/policies/{name}/versions/{number}", operation_id = "read_policy_version", tag = "policies",
    params(
        ("name" = Name, Path, description = "The policy."),
        ("number" = u64, Path, description = "The version's number.", maximum = 9_223_372_036_854_775_807_u64),
    ),
    responses(
        (status = 200, description = "The version.", body = PolicyVersionShown),
        (status = 422, description = "The version cannot be read back."),
    ))]
async fn version(
    State(api): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Asked,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let (name, number) = place(path)?;
    let (row, version, settings) = off_reactor(&api, move |api| {
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
    Ok(json_answer(StatusCode::OK, None, &view))
}

/// Reads the component of a version of an operator policy
///
/// E.g. to judge with it elsewhere.
#[utoipa::path(get, path = "/v1/policies/{name}/versions/{number}/component", operation_id = "read_policy_component", tag = "policies",
    params(
        ("name" = Name, Path, description = "The policy."),
        ("number" = u64, Path, description = "The version's number.", maximum = 9_223_372_036_854_775_807_u64),
    ),
    responses(
        (status = 200, description = "The component.", content_type = "application/wasm", body = String),
        (status = 422, description = "The component cannot be read back."),
    ))]
async fn component(
    State(api): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Asked,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let (name, number) = place(path)?;
    let bytes = off_reactor(&api, move |api| api.policies.read_component(&name, number)).await??;
    let wasm = HeaderValue::from_static("application/wasm");
    Ok(([(header::CONTENT_TYPE, wasm)], bytes).into_response())
}

fn place(path: Result<Path<(String, String)>, PathRejection>) -> Result<(Name, u64), Problem> {
    let Path((name, number)) =
        path.map_err(|rejection| FieldError::new("path", rejection.body_text(), "send UTF-8"))?;
    let number = number
        .parse::<u64>()
        .ok()
        .filter(|number| i64::try_from(*number).is_ok())
        .ok_or_else(|| not_a("number", &number, "give a version's number"))?;
    Ok((policy_of(Ok(Path(name)))?, number))
}
