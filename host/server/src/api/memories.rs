//! What agents remember: `/v1/memory`.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use ark_model::check::FieldError;
use ark_model::form::Fields;
use ark_model::ids::{Millis, Name};
use ark_model::principal::Principal;
use ark_model::state::{Memory, NewMemory};
use ark_store::{MemoryFilter, MemoryRow, OperatorChange};

use super::envelope::by_of;
use super::exchange::{Asked, json_answer, not_a, path_text, query_of, read_json};
use super::openapi::{Described, Keyed, PageQuery, UpdatedBy};
use super::operating::{Expected, agent_of, json_of, limit_of, next_of, operate, place_of, whole};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::Shared;
use super::state::PathPair;

/// The longest a memory is kept, unless for good: a hundred years, in seconds.
const LONGEST_SECONDS: u64 = 3_153_600_000;
/// The longest content of a memory, in bytes.
const MEMORY_BYTES: usize = 64 * 1024;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(memories, remember))
        .routes(routes!(forget))
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
        api.store.memories_page(&of, &filter, limit, Millis::now())
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
    let mut fields = Fields::from_document(read_json(&headers, body).await?, "")?;
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
    let metadata = match fields.take_value("metadata") {
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
    let by = by_of(&principal, "updated_by", fields.take_text("updated_by")?)?;
    fields.reject_unknown()?;
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
