//! Calls that only read. What touches the disk runs on threads that may block.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::hrm::chain::EnforcedPolicy;
use crate::readiness::{Liveness, ReadinessReport};
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::{DecisionId, Digest, Name, TraceId};
use ark_model::verdict::Rule;
use ark_runtime::GraveyardSource;
use ark_store::{Approval, AuditFilter, AuditKind};

use super::exchange::{Asked, json_answer, not_a, path_text, query_of};
use super::openapi::{Described, PageQuery};
use super::problem::Problem;
use super::routes::{Api, Shared};
use super::view::{DecisionSummary, DecisionView, read_decision};

/// A part of the path, unless it is no UTF-8.
pub(super) type PathText = Result<Path<String>, PathRejection>;

/// How many rows a list holds unless told otherwise, and at most.
const PAGE: (u32, u32) = (50, 500);

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(graveyard))
        .routes(routes!(decisions))
        .routes(routes!(decision))
}

/// A page of decisions, the latest first.
#[derive(Serialize, ToSchema)]
struct DecisionPage {
    decisions: Vec<DecisionSummary>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// The whole record of a decision: with the action as judged and the facts it was judged under.
#[derive(Serialize, ToSchema)]
struct DecisionRecord<'a> {
    #[serde(flatten)]
    decision: DecisionView<'a>,
    /// Of a held one: what became of it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Approval>,
}

/// The pinned Graveyard and the operator's policies.
#[derive(Serialize, ToSchema)]
struct Graveyard {
    name: String,
    version: String,
    sha256: Digest,
    source: GraveyardFrom,
    pin_holds: bool,
    vectors_passed: usize,
    rules: Vec<Rule>,
    operator_policies: Vec<OperatorPolicy>,
}

/// Where it was loaded from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GraveyardFrom {
    /// From the program itself.
    Embedded,
    /// From this file.
    #[schema(value_type = String)]
    File(std::path::PathBuf),
}

/// A policy of the operator.
#[derive(Serialize, ToSchema)]
struct OperatorPolicy {
    policy: String,
    version: String,
    sha256: Digest,
}

/// The process serves
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "about",
    responses((status = 200, description = "It does.", body = Liveness)))]
async fn healthz() -> Response {
    json_answer(StatusCode::OK, None, &crate::readiness::report_liveness())
}

/// The host may judge now
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "about",
    responses(
        (status = 200, description = "It may.", body = ReadinessReport),
        (status = 503, description = "It may not, and says why.", body = ReadinessReport),
    ))]
async fn readyz(State(api): Shared) -> Response {
    let body = api.readiness.to_report(api.router.list_serving().len());
    let status = if body.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, None, &body)
}

/// Lists decisions, the latest first
#[utoipa::path(get, path = "/v1/decisions", operation_id = "list_decisions", tag = "actions",
    params(
        ("agent" = Option<Name>, Query, description = "Of this agent."),
        ("outcome" = Option<Outcome>, Query, description = "With this outcome."),
        ("action_type" = Option<String>, Query, description = "On actions of this type."),
        ("trace_id" = Option<TraceId>, Query, description = "In this trace."),
        PageQuery,
    ),
    responses((status = 200, description = "A page.", body = DecisionPage)))]
async fn decisions(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(
        query,
        &[
            "agent",
            "outcome",
            "action_type",
            "trace_id",
            "limit",
            "cursor",
        ],
    )?;
    let text = |name: &str| query.get(name).map(String::as_str);
    let filter = AuditFilter {
        kind: Some(AuditKind::Decision),
        agent: text("agent")
            .map(|agent| {
                agent
                    .parse()
                    .map_err(|_| not_a("agent", agent, "give an agent's name"))
            })
            .transpose()?,
        outcome: match text("outcome") {
            None => None,
            Some("approved") => Some(Outcome::Approved),
            Some("held") => Some(Outcome::Held),
            Some("denied") => Some(Outcome::Denied),
            Some(other) => return Err(not_a("outcome", other, "give approved, held or denied")),
        },
        action_type: text("action_type").map(str::to_owned),
        trace_id: text("trace_id")
            .map(|trace| {
                trace
                    .parse()
                    .map_err(|_| not_a("trace_id", trace, "give 32 hexadecimal digits"))
            })
            .transpose()?,
    };
    let (limit, before) = page_of(&query)?;
    let rows = off_reactor(&api, move |api| {
        api.store.audit_page(&filter, before, limit)
    })
    .await??;
    let next = (rows.len() == limit as usize)
        .then(|| rows.last().map(|row| row.seq.to_string()))
        .flatten();
    let decisions: Vec<DecisionSummary> = rows.into_iter().map(DecisionSummary::of).collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &DecisionPage {
            decisions,
            next_cursor: next,
        },
    ))
}

/// Which page of a list is asked for: how many rows, and before which.
pub(super) fn page_of(query: &HashMap<String, String>) -> Result<(u32, Option<u64>), Problem> {
    let limit = match query.get("limit") {
        None => PAGE.0,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=PAGE.1).contains(limit))
            .ok_or_else(|| not_a("limit", limit, &format!("give 1 to {}", PAGE.1)))?,
    };
    let before = query
        .get("cursor")
        .map(|cursor| {
            let remedy = "give the next_cursor of the page before";
            cursor
                .parse::<u64>()
                .ok()
                .filter(|seq| i64::try_from(*seq).is_ok())
                .ok_or_else(|| not_a("cursor", cursor, remedy))
        })
        .transpose()?;
    Ok((limit, before))
}

/// A decision: its whole record
///
/// With the action as judged and the facts it was judged under; of a held one also what became of it since.
#[utoipa::path(get, path = "/v1/decisions/{id}", operation_id = "read_decision", tag = "actions",
    params(("id" = DecisionId, Path, description = "The decision.")),
    responses((status = 200, description = "The record.", body = DecisionRecord)))]
async fn decision(State(api): Shared, id: PathText, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let id = path_text(id)?;
    let id: DecisionId = id
        .parse()
        .map_err(|_| not_a("id", &id, "give the decision_id of an answer"))?;
    let decision = find_decision(&api, id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("there is no decision {id}")))?;
    // What became of it since; the decision itself stays what it was.
    let waiting = if decision.outcome == Outcome::Held {
        off_reactor(&api, move |api| api.store.approval(id)).await??
    } else {
        None
    };
    let record = DecisionRecord {
        decision: DecisionView::whole(&decision),
        waiting,
    };
    Ok(json_answer(
        StatusCode::OK,
        Some(decision.trace_id),
        &record,
    ))
}

/// The Graveyard: its rules and its pin
#[utoipa::path(get, path = "/v1/graveyard", operation_id = "graveyard", tag = "policies",
    responses((status = 200, description = "The Graveyard.", body = Graveyard)))]
async fn graveyard(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let identity = &api.identity;
    let source = match &api.graveyard {
        GraveyardSource::Embedded => GraveyardFrom::Embedded,
        GraveyardSource::File(path) => GraveyardFrom::File(path.clone()),
    };
    let operator_policies = api
        .policies
        .in_force()
        .iter()
        .filter_map(|slot| slot.enforced.as_ref())
        .map(EnforcedPolicy::identity)
        .map(|policy| OperatorPolicy {
            policy: policy.metadata.name.clone(),
            version: policy.metadata.version.clone(),
            sha256: policy.digest,
        })
        .collect();
    let graveyard = Graveyard {
        name: identity.metadata.name.clone(),
        version: identity.metadata.version.clone(),
        sha256: identity.digest,
        source,
        pin_holds: api.guards.pin_holds(),
        vectors_passed: api.vectors,
        rules: identity.metadata.rules.clone(),
        operator_policies,
    };
    Ok(json_answer(StatusCode::OK, None, &graveyard))
}

pub(super) async fn find_decision(
    api: &Arc<Api>,
    id: DecisionId,
) -> Result<Option<Decision>, Problem> {
    off_reactor(api, move |api| read_decision(&api.store, id))
        .await?
        .map_err(Problem::unavailable)
}

/// Runs what touches the disk on a thread that may block.
pub(super) async fn off_reactor<T: Send + 'static>(
    api: &Arc<Api>,
    work: impl FnOnce(&Api) -> T + Send + 'static,
) -> Result<T, Problem> {
    let api = Arc::clone(api);
    tokio::task::spawn_blocking(move || work(&api))
        .await
        .map_err(|error| Problem::unavailable(format!("the read was given up: {error}")))
}
