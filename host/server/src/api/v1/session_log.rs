//! The session log, everything that was done: `/v1/session-log`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::api::http::answer::{answer_from, convert_rows};
use crate::api::http::extract::ApiQuery;
use crate::api::http::fields::Moment;
use crate::api::http::pagination::{Limit, RowCursor, next_cursor, page_rows};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{DescribedRoutes, Shared};
use ark_model::ids::{Millis, Name, TraceId};
use ark_store::{SessionLogFilter, SessionLogRow};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new().routes(routes!(list_session_log))
}

/// Which entries of the session log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SessionLogQuery {
    /// About this agent.
    agent: Option<Name>,
    /// With this type of action or this operation.
    action_type: Option<String>,
    /// With this result, e.g. handled, failed, approved, denied, done.
    result: Option<String>,
    /// Not before this moment, in milliseconds since 1970 (UTC).
    #[param(inline)]
    since_ms: Option<Moment>,
    /// Before this moment.
    #[param(inline)]
    until_ms: Option<Moment>,
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<RowCursor>,
}

answer_from! { SessionLogRow =>
    /// A line of the session log.
    struct SessionLine {
        /// The number of the line; later lines have greater ones.
        seq: u64,
        /// When it happened.
        at_ms: Millis,
        /// `invocation`, or the kind of an audit row.
        kind: String,
        /// The agent the line is about.
        agent: Option<Name>,
        /// The type of the action, or the name of the operation.
        action_type: Option<String>,
        /// The result: `handled`, `failed`, `approved`, `held`, `denied` or `done`.
        result: String,
        /// The trace the line belongs to.
        trace_id: Option<TraceId>,
        /// The id of the audit row or of the signal.
        reference: String,
    }
}

/// A page of the session log, newest first.
#[derive(Serialize, ToSchema)]
struct SessionPage {
    entries: Vec<SessionLine>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Lists the rows of the audit log, newest first
#[utoipa::path(get, path = "/v1/session-log", operation_id = "session_log", tag = "events", params(SessionLogQuery),
    responses((status = 200, description = "A page.", body = SessionPage)))]
async fn list_session_log(
    State(api): Shared,
    ApiQuery(query): ApiQuery<SessionLogQuery>,
) -> Result<Response, Problem> {
    let limit = page_rows(query.limit);
    let millis = |moment: Moment| Millis(moment.into());
    let filter = SessionLogFilter {
        agent: query.agent,
        action_type: query.action_type,
        result: query.result,
        since: query.since_ms.map(millis),
        until: query.until_ms.map(millis),
        before: query.cursor.map(u64::from),
    };
    let rows = api
        .run_blocking(move |api| api.store.session_page(&filter, limit))
        .await??;
    let page = SessionPage {
        next_cursor: next_cursor(&rows, limit, |row| row.seq.to_string()),
        entries: convert_rows(rows),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}
