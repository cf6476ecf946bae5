//! Calls that stop and restore, and those that show what the watchdog sees.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::hrm::{HrmError, Instruction};
use crate::model::check::FieldError;
use crate::model::control::{Cause, Order, Severity};
use crate::model::form::Fields;
use crate::model::ids::{Millis, Name};
use crate::model::principal::Principal;
use crate::router::Occupied;
use crate::store::AlertFilter;

use super::envelope::{by_of, key_of_header};
use super::exchange::{Asked, json_answer, not_a, path_text, query_of, read_json};
use super::problem::Problem;
use super::reading::{PathText, off_reactor, page_of};
use super::routes::{Api, Shared};

/// How many alerts the status shows.
const LATEST_ALERTS: u32 = 20;
/// The most bytes of a reason.
const REASON_BYTES: usize = 1024;

pub(super) async fn halt(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    instruct(&api, &principal, query, &headers, body, Order::Halt).await
}

pub(super) async fn resume(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    instruct(&api, &principal, query, &headers, body, Order::Resume).await
}

pub(super) async fn quarantine(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let order = Order::Quarantine {
        agent: known_agent(&api, name)?,
        cause: Cause::Operator,
    };
    instruct(&api, &principal, query, &headers, body, order).await
}

pub(super) async fn restore(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let agent = parsed_name(name)?;
    // An agent that is no longer loaded can still be in quarantine.
    if !api.guards.is_quarantined(&agent) {
        known(&api, &agent)?;
    }
    instruct(
        &api,
        &principal,
        query,
        &headers,
        body,
        Order::Restore { agent },
    )
    .await
}

async fn instruct(
    api: &Arc<Api>,
    principal: &Principal,
    query: Asked,
    headers: &HeaderMap,
    body: Body,
    order: Order,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let document = read_json(headers, body).await?;
    let idempotency = key_of_header(headers, &format!("{order:?} {document}"))?;
    let mut fields = Fields::of(document, "")?;
    let reason = words(
        "reason",
        &fields.required_text("reason", "say why, for the audit log")?,
    )?;
    let by = words("by", &by_of(principal, "by", fields.text("by")?)?)?;
    if by == crate::watchdog::WATCHDOG {
        return Err(not_a("by", &by, "give your own name"));
    }
    fields.finish()?;
    let instruction = Instruction {
        order: order.clone(),
        reason,
        by,
        from: None,
        idempotency,
    };
    let (reply, answer) = oneshot::channel();
    // Handing it over waits for a place when the host is flooded.
    off_reactor(api, move |api| {
        api.hrm.instruct(
            instruction,
            Box::new(move |result| drop(reply.send(result))),
        );
    })
    .await?;
    let receipt = answer.await.unwrap_or(Err(HrmError::Closed))?;
    if let Order::Restore { agent } = &order {
        api.watchdog.forgive(agent);
        api.router.wake();
    }
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({
            "order": order.as_str(),
            "agent": order.agent(),
            "changed": receipt.changed,
            "since_ms": receipt.at,
        }),
    ))
}

pub(super) fn words(field: &str, text: &str) -> Result<String, FieldError> {
    let plain = !text.trim().is_empty()
        && text.len() <= REASON_BYTES
        && !text.chars().any(char::is_control);
    if plain {
        return Ok(crate::hrm::redaction::redact_text(text));
    }
    let remedy = format!("give 1 to {REASON_BYTES} bytes of plain text");
    Err(FieldError::new(
        field,
        "is empty, too long or not plain text",
        remedy,
    ))
}

pub(super) async fn watchdog(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let alerts = off_reactor(&api, |api| {
        api.store
            .alerts(&AlertFilter::default(), None, LATEST_ALERTS)
    })
    .await??;
    let config = api.watchdog.config();
    let agents: Vec<Value> = api
        .router
        .seats()
        .iter()
        .map(|seat| standing(&api, seat))
        .collect();
    let now = Millis::now();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({
            "halt": api.guards.halt(),
            "halted": api.guards.halted(),
            "pin_holds": api.guards.pin_holds(),
            "beating": api.guards.watchdog_beating(now),
            "probed": api.watchdog.probed(),
            "probes": api.watchdog.probes(),
            "limits": *api.agents.ceiling(),
            "intervals": {
                "agents_ms": millis(config.heartbeat),
                "graveyard_ms": millis(config.graveyard),
            },
            "thresholds": *api.watchdog.thresholds(),
            "redis": api.watchdog.redis(),
            "fleet": api.watchdog.fleet(),
            "violations_per_minute": config.violations_per_minute,
            "capsules": config.retention,
            "backlog": {"waiting": api.router.backlog(), "most": api.router.config().backlog},
            "quarantines": api.guards.quarantines(),
            "agents": agents,
            "alerts": alerts,
        }),
    ))
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn standing(api: &Api, seat: &Occupied) -> Value {
    use std::sync::atomic::Ordering::Relaxed;
    let name = &seat.agent.manifest().name;
    json!({
        "name": name,
        "quarantined": api.guards.is_quarantined(name),
        "health": api.watchdog.health(name),
        "handled": seat.handled.load(Relaxed),
        "failed": seat.failed.load(Relaxed),
        "waiting": seat.waiting(),
    })
}

pub(super) async fn alerts(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["agent", "severity", "kind", "limit", "cursor"])?;
    let text = |name: &str| query.get(name).map(String::as_str);
    let filter = AlertFilter {
        agent: text("agent")
            .map(|agent| {
                agent
                    .parse()
                    .map_err(|_| not_a("agent", agent, "give an agent's name"))
            })
            .transpose()?,
        severity: text("severity")
            .map(|severity| {
                Severity::parse(severity).ok_or_else(|| {
                    not_a(
                        "severity",
                        severity,
                        "give info, warning or critical: as bad as that or worse",
                    )
                })
            })
            .transpose()?,
        kind: text("kind").map(str::to_owned),
    };
    let (limit, before) = page_of(&query)?;
    let rows = off_reactor(&api, move |api| api.store.alerts(&filter, before, limit)).await??;
    let next = (rows.len() == limit as usize)
        .then(|| rows.last().map(|row| row.seq.to_string()))
        .flatten();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"alerts": rows, "next_cursor": next}),
    ))
}

pub(super) fn parsed_name(
    name: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Name, Problem> {
    let name = path_text(name)?;
    name.parse()
        .map_err(|_| not_a("name", &name, "give an agent's name"))
}

fn known_agent(api: &Api, name: PathText) -> Result<Name, Problem> {
    let name = parsed_name(name)?;
    known(api, &name)?;
    Ok(name)
}

fn known(api: &Api, name: &Name) -> Result<Occupied, Problem> {
    api.router.seat(name).ok_or_else(|| {
        Problem::not_found(format!(
            "there is no agent {name}; GET /v1/agents lists them"
        ))
    })
}
