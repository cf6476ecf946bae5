//! Agents' state: `/v1/state/{agent}[/{key}[/history|/rollback]]`.
//!
//! A key is one segment of the path, percent-encoded: the key `plans/today` is `/v1/state/kenny/plans%2Ftoday`, so that no key can be
//! taken for `history` or `rollback`. Secrets are masked in every answer.

use std::sync::Arc;

use axum::Extension;
use axum::Router as Routes;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::model::check::FieldError;
use crate::model::form::{Fields, parse_json};
use crate::model::ids::{Millis, Name};
use crate::model::principal::Principal;
use crate::store::{Content, OperatorChange, Revision, RollbackTarget};

use super::envelope::by_of;
use super::exchange::{Asked, json_answer, query_of, read_bytes, read_json};
use super::operating::{
    Expected, agent_of, json_of, key_of, limit_of, next_of, operate, place_of, tagged, value_of,
    whole,
};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};

/// What stands in the place of a secret.
const MASK: &str = "********";

pub(super) fn routes() -> Routes<Arc<Api>> {
    Routes::new()
        .route("/v1/state", get(agents))
        .route("/v1/state/{agent}", get(list))
        .route("/v1/state/{agent}/{key}", get(read).put(set).delete(delete))
        .route("/v1/state/{agent}/{key}/history", get(history))
        .route("/v1/state/{agent}/{key}/rollback", post(rollback))
}

pub(super) type PathPair = Result<Path<(String, String)>, PathRejection>;

fn place(path: PathPair) -> Result<(Name, String), Problem> {
    let Path((agent, key)) =
        path.map_err(|rejection| FieldError::new("path", rejection.body_text(), "send UTF-8"))?;
    Ok((agent_of(&agent)?, key_of(key)?))
}

fn shown(content: &Content) -> (Value, bool, bool) {
    match content {
        Content::Clear(text) => (json_of(text), false, false),
        Content::Secret => (json!(MASK), true, false),
        Content::Deleted => (Value::Null, false, true),
    }
}

fn revision_view(revision: &Revision) -> Value {
    let (value, secret, deleted) = shown(&revision.content);
    json!({
        "revision": revision.revision,
        "value": value,
        "secret": secret,
        "deleted": deleted,
        "at_ms": revision.at,
        "trace_id": revision.trace_id,
        "written_by": revision.origin,
    })
}

async fn agents(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let agents = off_reactor(&api, |api| api.store.state_agents()).await??;
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"agents": agents}),
    ))
}

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
    let keys: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut line = json!({"key": row.key, "revision": row.revision, "at_ms": row.at});
            if values {
                let (value, secret, _) = shown(&row.content);
                line["value"] = value;
                line["secret"] = json!(secret);
            }
            line
        })
        .collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"agent": agent, "keys": keys, "next_cursor": next}),
    ))
}

async fn read(State(api): Shared, path: PathPair, query: Asked) -> Result<Response, Problem> {
    let (agent, key) = place(path)?;
    let query = query_of(query, &["revision", "at_ms"])?;
    let wanted = place_of(&query, "revision", "give the number of a revision")?;
    let moment = place_of(&query, "at_ms", "give milliseconds since 1970 (UTC)")?;
    if wanted.is_some() && moment.is_some() {
        let remedy = "give one of them";
        return Err(FieldError::new("at_ms", "is given together with revision", remedy).into());
    }
    let (of, at) = (agent.clone(), key.clone());
    let found = off_reactor(&api, move |api| match (wanted, moment) {
        (Some(revision), _) => api.store.state_revision(&of, &at, revision),
        (None, Some(moment)) => api.store.state_at(&of, &at, Millis(moment)),
        (None, None) => api.store.state_latest(&of, &at),
    })
    .await??;
    let historical = wanted.is_some() || moment.is_some();
    let revision = found
        .filter(|revision| historical || revision.content != Content::Deleted)
        .ok_or_else(|| Problem::not_found(format!("{agent} has no such key, or had none then")))?;
    let mut body = revision_view(&revision);
    body["agent"] = json!(agent);
    body["key"] = json!(key);
    Ok(tagged(
        json_answer(StatusCode::OK, None, &body),
        revision.revision,
    ))
}

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
    let mut fields = Fields::of(parse_json(&raw)?, "")?;
    let value_json = value_of(&mut fields, &raw)?;
    let expected = Expected::of(&headers, whole(&mut fields, "expected_revision")?)?;
    let by = by_of(&principal, "updated_by", fields.text("updated_by")?)?;
    fields.finish()?;
    let change = OperatorChange::State {
        agent: agent.clone(),
        key: key.clone(),
        value_json: Some(value_json),
        expected: expected.revision,
    };
    changed(&api, &headers, by, expected, change, &agent, &key).await
}

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
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let steps = whole(&mut fields, "steps")?;
    let revision = whole(&mut fields, "to_revision")?;
    let expected = Expected::of(&headers, whole(&mut fields, "expected_revision")?)?;
    let by = by_of(&principal, "updated_by", fields.text("updated_by")?)?;
    fields.finish()?;
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
    let body = json!({"agent": agent, "key": key, "revision": revision});
    Ok(tagged(
        json_answer(StatusCode::OK, Some(trace_id), &body),
        revision,
    ))
}

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
    let revisions: Vec<Value> = rows.iter().map(revision_view).collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"agent": agent, "key": key, "revisions": revisions, "next_cursor": next}),
    ))
}
