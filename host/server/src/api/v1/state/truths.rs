//! The truth map, what all agents hold true: `/v1/truth`. Keys are one segment of the path, as in [`super::agent_state`].

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
use crate::api::http::fields::{Actor, JsonValue, RevisionNumber, number_field, text_field};
use crate::api::http::idempotency::IdempotencyHeader;
use crate::api::http::pagination::PageQuery;
use crate::api::http::preconditions::{Preconditions, with_etag};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, parse_stored_json};
use crate::api::state::{Api, DescribedRoutes, Shared};
use ark_model::check::FieldError;
use ark_model::ids::{Millis, Name};
use ark_model::state::{Truth, TruthWrite};
use ark_store::{OperatorChange, Reader, TruthRow};

use super::key_changes::{KeyChange, KeyChanged, KeyPath, PrefixQuery, read_key_history};

/// The most sources of a truth.
const MAX_SOURCES: usize = 64;
/// The capability that an agent needs to write the truth map.
const CAPABILITY: &str = "truth-set";

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_truths))
        .routes(routes!(read_truth, set_truth))
        .routes(routes!(list_revisions))
}

number_field! {
    /// How sure, from 0 to 1.
    Confidence("a number from 0 to 1", accepts: |number| (0.0..=1.0).contains(&number), schema: |schema| schema.minimum(Some(0)).maximum(Some(1)))
}

text_field! {
    /// The name of a source.
    TruthSource("256 bytes at most", bytes: 0..=256, pattern: None, accepts: |_| true)
}

/// Something held true by all agents.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TruthRequest {
    /// Any JSON value, nested 127 deep at most; integers of more than 64 bits are refused.
    value: JsonValue,
    /// The agent that holds it true, whose manifest grants truth-set.
    agent: Name,
    /// How sure; 1 if left out.
    confidence: Option<Confidence>,
    /// Where it is from.
    #[schema(max_items = 64)]
    sources: Option<Vec<TruthSource>>,
    /// The revision that must still be the latest; 0: there must be none. In place of `If-Match` or `If-None-Match`.
    expected_revision: Option<RevisionNumber>,
    updated_by: Option<Actor>,
}

request_body!(TruthRequest);

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

impl From<TruthRow> for TruthShown {
    fn from(row: TruthRow) -> Self {
        Self {
            key: row.key,
            revision: row.revision,
            value: parse_stored_json(&row.truth.value_json),
            confidence: row.truth.confidence,
            sources: row.truth.sources,
            agent: row.agent,
            at_ms: row.at,
        }
    }
}

/// A page of truths, by key.
#[derive(Serialize, ToSchema)]
struct TruthPage {
    truths: Vec<TruthShown>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A page of a truth's revisions, newest first.
#[derive(Serialize, ToSchema)]
struct TruthHistory {
    key: String,
    revisions: Vec<TruthShown>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Lists truths, by key
#[utoipa::path(get, path = "/v1/truth", operation_id = "list_truths", tag = "truth", params(PrefixQuery),
    responses((status = 200, description = "A page.", body = TruthPage)))]
async fn list_truths(
    State(api): Shared,
    ApiQuery(query): ApiQuery<PrefixQuery>,
) -> Result<Response, Problem> {
    let (rows, next_cursor) = query
        .read_page(&api, Reader::truths_page, |row| row.key.clone())
        .await?;
    let build = || TruthPage {
        truths: convert_rows(rows),
        next_cursor,
    };
    api.answer_page(build).await
}

/// Reads a truth
#[utoipa::path(get, path = "/v1/truth/{key}", operation_id = "read_truth", tag = "truth", params(KeyPath),
    responses((status = 200, description = "The truth.", body = TruthShown, headers(("ETag" = String, description = "The revision.")))))]
async fn read_truth(
    State(api): Shared,
    ApiPath(KeyPath { key }): ApiPath<KeyPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let key = String::from(key);
    let wanted = key.clone();
    let row = api
        .run_blocking(move |api| api.store.latest_truth(&wanted))
        .await??
        .ok_or_else(|| {
            let detail = format!("there is no truth {key:?}");
            Problem::not_found(detail, "key", "GET /v1/truth lists them")
        })?;
    let revision = row.revision;
    let response = json_response(StatusCode::OK, None, &TruthShown::from(row));
    Ok(with_etag(response, revision))
}

/// Lists the revisions of a truth, newest first
#[utoipa::path(get, path = "/v1/truth/{key}/history", operation_id = "list_truth_revisions", tag = "truth", params(KeyPath, PageQuery),
    responses((status = 200, description = "A page.", body = TruthHistory)))]
async fn list_revisions(
    State(api): Shared,
    ApiPath(KeyPath { key }): ApiPath<KeyPath>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    let key = String::from(key);
    let named = (key.as_str(), "truth");
    let read = Reader::truth_history;
    let (rows, next_cursor) =
        read_key_history(&api, named, query, read, |row| row.revision).await?;
    let build = || TruthHistory {
        key,
        revisions: convert_rows(rows),
        next_cursor,
    };
    api.answer_page(build).await
}

/// Sets a truth
///
/// The agent may do so itself: its manifest grants `truth-set`.
#[utoipa::path(put, path = "/v1/truth/{key}", operation_id = "set_truth", tag = "truth",
    params(KeyPath, Preconditions, IdempotencyHeader),
    request_body = TruthRequest,
    responses(
        (status = 200, description = "The change is on disk.", body = KeyChanged, headers(("ETag" = String, description = "The new revision."))),
        (status = 409, description = "The key is at another revision than `expected_revision`."),
        (status = 412, description = "The revision in `If-Match` is not the current one."),
        (status = 422, description = "The conditions contradict each other."),
    ))]
async fn set_truth(
    State(api): Shared,
    caller: Caller,
    ApiPath(KeyPath { key }): ApiPath<KeyPath>,
    _: NoQuery,
    ApiHeaders(preconditions): ApiHeaders<Preconditions>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<TruthRequest>,
) -> Result<Response, Problem> {
    let key = String::from(key);
    let sources = form.sources.unwrap_or_default();
    if sources.len() > MAX_SOURCES {
        let problem = format!("has {} items", sources.len());
        let remedy = format!("give {MAX_SOURCES} at most");
        return Err(FieldError::new("sources", problem, remedy).into());
    }
    let expected = preconditions.expected_revision(form.expected_revision)?;
    let request = KeyChange::attribute(&caller, form.updated_by, expected, &body, idempotency)?;
    check_granted(&api, &form.agent)?;
    let change = OperatorChange::Truth {
        agent: form.agent,
        write: TruthWrite {
            key: key.clone(),
            truth: Truth {
                value_json: form.value.to_canonical()?,
                confidence: form.confidence.map_or(1.0, f64::from),
                sources: sources.into_iter().map(String::from).collect(),
            },
        },
        expected: expected.revision,
    };
    request
        .answer(&api, &caller, "set_truth", key, change)
        .await
}

/// Refuses an agent that is not loaded or may not write the truth map itself.
fn check_granted(api: &Api, agent: &Name) -> Result<(), Problem> {
    let is_granted = api.router.find_serving(agent).is_some_and(|serving| {
        let capabilities = &serving.agent.manifest().capabilities;
        capabilities.iter().any(|granted| granted == CAPABILITY)
    });
    if is_granted {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "not-granted",
        "The agent may not write the truth map",
        format!("no agent {agent} with the capability {CAPABILITY} is loaded"),
    )
    .at("agent", "name an agent whose manifest grants truth-set"))
}
