//! Decisions: `/v1/decisions`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::api::http::extract::{ApiPath, ApiQuery, NoQuery};
use crate::api::http::pagination::{Limit, RowCursor, next_cursor, page_rows};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::{DecisionId, Name, TraceId};
use ark_store::{AuditFilter, AuditKind};

use super::decision_view::{DecisionRecord, DecisionSummary, read_decision};

pub(crate) fn routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_decisions))
        .routes(routes!(show_decision))
}

/// A decision in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct DecisionPath {
    /// The decision.
    id: DecisionId,
}

/// Which decisions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DecisionsQuery {
    /// Of this agent.
    agent: Option<Name>,
    /// With this outcome.
    outcome: Option<Outcome>,
    /// On actions of this type.
    action_type: Option<String>,
    /// In this trace.
    trace_id: Option<TraceId>,
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<RowCursor>,
}

/// A page of decisions, the latest first.
#[derive(Serialize, ToSchema)]
struct DecisionPage {
    decisions: Vec<DecisionSummary>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Lists decisions, the latest first
#[utoipa::path(get, path = "/v1/decisions", operation_id = "list_decisions", tag = "actions", params(DecisionsQuery),
    responses((status = 200, description = "A page.", body = DecisionPage)))]
async fn list_decisions(
    State(api): Shared,
    ApiQuery(query): ApiQuery<DecisionsQuery>,
) -> Result<Response, Problem> {
    let limit = page_rows(query.limit);
    let before = query.cursor.map(u64::from);
    let filter = AuditFilter {
        kind: Some(AuditKind::Decision),
        agent: query.agent,
        outcome: query.outcome,
        action_type: query.action_type,
        trace_id: query.trace_id,
    };
    let rows = api
        .run_blocking(move |api| api.store.audit_page(&filter, before, limit))
        .await??;
    let page = DecisionPage {
        next_cursor: next_cursor(&rows, limit, |row| row.seq.to_string()),
        decisions: rows.into_iter().map(DecisionSummary::of).collect(),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// A decision: its whole record
///
/// With the action as judged and the facts it was judged under; of a held one also what became of it since.
#[utoipa::path(get, path = "/v1/decisions/{id}", operation_id = "read_decision", tag = "actions", params(DecisionPath),
    responses((status = 200, description = "The record.", body = DecisionRecord)))]
async fn show_decision(
    State(api): Shared,
    ApiPath(DecisionPath { id }): ApiPath<DecisionPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let decision = find_decision(&api, id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("there is no decision {id}")))?;
    // What became of it since; the decision itself stays what it was.
    let waiting = if decision.outcome == Outcome::Held {
        api.run_blocking(move |api| api.store.approval(id))
            .await??
    } else {
        None
    };
    let record = DecisionRecord::new(&decision, waiting);
    Ok(json_response(
        StatusCode::OK,
        Some(decision.trace_id),
        &record,
    ))
}

/// Reads a decision from the audit log.
///
/// # Errors
/// The database cannot be read, or the record is malformed.
pub(crate) async fn find_decision(
    api: &Arc<Api>,
    id: DecisionId,
) -> Result<Option<Decision>, Problem> {
    api.run_blocking(move |api| read_decision(&api.store, id))
        .await?
        .map_err(Problem::unavailable)
}
