//! Memories, configuration, the truth map and the session log. Keys are one segment of the path, as in [`super::state`].

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::model::check::FieldError;
use crate::model::form::{Fields, parse_json};
use crate::model::ids::{Millis, Name};
use crate::model::principal::Principal;
use crate::model::state::{Memory, NewMemory, Truth, TruthWrite};
use crate::store::{
    MemoryFilter, MemoryRow, OperatorChange, SessionFilter, SessionRow, Setting, TruthRow,
};

use super::envelope::by_of;
use super::exchange::{
    Asked, json_answer, not_a, parsed, path_text, query_of, read_bytes, read_json,
};
use super::openapi::{
    Conditional, Described, ExpectedRevision, KeyPageQuery, KeyPath, Keyed, PageQuery, UpdatedBy,
};
use super::operating::{
    Expected, agent_of, json_of, key_of, limit_of, next_of, operate, place_of, tagged, value_of,
    whole,
};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};
use super::state::PathPair;

/// The longest a memory is kept, unless for good: a hundred years, in seconds.
const LONGEST_SECONDS: u64 = 3_153_600_000;
/// The longest content of a memory, in bytes.
const MEMORY_BYTES: usize = 64 * 1024;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(memories, remember))
        .routes(routes!(forget))
        .routes(routes!(settings))
        .routes(routes!(setting, configure, unset))
        .routes(routes!(setting_history))
        .routes(routes!(truths))
        .routes(routes!(truth, hold_true))
        .routes(routes!(truth_history))
        .routes(routes!(session_log))
}

/// Something an agent remembers.
#[derive(Serialize, ToSchema)]
struct MemoryShown {
    id: i64,
    kind: String,
    content: String,
    #[schema(value_type = Object)]
    metadata: Value,
    at_ms: Millis,
    expires_at_ms: Option<Millis>,
}

/// A page of memories, the latest first.
#[derive(Serialize, ToSchema)]
struct MemoryPage {
    agent: Name,
    memories: Vec<MemoryShown>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A memory that is kept, or is no more.
#[derive(Serialize, ToSchema)]
struct MemoryChanged {
    agent: Name,
    id: u64,
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

/// Something held true by all agents.
#[derive(Serialize, ToSchema)]
struct TruthShown {
    key: String,
    revision: u64,
    /// Any JSON value.
    value: Value,
    confidence: f64,
    sources: Vec<String>,
    /// The agent that holds it true.
    agent: Name,
    at_ms: Millis,
}

/// A page of truths, by key.
#[derive(Serialize, ToSchema)]
struct TruthPage {
    truths: Vec<TruthShown>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A page of a truth's revisions, the latest first.
#[derive(Serialize, ToSchema)]
struct TruthHistory {
    key: String,
    revisions: Vec<TruthShown>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A change that is on disk.
#[derive(Serialize, ToSchema)]
struct KeyChanged<'a> {
    key: &'a str,
    /// The revision it made.
    revision: u64,
}

/// A page of the session log, the latest first.
#[derive(Serialize, ToSchema)]
struct SessionPage {
    entries: Vec<SessionRow>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

fn key_text(key: PathText) -> Result<String, Problem> {
    key_of(path_text(key)?)
}

fn memory_view(row: MemoryRow) -> MemoryShown {
    MemoryShown {
        id: row.id,
        kind: row.memory.kind,
        content: row.memory.content,
        metadata: json_of(&row.memory.metadata_json),
        at_ms: row.at,
        expires_at_ms: row.expires_at,
    }
}

/// Lists what an agent remembers, the latest first
#[utoipa::path(get, path = "/v1/memory/{agent}", operation_id = "list_memories", tag = "state",
    params(
        ("agent" = Name, Path, description = "The agent."),
        ("kind" = Option<String>, Query, description = "Of this kind."),
        ("q" = Option<String>, Query, description = "With all of these words."),
        PageQuery,
    ),
    responses((status = 200, description = "A page.", body = MemoryPage)))]
async fn memories(State(api): Shared, agent: PathText, query: Asked) -> Result<Response, Problem> {
    let agent = agent_of(&path_text(agent)?)?;
    let query = query_of(query, &["kind", "q", "limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let filter = MemoryFilter {
        kind: query.get("kind").cloned(),
        words: query
            .get("q")
            .filter(|words| !words.trim().is_empty())
            .cloned(),
        before: place_of(&query, "cursor", "give the next_cursor of the page before")?
            .and_then(|place| i64::try_from(place).ok()),
    };
    let of = agent.clone();
    let rows = off_reactor(&api, move |api| {
        api.store.memory_page(&of, &filter, limit, Millis::now())
    })
    .await??;
    let next = next_of(&rows, limit, |row| row.id.to_string());
    let page = MemoryPage {
        agent,
        memories: rows.into_iter().map(memory_view).collect(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Gives an agent something to remember
#[utoipa::path(post, path = "/v1/memory/{agent}", operation_id = "remember", tag = "state",
    params(("agent" = Name, Path, description = "The agent."), Keyed),
    request_body = ref("#/components/schemas/MemoryRequest"),
    responses(
        (status = 201, description = "It is on disk.", body = MemoryChanged),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn remember(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    agent: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let agent = agent_of(&path_text(agent)?)?;
    query_of(query, &[])?;
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let kind = fields.required_text("kind", "name the kind, e.g. observation")?;
    if kind.is_empty() || kind.len() > 64 || kind.chars().any(char::is_control) {
        return Err(not_a("kind", &kind, "give 1 to 64 bytes of plain text"));
    }
    let content = fields.required_text("content", "give the text to remember")?;
    if content.is_empty() || content.len() > MEMORY_BYTES {
        let problem = format!("has {} bytes", content.len());
        let remedy = format!("give 1 to {MEMORY_BYTES}");
        return Err(FieldError::new("content", problem, remedy).into());
    }
    let metadata = match fields.take("metadata") {
        None | Some(Value::Null) => json!({}),
        Some(metadata) if metadata.is_object() => metadata,
        Some(other) => return Err(not_a("metadata", &other.to_string(), "give a JSON object")),
    };
    let ttl_seconds = whole(&mut fields, "ttl_seconds")?;
    if let Some(seconds) = ttl_seconds
        && !(1..=LONGEST_SECONDS).contains(&seconds)
    {
        let remedy = format!("give 1 to {LONGEST_SECONDS} (a hundred years), or leave it out");
        return Err(not_a("ttl_seconds", &seconds.to_string(), &remedy));
    }
    let by = by_of(&principal, "updated_by", fields.text("updated_by")?)?;
    fields.finish()?;
    let change = OperatorChange::Remember {
        agent: agent.clone(),
        memory: NewMemory {
            memory: Memory {
                kind,
                content,
                metadata_json: metadata.to_string(),
            },
            ttl_seconds,
        },
    };
    let (id, trace_id) = operate(&api, &headers, by, Expected::nothing(), change).await?;
    Ok(json_answer(
        StatusCode::CREATED,
        Some(trace_id),
        &MemoryChanged { agent, id },
    ))
}

/// Takes a memory away
#[utoipa::path(delete, path = "/v1/memory/{agent}/{id}", operation_id = "forget", tag = "state",
    params(
        ("agent" = Name, Path, description = "The agent."),
        ("id" = i64, Path, description = "The memory.", minimum = 1, maximum = 9_223_372_036_854_775_807_u64),
        UpdatedBy,
        Keyed,
    ),
    responses(
        (status = 200, description = "It is gone, and that is on disk.", body = MemoryChanged),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn forget(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    path: PathPair,
    query: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let axum::extract::Path((agent, id)) =
        path.map_err(|rejection| FieldError::new("path", rejection.body_text(), "send UTF-8"))?;
    let agent = agent_of(&agent)?;
    let query = query_of(query, &["updated_by"])?;
    let number = id.parse().ok().filter(|id: &i64| *id > 0);
    let number = number.ok_or_else(|| not_a("id", &id, "give the id of a memory"))?;
    let change = OperatorChange::Forget {
        agent: agent.clone(),
        id: number,
    };
    let by = by_of(&principal, "updated_by", query.get("updated_by").cloned())?;
    let (id, trace_id) = operate(&api, &headers, by, Expected::nothing(), change).await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(trace_id),
        &MemoryChanged { agent, id },
    ))
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
    let found = off_reactor(&api, move |api| api.store.setting(&wanted)).await??;
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
    let mut fields = Fields::of(parse_json(&raw)?, "")?;
    let value_json = value_of(&mut fields, &raw)?;
    let description = fields.text("description")?;
    if let Some(text) = description.as_deref().filter(|text| text.len() > 1024) {
        return Err(not_a("description", text, "give 1,024 bytes at most"));
    }
    let expected = Expected::of(&headers, whole(&mut fields, "expected_revision")?)?;
    let by = by_of(&principal, "updated_by", fields.text("updated_by")?)?;
    fields.finish()?;
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

async fn keyed(
    api: &Arc<Api>,
    headers: &HeaderMap,
    by: String,
    expected: Expected,
    change: OperatorChange,
    key: &str,
) -> Result<Response, Problem> {
    let (revision, trace_id) = operate(api, headers, by, expected, change).await?;
    let body = KeyChanged { key, revision };
    Ok(tagged(
        json_answer(StatusCode::OK, Some(trace_id), &body),
        revision,
    ))
}

fn truth_view(row: TruthRow) -> TruthShown {
    TruthShown {
        key: row.key,
        revision: row.revision,
        value: json_of(&row.truth.value_json),
        confidence: row.truth.confidence,
        sources: row.truth.sources,
        agent: row.agent,
        at_ms: row.at,
    }
}

/// Lists what is held true, by key
#[utoipa::path(get, path = "/v1/truth", operation_id = "list_truths", tag = "truth",
    params(("prefix" = Option<String>, Query, description = "Only keys that begin so."), KeyPageQuery),
    responses((status = 200, description = "A page.", body = TruthPage)))]
async fn truths(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["prefix", "limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let after = query.get("cursor").cloned();
    let rows = off_reactor(&api, move |api| {
        api.store.truth_page(&prefix, after.as_deref(), limit)
    })
    .await??;
    let next = next_of(&rows, limit, |row| row.key.clone());
    let page = TruthPage {
        truths: rows.into_iter().map(truth_view).collect(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Something held true
#[utoipa::path(get, path = "/v1/truth/{key}", operation_id = "read_truth", tag = "truth", params(KeyPath),
    responses((status = 200, description = "The truth.", body = TruthShown, headers(("ETag" = String, description = "The revision.")))))]
async fn truth(State(api): Shared, key: PathText, query: Asked) -> Result<Response, Problem> {
    let key = key_text(key)?;
    query_of(query, &[])?;
    let wanted = key.clone();
    let row = off_reactor(&api, move |api| api.store.truth_latest(&wanted))
        .await??
        .ok_or_else(|| Problem::not_found(format!("there is no truth {key:?}")))?;
    let revision = row.revision;
    Ok(tagged(
        json_answer(StatusCode::OK, None, &truth_view(row)),
        revision,
    ))
}

/// Lists the revisions of a truth, the latest first
#[utoipa::path(get, path = "/v1/truth/{key}/history", operation_id = "list_truth_revisions", tag = "truth", params(KeyPath, PageQuery),
    responses((status = 200, description = "A page.", body = TruthHistory)))]
async fn truth_history(
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
        api.store.truth_history(&wanted, before, limit)
    })
    .await??;
    if rows.is_empty() && before.is_none() {
        return Err(Problem::not_found(format!(
            "there never was a truth {key:?}"
        )));
    }
    let next = next_of(&rows, limit, |row| row.revision.to_string());
    let page = TruthHistory {
        key,
        revisions: rows.into_iter().map(truth_view).collect(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Holds something true in the name of an agent
///
/// Of an agent that may do so itself: its manifest grants `truth-set`.
#[utoipa::path(put, path = "/v1/truth/{key}", operation_id = "set_truth", tag = "truth", params(KeyPath, Conditional, Keyed),
    request_body = ref("#/components/schemas/TruthRequest"),
    responses(
        (status = 200, description = "It is on disk.", body = KeyChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "It is at another revision than `expected_revision`."),
        (status = 412, description = "It is at another revision than the header says."),
        (status = 422, description = "The conditions contradict each other, or the idempotency key was used for another request."),
    ))]
async fn hold_true(
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
    let mut fields = Fields::of(parse_json(&raw)?, "")?;
    let value_json = value_of(&mut fields, &raw)?;
    let agent: Name = parsed(&mut fields, "agent", "give an agent's name")?.ok_or_else(|| {
        FieldError::new("agent", "is missing", "name the agent that holds it true")
    })?;
    let confidence = fields.number("confidence")?.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&confidence) {
        let remedy = "give a number from 0 to 1";
        return Err(not_a("confidence", &confidence.to_string(), remedy));
    }
    let sources = fields.texts("sources")?;
    if sources.len() > 64 || sources.iter().any(|source| source.len() > 256) {
        let remedy = "give 64 names of 256 bytes at most";
        return Err(FieldError::new("sources", "are too many or too long", remedy).into());
    }
    let expected = Expected::of(&headers, whole(&mut fields, "expected_revision")?)?;
    let by = by_of(&principal, "updated_by", fields.text("updated_by")?)?;
    fields.finish()?;
    let granted = api.router.seats().iter().any(|seat| {
        let manifest = seat.agent.manifest();
        manifest.name == agent
            && manifest
                .capabilities
                .iter()
                .any(|granted| granted == "truth-set")
    });
    if !granted {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "not-granted",
            "The agent may not write the truth map",
            format!("no agent {agent} with the capability truth-set is loaded"),
        )
        .at("agent", "name an agent whose manifest grants truth-set"));
    }
    let change = OperatorChange::Truth {
        agent,
        write: TruthWrite {
            key: key.clone(),
            truth: Truth {
                value_json,
                confidence,
                sources,
            },
        },
        expected: expected.revision,
    };
    keyed(&api, &headers, by, expected, change, &key).await
}

/// Lists everything that was done, the latest first
#[utoipa::path(get, path = "/v1/session-log", operation_id = "session_log", tag = "events",
    params(
        ("agent" = Option<Name>, Query, description = "About this agent."),
        ("action_type" = Option<String>, Query, description = "With this type of action or this operation."),
        ("result" = Option<String>, Query, description = "With this result, e.g. handled, failed, approved, denied, done."),
        ("since_ms" = Option<u64>, Query, description = "Not before this moment, in milliseconds since 1970 (UTC).",
            maximum = 9_223_372_036_854_775_807_u64),
        ("until_ms" = Option<u64>, Query, description = "Before this moment.", maximum = 9_223_372_036_854_775_807_u64),
        PageQuery,
    ),
    responses((status = 200, description = "A page.", body = SessionPage)))]
async fn session_log(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let known = [
        "agent",
        "action_type",
        "result",
        "since_ms",
        "until_ms",
        "limit",
        "cursor",
    ];
    let query = query_of(query, &known)?;
    let limit = limit_of(&query)?;
    let moment = "give milliseconds since 1970 (UTC)";
    let filter = SessionFilter {
        agent: query
            .get("agent")
            .map(|agent| agent_of(agent))
            .transpose()?,
        action_type: query.get("action_type").cloned(),
        result: query.get("result").cloned(),
        since: place_of(&query, "since_ms", moment)?.map(Millis),
        until: place_of(&query, "until_ms", moment)?.map(Millis),
        before: place_of(&query, "cursor", "give the next_cursor of the page before")?,
    };
    let rows = off_reactor(&api, move |api| api.store.session_page(&filter, limit)).await??;
    let next = next_of(&rows, limit, |row| row.seq.to_string());
    Ok(json_answer(
        StatusCode::OK,
        None,
        &SessionPage {
            entries: rows,
            next_cursor: next,
        },
    ))
}
