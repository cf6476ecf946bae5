//! Calls that only read. What touches the disk runs on threads that may block.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::model::decision::{Decision, Outcome};
use crate::model::ids::DecisionId;
use crate::runtime::GraveyardSource;
use crate::store::{AuditFilter, AuditKind};

use super::exchange::{Asked, json_answer, not_a, path_text, query_of};
use super::problem::Problem;
use super::routes::{Api, Shared};
use super::view::{DecisionSummary, DecisionView, read_decision};

/// A part of the path, unless it is no UTF-8.
pub(super) type PathText = Result<Path<String>, PathRejection>;

/// How many rows a list holds unless told otherwise, and at most.
const PAGE: (u32, u32) = (50, 500);

pub(super) async fn healthz() -> Response {
    json_answer(StatusCode::OK, None, &crate::readiness::alive())
}

pub(super) async fn readyz(State(api): Shared) -> Response {
    let (ready, body) = api.readiness.answer(api.router.seats().len());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, None, &body)
}

pub(super) async fn decisions(State(api): Shared, query: Asked) -> Result<Response, Problem> {
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
        &json!({"decisions": decisions, "next_cursor": next}),
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

pub(super) async fn decision(State(api): Shared, id: PathText) -> Result<Response, Problem> {
    let id = path_text(id)?;
    let id: DecisionId = id
        .parse()
        .map_err(|_| not_a("id", &id, "give the decision_id of an answer"))?;
    let decision = find_decision(&api, id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("there is no decision {id}")))?;
    let mut view = json!(DecisionView::whole(&decision));
    if decision.outcome == Outcome::Held {
        // What became of it since; the decision itself stays what it was.
        let waiting = off_reactor(&api, move |api| api.store.approval(id)).await??;
        view["waiting"] = json!(waiting);
    }
    Ok(json_answer(StatusCode::OK, Some(decision.trace_id), &view))
}

pub(super) async fn graveyard(State(api): Shared) -> Result<Response, Problem> {
    let identity = &api.identity;
    let source = match &api.graveyard {
        GraveyardSource::Embedded => json!("embedded"),
        GraveyardSource::File(path) => json!({"file": path}),
    };
    let operator: Vec<Value> = api
        .policies
        .in_force()
        .iter()
        .filter_map(|slot| slot.enforced.as_ref())
        .map(|enforced| {
            let policy = enforced.identity();
            json!({"policy": policy.metadata.name, "version": policy.metadata.version, "sha256": policy.digest})
        })
        .collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({
            "name": identity.metadata.name,
            "version": identity.metadata.version,
            "sha256": identity.digest,
            "source": source,
            "pin_holds": api.guards.pin_holds(),
            "vectors_passed": api.vectors,
            "rules": identity.metadata.rules,
            "operator_policies": operator,
        }),
    ))
}

pub(super) async fn agents_list(State(api): Shared) -> Response {
    use std::sync::atomic::Ordering::Relaxed;
    let agents: Vec<Value> = api
        .router
        .seats()
        .iter()
        .map(|seat| {
            let manifest = seat.agent.manifest();
            json!({
                "name": manifest.name,
                "version": manifest.version,
                "description": manifest.description,
                "sha256": seat.agent.digest(),
                "topics": manifest.topics,
                "actions": manifest.actions,
                "capabilities": manifest.capabilities,
                "handled": seat.handled.load(Relaxed),
                "failed": seat.failed.load(Relaxed),
                "waiting": seat.waiting(),
                "quarantined": api.guards.is_quarantined(&manifest.name),
            })
        })
        .collect();
    json_answer(
        StatusCode::OK,
        None,
        &json!({"agents": agents, "refused": api.refused}),
    )
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
