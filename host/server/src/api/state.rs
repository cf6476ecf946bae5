//! Agents' state: `/v1/state/{agent}[/{key}[/history|/rollback]]`.
//!
//! A key is one segment of the path, percent-encoded: the key `plans/today` is `/v1/state/kenny/plans%2Ftoday`, so that no key can be
//! taken for `history` or `rollback`. Secrets are masked in every answer.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use ark_model::check::FieldError;
use ark_model::form::{Fields, parse_json};
use ark_model::ids::{Millis, Name, TraceId};
use ark_model::principal::Principal;
use ark_store::{Content, OperatorChange, Revision, RollbackTarget};

use super::envelope::by_of;
use super::exchange::{Asked, json_answer, query_of, read_bytes, read_json};
use super::openapi::{
    Conditional, Described, ExpectedRevision, KeyPageQuery, Keyed, PageQuery, StatePath, UpdatedBy,
};
use super::operating::{
    Expected, agent_of, json_of, key_of, limit_of, next_of, operate, place_of, tagged, value_of,
    whole,
};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};

/// What stands in the place of a secret.
const MASK: &str = "********";

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(agents))
        .routes(routes!(list))
        .routes(routes!(read, set, delete))
        .routes(routes!(history))
        .routes(routes!(rollback))
}

/// A page of agents that have state, by name.
#[derive(Serialize, ToSchema)]
struct StateAgents {
    agents: Vec<Name>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A page of an agent's keys.
#[derive(Serialize, ToSchema)]
struct KeyPage {
    agent: Name,
    keys: Vec<KeyLine>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A key.
#[derive(Serialize, ToSchema)]
struct KeyLine {
    key: String,
    revision: u64,
    at_ms: Millis,
    /// Its value, where it was asked for; of a secret a mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<bool>,
}

/// A revision of a value.
#[derive(Serialize, ToSchema)]
struct StateRevision {
    revision: u64,
    /// Any JSON value; of a secret a mask.
    value: Value,
    secret: bool,
    deleted: bool,
    at_ms: Millis,
    trace_id: Option<TraceId>,
    written_by: String,
}

/// A value with its place.
#[derive(Serialize, ToSchema)]
struct StateValue {
    agent: Name,
    key: String,
    #[serde(flatten)]
    revision: StateRevision,
}

/// A page of revisions, the latest first.
#[derive(Serialize, ToSchema)]
struct StateHistory {
    agent: Name,
    key: String,
    revisions: Vec<StateRevision>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A change that is on disk.
#[derive(Serialize, ToSchema)]
struct StateChanged<'a> {
    agent: &'a Name,
    key: &'a str,
    /// The revision it made.
    revision: u64,
}

pub(super) type PathPair = Result<Path<(String, String)>, PathRejection>;

fn place(path: PathPair) -> Result<(Name, String), Problem> {
    let Path((agent, key)) =
        path.map_err(|rejection| FieldError::new("path", rejection.body_text(), "send UTF-8"))?;
    Ok((agent_of(&agent)?, key_of(key)?))
}

fn shown(content: &Content) -> (Value, bool, bool) {
    match content {
        Content::Plain(text) => (json_of(text), false, false),
        Content::Secret => (json!(MASK), true, false),
        Content::Deleted => (Value::Null, false, true),
    }
}

fn revision_view(revision: &Revision) -> StateRevision {
    let (value, secret, deleted) = shown(&revision.content);
    StateRevision {
        revision: revision.revision,
        value,
        secret,
        deleted,
        at_ms: revision.at,
        trace_id: revision.trace_id,
        written_by: revision.origin.clone(),
    }
}

/// Lists the agents that have state, by name
#[utoipa::path(get, path = "/v1/state", operation_id = "list_state_agents", tag = "state", params(KeyPageQuery),
    responses((status = 200, description = "A page.", body = StateAgents)))]
async fn agents(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let mut agents = off_reactor(&api, |api| api.store.agents_with_state()).await??;
    if let Some(after) = query.get("cursor") {
        agents.retain(|agent| agent.as_str() > after.as_str());
    }
    agents.truncate(limit as usize);
    let page = StateAgents {
        next_cursor: next_of(&agents, limit, Name::to_string),
        agents,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Lists an agent's keys
#[utoipa::path(get, path = "/v1/state/{agent}", operation_id = "list_state", tag = "state",
    params(
        ("agent" = Name, Path, description = "The agent."),
        ("prefix" = Option<String>, Query, description = "Only keys that begin so."),
        ("values" = Option<bool>, Query, description = "With their values."),
        KeyPageQuery,
    ),
    responses((status = 200, description = "A page.", body = KeyPage)))]
async fn list(State(api): Shared, agent: PathText, query: Asked) -> Result<Response, Problem> {
    let agent = agent_of(&super::exchange::path_text(agent)?)?;
    let query = query_of(query, &["prefix", "limit", "cursor", "values"])?;
    let limit = limit_of(&query)?;
    let values = match query.get("values").map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(super::exchange::not_a(
                "values",
                other,
                "give true or false",
            ));
        }
    };
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let after = query.get("cursor").cloned();
    let of = agent.clone();
    let rows = off_reactor(&api, move |api| {
        api.store.state_page(&of, &prefix, after.as_deref(), limit)
    })
    .await??;
    let next = next_of(&rows, limit, |row| row.key.clone());
    let keys = rows
        .iter()
        .map(|row| {
            let content = values.then(|| shown(&row.content));
            KeyLine {
                key: row.key.clone(),
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
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// A value of an agent's state
///
/// The latest, a revision of it, or as it was at a moment.
#[utoipa::path(get, path = "/v1/state/{agent}/{key}", operation_id = "read_state", tag = "state",
    params(
        StatePath,
        ("revision" = Option<u64>, Query, description = "This revision.", maximum = 9_223_372_036_854_775_807_u64),
        ("at_ms" = Option<u64>, Query, description = "As it was then, in milliseconds since 1970 (UTC). In place of `revision`.",
            maximum = 9_223_372_036_854_775_807_u64),
    ),
    responses(
        (status = 200, description = "The value.", body = StateValue, headers(("ETag" = String, description = "The revision."))),
        (status = 422, description = "A revision and a moment are both asked for."),
    ))]
async fn read(State(api): Shared, path: PathPair, query: Asked) -> Result<Response, Problem> {
    let (agent, key) = place(path)?;
    let query = query_of(query, &["revision", "at_ms"])?;
    let wanted = place_of(&query, "revision", "give the number of a revision")?;
    let moment = place_of(&query, "at_ms", "give milliseconds since 1970 (UTC)")?;
    if wanted.is_some() && moment.is_some() {
        let remedy = "give one of them";
        let error = FieldError::new("at_ms", "is given together with revision", remedy);
        return Err(Problem::contradiction(&error));
    }
    let (of, at) = (agent.clone(), key.clone());
    let found = off_reactor(&api, move |api| match (wanted, moment) {
        (Some(revision), _) => api.store.state_revision(&of, &at, revision),
        (None, Some(moment)) => api.store.state_at(&of, &at, Millis(moment)),
        (None, None) => api.store.latest_state(&of, &at),
    })
    .await??;
    let historical = wanted.is_some() || moment.is_some();
    let revision = found
        .filter(|revision| historical || revision.content != Content::Deleted)
        .ok_or_else(|| Problem::not_found(format!("{agent} has no such key, or had none then")))?;
    let value = StateValue {
        agent,
        key,
        revision: revision_view(&revision),
    };
    Ok(tagged(
        json_answer(StatusCode::OK, None, &value),
        revision.revision,
    ))
}

/// Sets a value of an agent's state
#[utoipa::path(put, path = "/v1/state/{agent}/{key}", operation_id = "set_state", tag = "state", params(StatePath, Conditional, Keyed),
    request_body = ref("#/components/schemas/StateRequest"),
    responses(
        (status = 200, description = "It is on disk.", body = StateChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, or a secret cannot be kept."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The conditions contradict each other, or the idempotency key was used for another request."),
    ))]
async fn set(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    path: PathPair,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (agent, key) = place(path)?;
    query_of(query, &[])?;
    let raw = read_bytes(&headers, body).await?;
    let mut fields = Fields::from_document(parse_json(&raw)?, "")?;
    let value_json = value_of(&mut fields, &raw)?;
    let expected = Expected::of(&headers, whole(&mut fields, "expected_revision")?)?;
    let by = by_of(&principal, "updated_by", fields.take_text("updated_by")?)?;
    fields.reject_unknown()?;
    let change = OperatorChange::State {
        agent: agent.clone(),
        key: key.clone(),
        value_json: Some(value_json),
        expected: expected.revision,
    };
    changed(&api, &headers, by, expected, change, &agent, &key).await
}

/// Deletes a value of an agent's state
///
/// Its history stays.
#[utoipa::path(delete, path = "/v1/state/{agent}/{key}", operation_id = "delete_state", tag = "state",
    params(StatePath, Conditional, ExpectedRevision, UpdatedBy, Keyed),
    responses(
        (status = 200, description = "It is on disk.", body = StateChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, or a secret cannot be kept."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The conditions contradict each other, or the idempotency key was used for another request."),
    ))]
async fn delete(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    path: PathPair,
    query: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (agent, key) = place(path)?;
    let query = query_of(query, &["expected_revision", "updated_by"])?;
    let field = place_of(&query, "expected_revision", "give the number of a revision")?;
    let expected = Expected::of(&headers, field)?;
    let change = OperatorChange::State {
        agent: agent.clone(),
        key: key.clone(),
        value_json: None,
        expected: expected.revision,
    };
    let by = by_of(&principal, "updated_by", query.get("updated_by").cloned())?;
    changed(&api, &headers, by, expected, change, &agent, &key).await
}

/// Sets a value to what it was before
///
/// That makes a new revision; nothing is lost.
#[utoipa::path(post, path = "/v1/state/{agent}/{key}/rollback", operation_id = "roll_back_state", tag = "state",
    params(StatePath, Conditional, Keyed),
    request_body = ref("#/components/schemas/RollbackRequest"),
    responses(
        (status = 200, description = "It is on disk.", body = StateChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`, or a secret cannot be kept."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The conditions contradict each other, or the idempotency key was used for another request."),
    ))]
async fn rollback(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    path: PathPair,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (agent, key) = place(path)?;
    query_of(query, &[])?;
    let mut fields = Fields::from_document(read_json(&headers, body).await?, "")?;
    let steps = whole(&mut fields, "steps")?;
    let revision = whole(&mut fields, "to_revision")?;
    let expected = Expected::of(&headers, whole(&mut fields, "expected_revision")?)?;
    let by = by_of(&principal, "updated_by", fields.take_text("updated_by")?)?;
    fields.reject_unknown()?;
    let target = match (steps, revision) {
        (Some(0), None) => {
            return Err(FieldError::new("steps", "is 0", "give 1 or more").into());
        }
        (Some(steps), None) => RollbackTarget::Steps(steps),
        (None, Some(revision)) => RollbackTarget::Revision(revision),
        _ => {
            return Err(FieldError::new(
                "to_revision",
                "and steps are both given, or neither is",
                "give steps (how many revisions back) or to_revision (its number)",
            )
            .into());
        }
    };
    let change = OperatorChange::Rollback {
        agent: agent.clone(),
        key: key.clone(),
        target,
        expected: expected.revision,
    };
    changed(&api, &headers, by, expected, change, &agent, &key).await
}

async fn changed(
    api: &Arc<Api>,
    headers: &HeaderMap,
    by: String,
    expected: Expected,
    change: OperatorChange,
    agent: &Name,
    key: &str,
) -> Result<Response, Problem> {
    let (revision, trace_id) = operate(api, headers, by, expected, change).await?;
    let body = StateChanged {
        agent,
        key,
        revision,
    };
    Ok(tagged(
        json_answer(StatusCode::OK, Some(trace_id), &body),
        revision,
    ))
}

/// Lists the revisions of a value, the latest first
#[utoipa::path(get, path = "/v1/state/{agent}/{key}/history", operation_id = "list_state_revisions", tag = "state",
    params(StatePath, PageQuery),
    responses((status = 200, description = "A page.", body = StateHistory)))]
async fn history(State(api): Shared, path: PathPair, query: Asked) -> Result<Response, Problem> {
    let (agent, key) = place(path)?;
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let before = place_of(&query, "cursor", "give the next_cursor of the page before")?;
    let (of, at) = (agent.clone(), key.clone());
    let rows = off_reactor(&api, move |api| {
        api.store.state_history(&of, &at, before, limit)
    })
    .await??;
    if rows.is_empty() && before.is_none() {
        return Err(Problem::not_found(format!("{agent} never had this key")));
    }
    let next = next_of(&rows, limit, |row| row.revision.to_string());
    let page = StateHistory {
        agent,
        key,
        revisions: rows.iter().map(revision_view).collect(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}
