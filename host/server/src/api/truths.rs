//! What agents hold true: `/v1/truth`. Keys are one segment of the path, as in [`super::state`].

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use ark_model::check::FieldError;
use ark_model::form::{Fields, parse_json};
use ark_model::ids::{Millis, Name};
use ark_model::principal::Principal;
use ark_model::state::{Truth, TruthWrite};
use ark_store::{OperatorChange, TruthRow};

use super::envelope::by_of;
use super::exchange::{Asked, json_answer, not_a, parsed, query_of, read_bytes};
use super::openapi::{Conditional, Described, KeyPageQuery, KeyPath, Keyed, PageQuery};
use super::operating::{
    Expected, KeyChanged, json_of, key_text, keyed, limit_of, next_of, place_of, tagged, value_of,
    whole,
};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::Shared;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(truths))
        .routes(routes!(truth, hold_true))
        .routes(routes!(truth_history))
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
        api.store.truths_page(&prefix, after.as_deref(), limit)
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
    let row = off_reactor(&api, move |api| api.store.latest_truth(&wanted))
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
    let mut fields = Fields::from_document(parse_json(&raw)?, "")?;
    let value_json = value_of(&mut fields, &raw)?;
    let agent: Name = parsed(&mut fields, "agent", "give an agent's name")?.ok_or_else(|| {
        FieldError::new("agent", "is missing", "name the agent that holds it true")
    })?;
    let confidence = fields.take_number("confidence")?.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&confidence) {
        let remedy = "give a number from 0 to 1";
        return Err(not_a("confidence", &confidence.to_string(), remedy));
    }
    let sources = fields.take_texts("sources")?;
    if sources.len() > 64 || sources.iter().any(|source| source.len() > 256) {
        let remedy = "give 64 names of 256 bytes at most";
        return Err(FieldError::new("sources", "are too many or too long", remedy).into());
    }
    let expected = Expected::of(&headers, whole(&mut fields, "expected_revision")?)?;
    let by = by_of(&principal, "updated_by", fields.take_text("updated_by")?)?;
    fields.reject_unknown()?;
    let granted = api.router.list_serving().iter().any(|seat| {
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
