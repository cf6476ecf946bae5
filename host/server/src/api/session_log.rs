//! What was done: `/v1/session-log`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use ark_model::ids::{Millis, Name};
use ark_store::{SessionFilter, SessionRow};

use super::exchange::{Asked, json_answer, query_of};
use super::openapi::{Described, PageQuery};
use super::operating::{agent_of, limit_of, next_of, place_of};
use super::problem::Problem;
use super::reading::off_reactor;
use super::routes::Shared;

pub(super) fn routes() -> Described {
    Described::new().routes(routes!(session_log))
}

/// A page of the session log, the latest first.
#[derive(Serialize, ToSchema)]
struct SessionPage {
    entries: Vec<SessionRow>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
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
