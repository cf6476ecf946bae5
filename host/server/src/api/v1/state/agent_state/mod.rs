//! Agents' state: `/v1/state/{agent}[/{key}[/history|/rollback]]`.
//!
//! A key is one segment of the path, percent-encoded: the key `plans/today` is `/v1/state/kenny/plans%2Ftoday`, so that no key can be taken for
//! `history` or `rollback`. Secrets are masked in every answer.

mod forms;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiPath, ApiQuery, NoQuery};
use crate::api::http::idempotency::IdempotencyHeader;
use crate::api::http::pagination::{KeyPageQuery, PageQuery, next_cursor, page_rows};
use crate::api::http::preconditions::{Preconditions, with_etag};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::api::v1::names::AgentPath;
use crate::api::v1::state::key_changes::{DeleteKeyQuery, KeyChange, read_revisions};
use ark_model::check::FieldError;
use ark_model::ids::{Millis, Name};
use ark_store::{Content, OperatorChange, Reader, RollbackTarget};

use forms::{
    KeyLine, KeyPage, KeysQuery, RollbackRequest, StateAgents, StateChanged, StateHistory,
    StatePath, StateRequest, StateRevision, StateValue, ValueQuery, show_content,
};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_agents))
        .routes(routes!(list_keys))
        .routes(routes!(read_value, set_value, delete_value))
        .routes(routes!(list_revisions))
        .routes(routes!(roll_back_value))
}

/// Lists the agents that have state, by name
#[utoipa::path(get, path = "/v1/state", operation_id = "list_state_agents", tag = "state", params(KeyPageQuery),
    responses((status = 200, description = "A page.", body = StateAgents)))]
async fn list_agents(
    State(api): Shared,
    ApiQuery(query): ApiQuery<KeyPageQuery>,
) -> Result<Response, Problem> {
    let (limit, after) = query.into_parts();
    let mut agents = api
        .run_blocking(|api| api.store.agents_with_state())
        .await??;
    if let Some(after) = after {
        agents.retain(|agent| agent.as_str() > after.as_str());
    }
    agents.truncate(limit as usize);
    let page = StateAgents {
        next_cursor: next_cursor(&agents, limit, Name::to_string),
        agents,
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// Lists an agent's keys
#[utoipa::path(get, path = "/v1/state/{agent}", operation_id = "list_state", tag = "state", params(AgentPath, KeysQuery),
    responses((status = 200, description = "A page.", body = KeyPage)))]
async fn list_keys(
    State(api): Shared,
    ApiPath(AgentPath { agent }): ApiPath<AgentPath>,
    ApiQuery(query): ApiQuery<KeysQuery>,
) -> Result<Response, Problem> {
    let limit = page_rows(query.limit);
    let prefix = query.prefix.unwrap_or_default();
    let with_values = query.values.unwrap_or(false);
    // The answer is written there, too: with values it has megabytes.
    api.run_blocking(move |api| {
        let after = query.cursor.as_deref();
        let rows = api.store.state_page(&agent, &prefix, after, limit)?;
        let next_cursor = next_cursor(&rows, limit, |row| row.key.clone());
        let keys = rows
            .into_iter()
            .map(|row| {
                let content = with_values.then(|| show_content(&row.content));
                KeyLine {
                    key: row.key,
                    revision: row.revision,
                    at_ms: row.at,
                    secret: content.as_ref().map(|(_, secret, _)| *secret),
                    value: content.map(|(value, _, _)| value),
                }
            })
            .collect();
        let page = KeyPage {
            agent,
            keys,
            next_cursor,
        };
        Ok(json_response(StatusCode::OK, None, &page))
    })
    .await?
}

/// Reads a value of an agent's state
///
/// The latest, a revision of it, or as it was at a moment.
#[utoipa::path(get, path = "/v1/state/{agent}/{key}", operation_id = "read_state", tag = "state", params(StatePath, ValueQuery),
    responses(
        (status = 200, description = "The value.", body = StateValue, headers(("ETag" = String, description = "The revision."))),
        (status = 422, description = "A revision and a moment are both asked for."),
    ))]
async fn read_value(
    State(api): Shared,
    ApiPath(path): ApiPath<StatePath>,
    ApiQuery(query): ApiQuery<ValueQuery>,
) -> Result<Response, Problem> {
    let (agent, key) = path.into_parts();
    let wanted = query.revision.map(u64::from);
    let moment = query.at_ms.map(u64::from);
    if wanted.is_some() && moment.is_some() {
        let problem = "is given together with revision";
        let error = FieldError::new("at_ms", problem, "give one of them");
        return Err(Problem::contradiction(&error));
    }
    let (of, at) = (agent.clone(), key.clone());
    let found = api
        .run_blocking(move |api| match (wanted, moment) {
            (Some(revision), _) => api.store.state_revision(&of, &at, revision),
            (None, Some(moment)) => api.store.state_at(&of, &at, Millis(moment)),
            (None, None) => api.store.latest_state(&of, &at),
        })
        .await??;
    let historical = wanted.is_some() || moment.is_some();
    let revision = found
        .filter(|revision| historical || revision.content != Content::Deleted)
        .ok_or_else(|| {
            let detail = format!("{agent} has no such key, or had none then");
            Problem::not_found(
                detail,
                "key",
                "GET /v1/state/{agent} lists the keys of an agent",
            )
        })?;
    let value = StateValue {
        agent,
        key,
        revision: (&revision).into(),
    };
    let response = json_response(StatusCode::OK, None, &value);
    Ok(with_etag(response, revision.revision))
}

/// Sets a value of an agent's state
#[utoipa::path(put, path = "/v1/state/{agent}/{key}", operation_id = "set_state", tag = "state",
    params(StatePath, Preconditions, IdempotencyHeader),
    request_body = StateRequest,
    responses(
        (status = 200, description = "The change is on disk.", body = StateChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "The key is at another revision than `expected_revision`, or a secret cannot be stored."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The conditions contradict each other."),
    ))]
async fn set_value(
    State(api): Shared,
    caller: Caller,
    ApiPath(path): ApiPath<StatePath>,
    _: NoQuery,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<StateRequest>,
) -> Result<Response, Problem> {
    let (agent, key) = path.into_parts();
    let expected = preconditions.expected_revision(form.expected_revision)?;
    let change = OperatorChange::State {
        agent: agent.clone(),
        key: key.clone(),
        value_json: Some(form.value.to_canonical()?),
        expected: expected.revision,
    };
    let request = KeyChange::attribute(&caller, form.updated_by, expected, &body, idempotency)?;
    answer_change(&api, &caller, "set_state", (agent, key), request, change).await
}

/// Deletes a value of an agent's state
///
/// Its history stays.
#[utoipa::path(delete, path = "/v1/state/{agent}/{key}", operation_id = "delete_state", tag = "state",
    params(StatePath, Preconditions, DeleteKeyQuery, IdempotencyHeader),
    responses(
        (status = 200, description = "The change is on disk.", body = StateChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "The key is at another revision than `expected_revision`, or a secret cannot be stored."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The conditions contradict each other."),
    ))]
async fn delete_value(
    State(api): Shared,
    caller: Caller,
    ApiPath(path): ApiPath<StatePath>,
    ApiQuery(query): ApiQuery<DeleteKeyQuery>,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
) -> Result<Response, Problem> {
    let (agent, key) = path.into_parts();
    let expected = preconditions.expected_revision(query.expected_revision)?;
    let change = OperatorChange::State {
        agent: agent.clone(),
        key: key.clone(),
        value_json: None,
        expected: expected.revision,
    };
    let request = KeyChange::attribute(&caller, query.updated_by, expected, b"", idempotency)?;
    answer_change(&api, &caller, "delete_state", (agent, key), request, change).await
}

/// Restores an earlier revision of a value
///
/// That makes a new revision; nothing is lost.
#[utoipa::path(post, path = "/v1/state/{agent}/{key}/rollback", operation_id = "roll_back_state", tag = "state",
    params(StatePath, Preconditions, IdempotencyHeader),
    request_body = RollbackRequest,
    responses(
        (status = 200, description = "The change is on disk.", body = StateChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "The key is at another revision than `expected_revision`, or a secret cannot be stored."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The conditions contradict each other."),
    ))]
async fn roll_back_value(
    State(api): Shared,
    caller: Caller,
    ApiPath(path): ApiPath<StatePath>,
    _: NoQuery,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<RollbackRequest>,
) -> Result<Response, Problem> {
    let (agent, key) = path.into_parts();
    let (target, expected_revision, updated_by) = match form {
        RollbackRequest::Steps(form) => (
            RollbackTarget::Steps(form.steps.into()),
            form.expected_revision,
            form.updated_by,
        ),
        RollbackRequest::Revision(form) => (
            RollbackTarget::Revision(form.to_revision.into()),
            form.expected_revision,
            form.updated_by,
        ),
    };
    let expected = preconditions.expected_revision(expected_revision)?;
    let change = OperatorChange::Rollback {
        agent: agent.clone(),
        key: key.clone(),
        target,
        expected: expected.revision,
    };
    let request = KeyChange::attribute(&caller, updated_by, expected, &body, idempotency)?;
    answer_change(
        &api,
        &caller,
        "roll_back_state",
        (agent, key),
        request,
        change,
    )
    .await
}

async fn answer_change(
    api: &Arc<Api>,
    caller: &Caller,
    operation: &'static str,
    (agent, key): (Name, String),
    request: KeyChange<'_>,
    change: OperatorChange,
) -> Result<Response, Problem> {
    let path = json!([agent, key]);
    let revision = request.commit(api, caller, operation, path, change).await?;
    let body = StateChanged {
        agent,
        key,
        revision,
    };
    let response = json_response(StatusCode::OK, Some(caller.trace_id), &body);
    Ok(with_etag(response, revision))
}

/// Lists the revisions of a value, newest first
#[utoipa::path(get, path = "/v1/state/{agent}/{key}/history", operation_id = "list_state_revisions", tag = "state",
    params(StatePath, PageQuery),
    responses((status = 200, description = "A page.", body = StateHistory)))]
async fn list_revisions(
    State(api): Shared,
    ApiPath(path): ApiPath<StatePath>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    let (agent, key) = path.into_parts();
    let (of, at) = (agent.clone(), key.clone());
    let read = move |store: &Reader, before, limit| store.state_history(&of, &at, before, limit);
    let missing = format!("{agent} never had this key");
    let (rows, next_cursor) =
        read_revisions(&api, query, read, |row| row.revision, missing).await?;
    let build = move || StateHistory {
        agent,
        key,
        revisions: rows.iter().map(StateRevision::from).collect(),
        next_cursor,
    };
    api.answer_page(build).await
}
