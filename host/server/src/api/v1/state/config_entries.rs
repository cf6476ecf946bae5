//! Configuration values that agents read and operators change: `/v1/config`. Keys are one segment of the path, as in [`super::agent_state`].

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::answer::convert_rows;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiPath, ApiQuery, NoQuery, request_body};
use crate::api::http::fields::{Actor, JsonValue, RevisionNumber, text_field};
use crate::api::http::idempotency::IdempotencyHeader;
use crate::api::http::pagination::PageQuery;
use crate::api::http::preconditions::{Preconditions, with_etag};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, parse_stored_json};
use crate::api::state::{DescribedRoutes, Shared};
use ark_model::ids::Millis;
use ark_store::{ConfigEntry, OperatorChange, Reader};

use super::key_changes::{
    DeleteKeyQuery, KeyChange, KeyChanged, KeyPath, PrefixQuery, read_key_history,
};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_config_entries))
        .routes(routes!(
            read_config_entry,
            set_config_entry,
            delete_config_entry
        ))
        .routes(routes!(list_revisions))
}

text_field! {
    /// What a configuration value is for.
    ConfigEntryDescription("1,024 bytes at most", bytes: 0..=1024, pattern: None, accepts: |_| true)
}

/// A configuration value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfigEntryRequest {
    /// Any JSON value, nested 127 deep at most; integers of more than 64 bits are refused. To take a key away, use DELETE.
    value: JsonValue,
    /// What it is for; as before if left out.
    description: Option<ConfigEntryDescription>,
    /// The revision that must still be the latest; 0: there must be none. In place of `If-Match` or `If-None-Match`.
    expected_revision: Option<RevisionNumber>,
    updated_by: Option<Actor>,
}

request_body!(ConfigEntryRequest);

/// A configuration value, or a revision of it.
#[derive(Serialize, ToSchema)]
struct ConfigEntryView {
    key: String,
    revision: u64,
    /// Any JSON value.
    value: Option<Value>,
    deleted: bool,
    description: String,
    updated_by: String,
    at_ms: Millis,
}

impl From<ConfigEntry> for ConfigEntryView {
    fn from(entry: ConfigEntry) -> Self {
        Self {
            value: entry.value_json.as_deref().map(parse_stored_json),
            deleted: entry.value_json.is_none(),
            key: entry.key,
            revision: entry.revision,
            description: entry.description,
            updated_by: entry.updated_by,
            at_ms: entry.at,
        }
    }
}

/// A page of configuration values, by key.
#[derive(Serialize, ToSchema)]
struct ConfigEntryPage {
    settings: Vec<ConfigEntryView>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A page of a configuration value's revisions, newest first.
#[derive(Serialize, ToSchema)]
struct ConfigEntryHistory {
    key: String,
    revisions: Vec<ConfigEntryView>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Lists configuration values, by key
#[utoipa::path(get, path = "/v1/config", operation_id = "list_settings", tag = "config", params(PrefixQuery),
    responses((status = 200, description = "A page.", body = ConfigEntryPage)))]
async fn list_config_entries(
    State(api): Shared,
    ApiQuery(query): ApiQuery<PrefixQuery>,
) -> Result<Response, Problem> {
    let (rows, next_cursor) = query
        .read_page(&api, Reader::config_entries_page, |row| row.key.clone())
        .await?;
    let build = || ConfigEntryPage {
        settings: convert_rows(rows),
        next_cursor,
    };
    api.answer_page(build).await
}

/// Reads a configuration value
#[utoipa::path(get, path = "/v1/config/{key}", operation_id = "read_setting", tag = "config", params(KeyPath),
    responses((status = 200, description = "The configuration value.", body = ConfigEntryView, headers(("ETag" = String, description = "The revision.")))))]
async fn read_config_entry(
    State(api): Shared,
    ApiPath(KeyPath { key }): ApiPath<KeyPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let key = String::from(key);
    let wanted = key.clone();
    let found = api
        .run_blocking(move |api| api.store.latest_config_entry(&wanted))
        .await??;
    let entry = found
        .filter(|entry| entry.value_json.is_some())
        .ok_or_else(|| {
            let detail = format!("there is no configuration value {key:?}");
            Problem::not_found(detail, "key", "GET /v1/config lists them")
        })?;
    let revision = entry.revision;
    let response = json_response(StatusCode::OK, None, &ConfigEntryView::from(entry));
    Ok(with_etag(response, revision))
}

/// Lists the revisions of a configuration value, newest first
#[utoipa::path(get, path = "/v1/config/{key}/history", operation_id = "list_setting_revisions", tag = "config", params(KeyPath, PageQuery),
    responses((status = 200, description = "A page.", body = ConfigEntryHistory)))]
async fn list_revisions(
    State(api): Shared,
    ApiPath(KeyPath { key }): ApiPath<KeyPath>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    let key = String::from(key);
    let named = (key.as_str(), "configuration value");
    let read = Reader::config_entry_history;
    let (rows, next_cursor) =
        read_key_history(&api, named, query, read, |row| row.revision).await?;
    let build = || ConfigEntryHistory {
        key,
        revisions: convert_rows(rows),
        next_cursor,
    };
    api.answer_page(build).await
}

/// Sets a configuration value
#[utoipa::path(put, path = "/v1/config/{key}", operation_id = "set_setting", tag = "config",
    params(KeyPath, Preconditions, IdempotencyHeader),
    request_body = ConfigEntryRequest,
    responses(
        (status = 200, description = "The change is on disk.", body = KeyChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "The key is at another revision than `expected_revision`."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The conditions contradict each other."),
    ))]
async fn set_config_entry(
    State(api): Shared,
    caller: Caller,
    ApiPath(KeyPath { key }): ApiPath<KeyPath>,
    _: NoQuery,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<ConfigEntryRequest>,
) -> Result<Response, Problem> {
    let key = String::from(key);
    let expected = preconditions.expected_revision(form.expected_revision)?;
    let change = OperatorChange::Config {
        key: key.clone(),
        value_json: Some(form.value.to_canonical()?),
        description: form.description.map(String::from),
        expected: expected.revision,
    };
    let request = KeyChange::attribute(&caller, form.updated_by, expected, &body, idempotency)?;
    request
        .answer(&api, &caller, "set_setting", key, change)
        .await
}

/// Deletes a configuration value
///
/// Its history stays.
#[utoipa::path(delete, path = "/v1/config/{key}", operation_id = "delete_setting", tag = "config",
    params(KeyPath, Preconditions, DeleteKeyQuery, IdempotencyHeader),
    responses(
        (status = 200, description = "The change is on disk.", body = KeyChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "The key is at another revision than `expected_revision`."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The conditions contradict each other."),
    ))]
async fn delete_config_entry(
    State(api): Shared,
    caller: Caller,
    ApiPath(KeyPath { key }): ApiPath<KeyPath>,
    ApiQuery(query): ApiQuery<DeleteKeyQuery>,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
) -> Result<Response, Problem> {
    let key = String::from(key);
    let expected = preconditions.expected_revision(query.expected_revision)?;
    let change = OperatorChange::Config {
        key: key.clone(),
        value_json: None,
        description: None,
        expected: expected.revision,
    };
    let request = KeyChange::attribute(&caller, query.updated_by, expected, b"", idempotency)?;
    request
        .answer(&api, &caller, "delete_setting", key, change)
        .await
}
