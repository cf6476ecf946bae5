//! Reading operator policies, their versions and their components.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::routes;

use ark_model::settings::Settings;
use ark_store::PolicyVersion;

use crate::api::http::extract::{ApiPath, ApiQuery, NoQuery};
use crate::api::http::pagination::{KeyPageQuery, next_cursor};
use crate::api::http::preconditions::{tagged_response, with_etag};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{bytes_response, json_response};
use crate::api::state::{DescribedRoutes, Shared};
use crate::api::v1::names::PolicyNamePath;
use crate::api::v1::uploads::VersionPath;
use crate::hrm::policies_in_force::ConfiguredPolicy;
use crate::policies::{PolicyChangeError, PolicyStatus};

use super::view::{
    PolicyPage, PolicyShown, PolicyVersionShown, describe_version, enforced_of, read_activity,
    rules_of, summarize_policy,
};

/// How many of a policy's versions are shown with it.
const SHOWN_VERSIONS: usize = 50;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_policies))
        .routes(routes!(show_policy))
        .routes(routes!(show_version))
        .routes(routes!(read_component))
}

/// Lists the operator policies, in the order they are asked
#[utoipa::path(get, path = "/v1/policies", operation_id = "list_policies", tag = "policies", params(KeyPageQuery),
    responses((status = 200, description = "A page.", body = PolicyPage, headers(("ETag" = String, description = "The digest of the answer.")))))]
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
            .map(|(row, slot)| summarize_policy(row, slot.as_deref()))
            .collect(),
        most: api.policies.max_policies(),
    };
    Ok(tagged_response(&page))
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
            Problem::not_found(
                format!("there is no operator policy {name}"),
                "name",
                "give the name of a policy that GET /v1/policies lists",
            )
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
    let show_kept = |set_up: Option<&ConfiguredPolicy>,
                     version: Option<(PolicyVersion, Option<Settings>)>| {
        version.map(|(version, settings)| PolicyVersionShown {
            line: describe_version(&version, &row),
            settings,
            doing: set_up.map(read_activity),
        })
    };
    let summary = summarize_policy(&row, slot);
    let body = PolicyShown {
        name: summary.name.to_string(),
        place: Some(summary.place),
        source: Some(summary.source),
        revision: Some(summary.revision),
        enforced: show_kept(enforced_of(slot), enforced),
        shadow: show_kept(slot.and_then(|slot| slot.shadow.as_deref()), shadow),
        previous: summary.previous,
        broken: summary.broken,
        changed_by: Some(summary.changed_by),
        changed_at_ms: Some(summary.changed_at_ms),
        rules: rules_of(slot).cloned(),
        versions: versions
            .iter()
            .take(SHOWN_VERSIONS)
            .map(|version| describe_version(version, &row))
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
        line: describe_version(&version, &row),
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
