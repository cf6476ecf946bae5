//! Decisions: `/v1/decisions`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::api::auth::{Caller, LongAnswer};
use crate::api::http::extract::{ApiPath, ApiQuery};
use crate::api::http::pagination::page_rows;
use crate::api::http::preferences::{PreferReturnHeader, Preferences, RulesShown};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::DecisionId;

use super::decision_export::DecisionExport;
use super::decision_form::DecisionForm;
use super::decision_query::{DecisionsQuery, ExportQuery, check_rule_known};
use super::decision_view::{DecisionRecord, DecisionSummary, read_decision};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_decisions))
        .routes(routes!(export_decisions))
        .routes(routes!(show_decision))
}

/// A decision in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct DecisionPath {
    /// The decision.
    id: DecisionId,
}

/// In what form a decision is shown.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DecisionQuery {
    /// Which answers of rules it has; all if left out.
    #[param(inline)]
    rules: Option<RulesShown>,
}

/// A page of decisions, newest first.
#[derive(Serialize, ToSchema)]
struct DecisionPage {
    decisions: Vec<DecisionSummary>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Lists decisions, newest first
///
/// A page looks at 50,000 decisions at most, so one of a filter that few decisions match may have fewer rows than asked for, even none, and a
/// `next_cursor` all the same.
#[utoipa::path(get, path = "/v1/decisions", operation_id = "list_decisions", tag = "actions", params(DecisionsQuery),
    responses(
        (status = 200, description = "A page.", body = DecisionPage),
        (status = 422, description = "The period ends before it begins, or no policy of this host has or had the rule."),
    ))]
async fn list_decisions(
    State(api): Shared,
    ApiQuery(query): ApiQuery<DecisionsQuery>,
) -> Result<Response, Problem> {
    let (limit, before) = (page_rows(query.limit), query.cursor.map(u64::from));
    let filter = query.into_filter(&api.hrm)?;
    let rule = filter.rule.clone();
    let page = api
        .run_blocking(move |api| api.store.decision_page(&filter, before, limit))
        .await??;
    // A name that decisions have need not be looked up.
    if let Some(rule) = rule
        && before.is_none()
        && page.lines.is_empty()
    {
        check_rule_known(&api, &rule).await?;
    }
    let page = DecisionPage {
        decisions: page.lines.into_iter().map(DecisionSummary::of).collect(),
        next_cursor: page.next.map(|seq| seq.to_string()),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// Exports decisions, newest first
///
/// All that match, each with its whole record on a line of its own (NDJSON). An export counts as an event stream of its caller. Where it cannot be finished
/// its connection is cut, and `cursor` with the `seq` of the last whole line goes on behind it.
#[utoipa::path(get, path = "/v1/decisions/export", operation_id = "export_decisions", tag = "actions", params(ExportQuery, PreferReturnHeader),
    responses(
        (status = 200, description = "The decisions.", content_type = "application/x-ndjson", body = String),
        (status = 422, description = "The period ends before it begins, or no policy of this host has or had the rule."),
    ))]
async fn export_decisions(
    State(api): Shared,
    caller: Caller,
    ApiQuery(query): ApiQuery<ExportQuery>,
    preferences: Preferences,
) -> Result<Response, Problem> {
    let form = DecisionForm::new(query.rules, preferences);
    let before = query.cursor.map(u64::from);
    let left = query.limit.map(|limit| page_rows(Some(limit)));
    let filter = query.into_filter(&api.hrm)?;
    if let Some(rule) = &filter.rule {
        check_rule_known(&api, rule).await?;
    }
    let export = DecisionExport {
        form,
        before,
        left,
        place: api.places.take_place(&caller.principal.name)?,
        filter: Arc::new(filter),
    };
    let mut response = Response::new(Body::from_stream(export.into_chunks(api)));
    let content_type = HeaderValue::from_static("application/x-ndjson");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response.extensions_mut().insert(LongAnswer::Finite);
    Ok(preferences.mark_applied(response))
}

/// Reads the whole record of a decision
///
/// With the action as judged and the facts it was judged under; of a held one also what became of it since.
#[utoipa::path(get, path = "/v1/decisions/{id}", operation_id = "read_decision", tag = "actions", params(DecisionPath, DecisionQuery, PreferReturnHeader),
    responses((status = 200, description = "The record.", body = DecisionRecord)))]
async fn show_decision(
    State(api): Shared,
    ApiPath(DecisionPath { id }): ApiPath<DecisionPath>,
    ApiQuery(query): ApiQuery<DecisionQuery>,
    preferences: Preferences,
) -> Result<Response, Problem> {
    let decision = find_decision(&api, id).await?.ok_or_else(|| {
        let remedy = "GET /v1/decisions lists them; rows that were archived are in their archive";
        Problem::not_found(format!("there is no decision {id}"), "id", remedy)
    })?;
    // What became of it since; the decision itself stays what it was.
    let waiting = if decision.outcome == Outcome::Held {
        api.run_blocking(move |api| api.store.approval(id))
            .await??
    } else {
        None
    };
    let form = DecisionForm::new(query.rules, preferences);
    let record = DecisionRecord::of_view(form.show_record(&decision), waiting);
    let response = json_response(StatusCode::OK, Some(decision.trace_id), &record);
    Ok(preferences.mark_applied(response))
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
