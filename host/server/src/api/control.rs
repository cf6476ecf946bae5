//! Calls that stop and restore, and those that show what the watchdog sees.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::hrm::{HrmError, IssuedOrder};
use crate::router::ServingSlot;
use crate::watchdog::{CapsuleRetention, FleetStatus, HealthView, RedisStatus, Thresholds};
use ark_model::check::FieldError;
use ark_model::control::{AlertSeverity, Halt, Order, Quarantine, QuarantineCause};
use ark_model::form::Fields;
use ark_model::ids::{Millis, Name};
use ark_model::principal::Principal;
use ark_runtime::{Limits, Probe};
use ark_store::{AlertFilter, AlertRow};

use super::envelope::{by_of, key_of_header};
use super::exchange::{Asked, json_answer, not_a, path_text, query_of, read_json, trace_of};
use super::openapi::{Described, Keyed, PageQuery};
use super::problem::Problem;
use super::reading::{PathText, off_reactor, page_of};
use super::routes::{Api, Shared};

/// How many alerts the status shows.
const LATEST_ALERTS: u32 = 20;
/// The most bytes of a reason.
const REASON_BYTES: usize = 1024;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(quarantine))
        .routes(routes!(restore))
        .routes(routes!(watchdog))
        .routes(routes!(alerts))
        .routes(routes!(halt))
        .routes(routes!(resume))
}

/// An order that is in force and on disk.
#[derive(Serialize, ToSchema)]
struct Ordered {
    /// `halt`, `resume`, `quarantine` or `restore`.
    order: &'static str,
    agent: Option<Name>,
    /// Whether anything changed: otherwise it was in force before, and the first order's reason stands.
    changed: bool,
    since_ms: Millis,
}

/// How an agent stands.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentStanding {
    name: Name,
    pub(super) quarantined: bool,
    pub(super) health: Option<HealthView>,
    /// Signals it handled since the start.
    pub(super) handled: u64,
    /// Signals it failed at since the start.
    pub(super) failed: u64,
    /// Signals that wait for it.
    pub(super) waiting: usize,
}

/// What the watchdog sees.
#[derive(Serialize, ToSchema)]
struct WatchdogStatus {
    /// The halt in force, of somebody's order.
    halt: Option<Halt>,
    /// Nothing but reads is approved.
    halted: bool,
    pin_holds: bool,
    beating: bool,
    /// Every limit ended what ran into it at the start.
    probed: bool,
    probes: Vec<Probe>,
    /// The operator's ceiling.
    limits: Limits,
    intervals: Intervals,
    thresholds: Thresholds,
    redis: Option<RedisStatus>,
    fleet: Option<FleetStatus>,
    violations_per_minute: u32,
    capsules: CapsuleRetention,
    backlog: Backlog,
    quarantines: Vec<Quarantine>,
    agents: Vec<AgentStanding>,
    /// The latest.
    alerts: Vec<AlertRow>,
}

/// How often the watchdog looks.
#[derive(Serialize, ToSchema)]
struct Intervals {
    agents_ms: u64,
    graveyard_ms: u64,
}

/// Deliveries that wait.
#[derive(Serialize, ToSchema)]
struct Backlog {
    waiting: usize,
    most: usize,
}

/// A page of alerts, the latest first.
#[derive(Serialize, ToSchema)]
struct AlertPage {
    alerts: Vec<AlertRow>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// Halts everything
///
/// Nothing but reads is approved from then on, and it stays so over a restart, until it is resumed.
#[utoipa::path(post, path = "/v1/halt", operation_id = "halt", tag = "control", params(Keyed),
    request_body = ref("#/components/schemas/OrderRequest"),
    responses(
        (status = 200, description = "It is in force and on disk.", body = Ordered),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn halt(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    instruct(&api, &principal, query, &headers, body, Order::Halt).await
}

/// Ends a halt
///
/// A halt by a broken pin cannot be ended.
#[utoipa::path(post, path = "/v1/resume", operation_id = "resume", tag = "control", params(Keyed),
    request_body = ref("#/components/schemas/OrderRequest"),
    responses(
        (status = 200, description = "It is over.", body = Ordered),
        (status = 409, description = "The halt cannot be ended, or there is none."),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn resume(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    instruct(&api, &principal, query, &headers, body, Order::Resume).await
}

/// Puts an agent into quarantine
///
/// It is handed nothing, and nothing of it counts, until it is restored.
#[utoipa::path(post, path = "/v1/agents/{name}/quarantine", operation_id = "quarantine_agent", tag = "control",
    params(("name" = Name, Path, description = "The agent."), Keyed),
    request_body = ref("#/components/schemas/OrderRequest"),
    responses(
        (status = 200, description = "It is in force and on disk.", body = Ordered),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn quarantine(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let order = Order::Quarantine {
        agent: known_agent(&api, name)?,
        cause: QuarantineCause::Operator,
    };
    instruct(&api, &principal, query, &headers, body, order).await
}

/// Ends an agent's quarantine
#[utoipa::path(post, path = "/v1/agents/{name}/restore", operation_id = "restore_agent", tag = "control",
    params(("name" = Name, Path, description = "The agent."), Keyed),
    request_body = ref("#/components/schemas/OrderRequest"),
    responses(
        (status = 200, description = "It is over.", body = Ordered),
        (status = 409, description = "The agent is not in quarantine."),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn restore(
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
    let mut fields = Fields::from_document(document, "")?;
    let reason = words(
        "reason",
        &fields.required_text("reason", "say why, for the audit log")?,
    )?;
    let by = words("by", &by_of(principal, "by", fields.take_text("by")?)?)?;
    if by == crate::watchdog::WATCHDOG_ACTOR {
        return Err(not_a("by", &by, "give your own name"));
    }
    fields.reject_unknown()?;
    let trace_id = trace_of(headers, None)?;
    let instruction = IssuedOrder {
        order: order.clone(),
        trace_id,
        reason,
        by,
        origin_host: None,
        idempotency,
    };
    let (reply, answer) = oneshot::channel();
    // Handing it over waits for a place when the host is flooded.
    off_reactor(api, move |api| {
        api.hrm.carry_out_order(
            instruction,
            Box::new(move |result| drop(reply.send(result))),
        );
    })
    .await?;
    let receipt = answer.await.unwrap_or(Err(HrmError::Closed))?;
    if let Order::Restore { agent } = &order {
        api.watchdog.reset_health(agent);
        api.router.wake_agents();
    }
    Ok(json_answer(
        StatusCode::OK,
        Some(trace_id),
        &Ordered {
            order: order.as_str(),
            agent: order.agent().cloned(),
            changed: receipt.changed,
            since_ms: receipt.at,
        },
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

/// What the watchdog sees
///
/// Limits, probes, thresholds, agents' health, quarantines, and the latest alerts.
#[utoipa::path(get, path = "/v1/watchdog", operation_id = "watchdog", tag = "control",
    responses((status = 200, description = "The status.", body = WatchdogStatus)))]
async fn watchdog(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let alerts = off_reactor(&api, |api| {
        api.store
            .alerts_page(&AlertFilter::default(), None, LATEST_ALERTS)
    })
    .await??;
    let config = api.watchdog.config();
    let agents = api
        .router
        .list_serving()
        .iter()
        .map(|seat| standing(&api, seat))
        .collect();
    let now = Millis::now();
    let status = WatchdogStatus {
        halt: api.guards.current_halt(),
        halted: api.guards.is_halted(),
        pin_holds: api.guards.pin_holds(),
        beating: api.guards.watchdog_beating(now),
        probed: api.watchdog.limits_hold(),
        probes: api.watchdog.probes().to_vec(),
        limits: (*api.agents.ceiling()).clone(),
        intervals: Intervals {
            agents_ms: millis(config.heartbeat_interval),
            graveyard_ms: millis(config.graveyard_interval),
        },
        thresholds: (*api.watchdog.thresholds()).clone(),
        redis: api.watchdog.redis_status(),
        fleet: api.watchdog.fleet_status(),
        violations_per_minute: config.violations_per_minute,
        capsules: config.retention.clone(),
        backlog: Backlog {
            waiting: api.router.backlog(),
            most: api.router.config().backlog,
        },
        quarantines: api.guards.list_quarantines(),
        agents,
        alerts,
    };
    Ok(json_answer(StatusCode::OK, None, &status))
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn standing(api: &Api, seat: &ServingSlot) -> AgentStanding {
    use std::sync::atomic::Ordering::Relaxed;
    let name = &seat.agent.manifest().name;
    AgentStanding {
        name: name.clone(),
        quarantined: api.guards.is_quarantined(name),
        health: api.watchdog.agent_health(name),
        handled: seat.handled.load(Relaxed),
        failed: seat.failed.load(Relaxed),
        waiting: seat.waiting_deliveries(),
    }
}

/// What the watchdog noticed, the latest first
#[utoipa::path(get, path = "/v1/watchdog/alerts", operation_id = "list_alerts", tag = "control",
    params(
        ("agent" = Option<Name>, Query, description = "About this agent."),
        ("severity" = Option<AlertSeverity>, Query, description = "As bad as that, or worse."),
        ("kind" = Option<String>, Query, description = "Of this kind."),
        PageQuery,
    ),
    responses((status = 200, description = "A page.", body = AlertPage)))]
async fn alerts(State(api): Shared, query: Asked) -> Result<Response, Problem> {
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
                AlertSeverity::parse(severity).ok_or_else(|| {
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
    let rows = off_reactor(&api, move |api| {
        api.store.alerts_page(&filter, before, limit)
    })
    .await??;
    let next = (rows.len() == limit as usize)
        .then(|| rows.last().map(|row| row.seq.to_string()))
        .flatten();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &AlertPage {
            alerts: rows,
            next_cursor: next,
        },
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

fn known(api: &Api, name: &Name) -> Result<ServingSlot, Problem> {
    api.router.find_serving(name).ok_or_else(|| {
        Problem::not_found(format!(
            "there is no agent {name}; GET /v1/agents lists them"
        ))
    })
}
