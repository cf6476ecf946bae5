//! Settings that agents read and operators change: `/v1/config`. Keys are one segment of the path, as in [`super::state`].

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use ark_model::form::{Fields, parse_json};
use ark_model::ids::Millis;
use ark_model::principal::Principal;
use ark_store::{OperatorChange, Setting};

use super::envelope::by_of;
use super::exchange::{Asked, json_answer, not_a, query_of, read_bytes};
use super::openapi::{
    Conditional, Described, ExpectedRevision, KeyPageQuery, KeyPath, Keyed, PageQuery, UpdatedBy,
};
use super::operating::{
    Expected, KeyChanged, json_of, key_text, keyed, limit_of, next_of, place_of, tagged, value_of,
    whole,
};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::Shared;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(settings))
        .routes(routes!(setting, configure, unset))
        .routes(routes!(setting_history))
}

/// A setting, or a revision of it.
#[derive(Serialize, ToSchema)]
struct SettingShown {
    key: String,
    revision: u64,
    /// Any JSON value.
    value: Option<Value>,
    deleted: bool,
    description: String,
    updated_by: String,
    at_ms: Millis,
}

/// A page of settings, by key.
#[derive(Serialize, ToSchema)]
struct SettingPage {
    settings: Vec<SettingShown>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A page of a setting's revisions, the latest first.
#[derive(Serialize, ToSchema)]
struct SettingHistory {
    key: String,
    revisions: Vec<SettingShown>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

fn setting_view(setting: Setting) -> SettingShown {
    SettingShown {
        value: setting.value_json.as_deref().map(json_of),
        deleted: setting.value_json.is_none(),
        key: setting.key,
        revision: setting.revision,
        description: setting.description,
        updated_by: setting.updated_by,
        at_ms: setting.at,
    }
}

/// Lists settings, by key
#[utoipa::path(get, path = "/v1/config", operation_id = "list_settings", tag = "config",
    params(("prefix" = Option<String>, Query, description = "Only keys that begin so."), KeyPageQuery),
    responses((status = 200, description = "A page.", body = SettingPage)))]
async fn settings(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["prefix", "limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let after = query.get("cursor").cloned();
    let rows = off_reactor(&api, move |api| {
        api.store.settings_page(&prefix, after.as_deref(), limit)
    })
    .await??;
    let next = next_of(&rows, limit, |row| row.key.clone());
    let page = SettingPage {
        settings: rows.into_iter().map(setting_view).collect(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// A setting
#[utoipa::path(get, path = "/v1/config/{key}", operation_id = "read_setting", tag = "config", params(KeyPath),
    responses((status = 200, description = "The setting.", body = SettingShown, headers(("ETag" = String, description = "The revision.")))))]
async fn setting(State(api): Shared, key: PathText, query: Asked) -> Result<Response, Problem> {
    let key = key_text(key)?;
    query_of(query, &[])?;
    let wanted = key.clone();
    let found = off_reactor(&api, move |api| api.store.latest_setting(&wanted)).await??;
    let setting = found
        .filter(|setting| setting.value_json.is_some())
        .ok_or_else(|| Problem::not_found(format!("there is no setting {key:?}")))?;
    let revision = setting.revision;
    Ok(tagged(
        json_answer(StatusCode::OK, None, &setting_view(setting)),
        revision,
    ))
}

/// Lists the revisions of a setting, the latest first
#[utoipa::path(get, path = "/v1/config/{key}/history", operation_id = "list_setting_revisions", tag = "config", params(KeyPath, PageQuery),
    responses((status = 200, description = "A page.", body = SettingHistory)))]
async fn setting_history(
    State(api): Shared,
    key: PathText,
    query: Asked,
) -> Result<Response, Problem> {
    let key = key_text(key)?;
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let before = place_of(&query, "cursor", "give the next_cursor of the page before")?;
    let wanted = key.clone();
    let rows = off_reactor(&api, move |api| {
        api.store.setting_history(&wanted, before, limit)
    })
    .await??;
    if rows.is_empty() && before.is_none() {
        return Err(Problem::not_found(format!(
            "there never was a setting {key:?}"
        )));
    }
    let next = next_of(&rows, limit, |row| row.revision.to_string());
    let page = SettingHistory {
        key,
        revisions: rows.into_iter().map(setting_view).collect(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Sets a setting
#[utoipa::path(put, path = "/v1/config/{key}", operation_id = "set_setting", tag = "config", params(KeyPath, Conditional, Keyed),
    request_body = ref("#/components/schemas/SettingRequest"),
    responses(
        (status = 200, description = "It is on disk.", body = KeyChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The conditions contradict each other, or the idempotency key was used for another request."),
    ))]
async fn configure(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    key: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = key_text(key)?;
    query_of(query, &[])?;
    let raw = read_bytes(&headers, body).await?;
    let mut fields = Fields::from_document(parse_json(&raw)?, "")?;
    let value_json = value_of(&mut fields, &raw)?;
    let description = fields.take_text("description")?;
    if let Some(text) = description.as_deref().filter(|text| text.len() > 1024) {
        return Err(not_a("description", text, "give 1,024 bytes at most"));
    }
    let expected = Expected::of(&headers, whole(&mut fields, "expected_revision")?)?;
    let by = by_of(&principal, "updated_by", fields.take_text("updated_by")?)?;
    fields.reject_unknown()?;
    let change = OperatorChange::Config {
        key: key.clone(),
        value_json: Some(value_json),
        description,
        expected: expected.revision,
    };
    keyed(&api, &headers, by, expected, change, &key).await
}

/// Takes a setting away
///
/// Its history stays.
#[utoipa::path(delete, path = "/v1/config/{key}", operation_id = "delete_setting", tag = "config",
    params(KeyPath, Conditional, ExpectedRevision, UpdatedBy, Keyed),
    responses(
        (status = 200, description = "It is on disk.", body = KeyChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The conditions contradict each other, or the idempotency key was used for another request."),
    ))]
async fn unset(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    key: PathText,
    query: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = key_text(key)?;
    let query = query_of(query, &["expected_revision", "updated_by"])?;
    let field = place_of(&query, "expected_revision", "give the number of a revision")?;
    let expected = Expected::of(&headers, field)?;
    let change = OperatorChange::Config {
        key: key.clone(),
        value_json: None,
        description: None,
        expected: expected.revision,
    };
    let by = by_of(&principal, "updated_by", query.get("updated_by").cloned())?;
    keyed(&api, &headers, by, expected, change, &key).await
}
