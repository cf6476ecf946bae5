//! What agents remember: `/v1/memory`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiPath, ApiQuery, NoQuery, request_body};
use crate::api::http::fields::{
    Actor, JsonValue, MAX_INTEGER, PLAIN, integer_field, is_plain, text_field,
};
use crate::api::http::idempotency::IdempotencyHeader;
use crate::api::http::pagination::{Limit, RowCursor, next_cursor, page_rows};
use crate::api::http::preconditions::ExpectedRevision;
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, parse_stored_json};
use crate::api::state::{DescribedRoutes, Shared};
use ark_model::ids::{Millis, Name};
use ark_model::state::{Memory, NewMemory};
use ark_store::{MemoryFilter, MemoryRow, OperatorChange};

use crate::api::v1::names::AgentPath;

use super::key_changes::KeyChange;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_memories, add_memory))
        .routes(routes!(delete_memory))
}

integer_field! {
    /// The id of a memory.
    MemoryId("the id of a memory", 1..=MAX_INTEGER)
}

/// A memory in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct MemoryPath {
    /// The agent.
    agent: Name,
    /// The memory.
    #[param(inline)]
    id: MemoryId,
}

/// Which memories are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MemoriesQuery {
    /// Only memories of this kind.
    kind: Option<String>,
    /// Only memories with all of these words.
    q: Option<String>,
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<RowCursor>,
}

/// Who deletes a memory.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DeleteMemoryQuery {
    /// Who does it. With a token its name, which may be left out.
    #[param(inline)]
    updated_by: Option<Actor>,
}

text_field! {
    /// The kind of a memory, e.g. observation.
    MemoryKind("1 to 64 bytes of plain text", bytes: 1..=64, pattern: Some(PLAIN), accepts: is_plain)
}

text_field! {
    /// The text of a memory.
    MemoryContent("1 to 65536 bytes", bytes: 1..=65_536, pattern: None, accepts: |_| true)
}

integer_field! {
    /// A time in seconds: a hundred years at most.
    MemoryTtl("1 to 3153600000 (a hundred years), or leave it out", 1..=3_153_600_000)
}

/// Something an agent is to remember.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MemoryRequest {
    /// Its kind, e.g. observation.
    kind: MemoryKind,
    /// The text to remember.
    content: MemoryContent,
    /// A JSON object for machines.
    #[schema(value_type = Option<std::collections::BTreeMap<String, JsonValue>>)]
    metadata: Option<Map<String, Value>>,
    /// How long it is kept, in seconds; without an end if left out.
    ttl_seconds: Option<MemoryTtl>,
    updated_by: Option<Actor>,
}

request_body!(MemoryRequest);

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

impl From<MemoryRow> for MemoryShown {
    fn from(row: MemoryRow) -> Self {
        Self {
            id: row.id,
            kind: row.memory.kind,
            content: row.memory.content,
            metadata: parse_stored_json(&row.memory.metadata_json),
            at_ms: row.at,
            expires_at_ms: row.expires_at,
        }
    }
}

/// A page of memories, newest first.
#[derive(Serialize, ToSchema)]
struct MemoryPage {
    agent: Name,
    memories: Vec<MemoryShown>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A memory that is kept, or is no more.
#[derive(Serialize, ToSchema)]
struct MemoryChanged {
    agent: Name,
    id: u64,
}

/// Lists an agent's memories, newest first
#[utoipa::path(get, path = "/v1/memory/{agent}", operation_id = "list_memories", tag = "state", params(AgentPath, MemoriesQuery),
    responses((status = 200, description = "A page.", body = MemoryPage)))]
async fn list_memories(
    State(api): Shared,
    ApiPath(AgentPath { agent }): ApiPath<AgentPath>,
    ApiQuery(query): ApiQuery<MemoriesQuery>,
) -> Result<Response, Problem> {
    let limit = page_rows(query.limit);
    let before = query.cursor.map(u64::from);
    let filter = MemoryFilter {
        kind: query.kind,
        words: query.q.filter(|words| !words.trim().is_empty()),
        before: before.and_then(|id| i64::try_from(id).ok()),
    };
    let of = agent.clone();
    let rows = api
        .run_blocking(move |api| api.store.memories_page(&of, &filter, limit, Millis::now()))
        .await??;
    let build = move || MemoryPage {
        agent,
        next_cursor: next_cursor(&rows, limit, |row| row.id.to_string()),
        memories: rows.into_iter().map(MemoryShown::from).collect(),
    };
    api.answer_page(build).await
}

/// Adds a memory
#[utoipa::path(post, path = "/v1/memory/{agent}", operation_id = "remember", tag = "state", params(AgentPath, IdempotencyHeader),
    request_body = MemoryRequest,
    responses(
        (status = 201, description = "The change is on disk.", body = MemoryChanged),
    ))]
async fn add_memory(
    State(api): Shared,
    caller: Caller,
    ApiPath(AgentPath { agent }): ApiPath<AgentPath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<MemoryRequest>,
) -> Result<Response, Problem> {
    let memory = Memory {
        kind: form.kind.into(),
        content: form.content.into(),
        metadata_json: Value::Object(form.metadata.unwrap_or_default()).to_string(),
    };
    let change = OperatorChange::Remember {
        agent: agent.clone(),
        memory: NewMemory {
            memory,
            ttl_seconds: form.ttl_seconds.map(u64::from),
        },
    };
    let request = KeyChange::attribute(
        &caller,
        form.updated_by,
        ExpectedRevision::default(),
        &body,
        idempotency,
    )?;
    let id = request
        .commit(&api, &caller, "remember", json!([agent]), change)
        .await?;
    let body = MemoryChanged { agent, id };
    Ok(json_response(
        StatusCode::CREATED,
        Some(caller.trace_id),
        &body,
    ))
}

/// Deletes a memory
#[utoipa::path(delete, path = "/v1/memory/{agent}/{id}", operation_id = "forget", tag = "state",
    params(MemoryPath, DeleteMemoryQuery, IdempotencyHeader),
    responses(
        (status = 200, description = "The memory was removed, and that is on disk.", body = MemoryChanged),
    ))]
async fn delete_memory(
    State(api): Shared,
    caller: Caller,
    ApiPath(MemoryPath { agent, id }): ApiPath<MemoryPath>,
    ApiQuery(query): ApiQuery<DeleteMemoryQuery>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
) -> Result<Response, Problem> {
    let number = u64::from(id);
    let change = OperatorChange::Forget {
        agent: agent.clone(),
        id: i64::try_from(number).unwrap_or(i64::MAX),
    };
    let request = KeyChange::attribute(
        &caller,
        query.updated_by,
        ExpectedRevision::default(),
        b"",
        idempotency,
    )?;
    let id = request
        .commit(&api, &caller, "forget", json!([agent, number]), change)
        .await?;
    let body = MemoryChanged { agent, id };
    Ok(json_response(StatusCode::OK, Some(caller.trace_id), &body))
}
