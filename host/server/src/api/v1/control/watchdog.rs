//! What the watchdog sees: `/v1/watchdog`.

use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::api::http::answer::{answer_from, convert_rows};
use crate::api::http::extract::{ApiQuery, NoQuery};
use crate::api::http::pagination::{Limit, RowCursor, next_cursor, page_rows};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::router::ServingSlot;
use crate::watchdog::{CapsuleRetention, FleetStatus, HealthView, Thresholds};
use ark_model::control::{AlertSeverity, Halt, Quarantine};
use ark_model::ids::{Millis, Name};
use ark_runtime::{Limits, ProbeResult};
use ark_store::AlertFilter;

use super::alert_line::AlertLine;
use super::redis::{
    EventsView, RedisView, StreamView, show_events, show_redis, show_streams, whole_millis,
};

/// How many alerts the status shows.
const LATEST_ALERTS: u32 = 20;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(show_status))
        .routes(routes!(list_alerts))
}

answer_from! { HealthView =>
    /// How an agent does, in numbers.
    #[schema(as = HealthView)]
    pub(crate) struct HealthShown {
        /// From 0 (worst) to 1.
        score: f64,
        /// Share of the window's invocations that succeeded; 1 when there were none.
        success_rate: f64,
        /// Mean latency over the window, in milliseconds; 0 when there were no invocations.
        mean_latency_ms: f64,
        /// Invocations in the window: the last 100 at most.
        invocations: usize,
        /// Failures since the last success.
        consecutive_failures: u32,
        /// Missed heartbeats since the last one that was answered.
        missed_heartbeats: u32,
        /// How long ago it last answered a heartbeat or succeeded, in milliseconds; absent: it never did.
        last_sign_ms_ago: Option<u64>,
    }
}

/// An agent's health.
#[derive(Serialize, ToSchema)]
pub(crate) struct AgentHealth {
    name: Name,
    pub(crate) quarantined: bool,
    pub(crate) health: Option<HealthShown>,
    /// Signals it handled since the start.
    pub(crate) handled: u64,
    /// Signals it failed at since the start.
    pub(crate) failed: u64,
    /// Signals that wait for it.
    pub(crate) waiting: usize,
}

impl AgentHealth {
    /// Makes the line of an agent that serves.
    pub(crate) fn from_serving(api: &Api, slot: &ServingSlot) -> Self {
        let name = &slot.agent.manifest().name;
        Self {
            name: name.clone(),
            quarantined: api.guards.is_quarantined(name),
            health: api.watchdog.agent_health(name).map(Into::into),
            handled: slot.handled.load(Relaxed),
            failed: slot.failed.load(Relaxed),
            waiting: slot.waiting_deliveries(),
        }
    }
}

/// What the watchdog sees.
#[derive(Serialize, ToSchema)]
struct WatchdogStatus {
    /// The time of the host's clock.
    now_ms: Millis,
    /// The halt in force, if one was ordered.
    halt: Option<Halt>,
    /// Nothing but reads is approved.
    halted: bool,
    pin_holds: bool,
    beating: bool,
    /// How long ago the Graveyard was last checked against its pin, in milliseconds; `null`: not yet.
    last_check_ms_ago: Option<u64>,
    /// Whether every limit held when it was probed at the start.
    probed: bool,
    probes: Vec<ProbeView>,
    /// The operator's ceiling.
    limits: Limits,
    intervals: Intervals,
    thresholds: ThresholdsView,
    redis: Option<RedisView>,
    fleet: Option<FleetView>,
    /// How the streams are read whose entries become signals.
    streams: Vec<StreamView>,
    /// How events are sent; absent: none are.
    events: Option<EventsView>,
    violations_per_minute: u32,
    capsules: RetentionView,
    backlog: BacklogView,
    quarantines: Vec<Quarantine>,
    agents: Vec<AgentHealth>,
    /// The latest.
    alerts: Vec<AlertLine>,
}

answer_from! { ProbeResult =>
    /// The result of one probe.
    #[schema(as = Probe)]
    struct ProbeView {
        /// The name of the limit, as in a `[limits]` table.
        limit: &'static str,
        /// Whether the limit ended the guest that ran into it.
        tripped: bool,
        /// What happened when the limit was reached.
        detail: String,
    }
}

answer_from! { Thresholds =>
    /// When an agent is put into quarantine, and when alerts are raised.
    #[schema(as = Thresholds)]
    struct ThresholdsView {
        /// So many failures in a row are a breach.
        consecutive_failures: u32,
        /// A larger share of failures in the window is a breach; 0 to 1.
        failure_rate: f64,
        /// The failure rate counts once the window has more invocations than this.
        failure_rate_over: u32,
        /// A larger mean latency in the window is a breach, in milliseconds.
        latency_ms: u64,
        /// The mean latency counts once the window has more invocations than this.
        latency_over: u32,
        /// So many missed heartbeats in a row are a breach.
        missed_heartbeats: u32,
        /// So many invocations that a quota refused within ten minutes are a breach.
        quota_refusals: u32,
        /// From this share of a limit on a warning is raised; 0 to 1.
        warning: f64,
        /// From this share of a limit on the alert is critical; 0 to 1.
        critical: f64,
    }
}

answer_from! { FleetStatus =>
    /// How far orders were exchanged.
    struct FleetView {
        /// The key of the stream.
        stream: String,
        /// This host's name in the fleet; absent: it could not join yet.
        origin: Option<String>,
        /// The row of the audit log up to which orders are in the stream.
        published: u64,
        /// The last entry of the stream that was read.
        read: String,
        /// Entries since the start that no host of the fleet can have written.
        refused: u64,
        /// Why orders cannot be exchanged now.
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    }
}

answer_from! { CapsuleRetention =>
    /// How many capsules are kept, how large and how long.
    #[schema(as = Retention)]
    struct RetentionView {
        /// The largest capsule, in bytes. A larger one loses parts.
        capsule_bytes: usize,
        /// How many capsules of one agent are kept.
        per_agent: usize,
        /// The sum of the sizes of all capsules, in bytes.
        total_bytes: u64,
        /// The age from which on a capsule is removed, in days.
        days: u64,
    }
}

/// How often the watchdog looks.
#[derive(Serialize, ToSchema)]
struct Intervals {
    agents_ms: u64,
    graveyard_ms: u64,
}

/// Deliveries that wait.
#[derive(Serialize, ToSchema)]
struct BacklogView {
    waiting: usize,
    most: usize,
}

/// Which alerts are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AlertsQuery {
    /// About this agent.
    agent: Option<Name>,
    /// As bad as that, or worse.
    severity: Option<AlertSeverity>,
    /// Only alerts of this kind.
    kind: Option<String>,
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<RowCursor>,
}

/// A page of alerts, newest first.
#[derive(Serialize, ToSchema)]
struct AlertPage {
    alerts: Vec<AlertLine>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Reads the watchdog's state
///
/// Limits, probes, thresholds, agents' health, quarantines, and the latest alerts.
#[utoipa::path(get, path = "/v1/watchdog", operation_id = "watchdog", tag = "control",
    responses((status = 200, description = "The status.", body = WatchdogStatus)))]
async fn show_status(State(api): Shared, _: NoQuery) -> Result<Response, Problem> {
    let alerts = api
        .run_blocking(|api| {
            let any = AlertFilter::default();
            api.store.alerts_page(&any, None, LATEST_ALERTS)
        })
        .await??;
    let config = api.watchdog.config();
    let agents = api
        .router
        .list_serving()
        .iter()
        .map(|slot| AgentHealth::from_serving(&api, slot))
        .collect();
    let status = WatchdogStatus {
        now_ms: Millis::now(),
        halt: api.guards.current_halt(),
        halted: api.guards.is_halted(),
        pin_holds: api.guards.pin_holds(),
        beating: api.guards.watchdog_beating(Millis::now()),
        last_check_ms_ago: api
            .guards
            .last_heartbeat_age(Millis::now())
            .map(whole_millis),
        probed: api.watchdog.limits_hold(),
        probes: convert_rows(api.watchdog.probes().to_vec()),
        limits: api.agents.ceiling().limits.clone(),
        intervals: Intervals {
            agents_ms: whole_millis(config.heartbeat_interval),
            graveyard_ms: whole_millis(config.graveyard_interval),
        },
        thresholds: (*api.watchdog.thresholds()).clone().into(),
        redis: show_redis(&api),
        fleet: api.watchdog.fleet_status().map(Into::into),
        streams: show_streams(&api),
        events: show_events(&api),
        violations_per_minute: config.violations_per_minute,
        capsules: config.retention.clone().into(),
        backlog: BacklogView {
            waiting: api.router.backlog(),
            most: api.router.config().backlog,
        },
        quarantines: api.guards.list_quarantines(),
        agents,
        alerts: convert_rows(alerts),
    };
    Ok(json_response(StatusCode::OK, None, &status))
}

/// Lists alerts, newest first
#[utoipa::path(get, path = "/v1/watchdog/alerts", operation_id = "list_alerts", tag = "control", params(AlertsQuery),
    responses((status = 200, description = "A page.", body = AlertPage)))]
async fn list_alerts(
    State(api): Shared,
    ApiQuery(query): ApiQuery<AlertsQuery>,
) -> Result<Response, Problem> {
    let limit = page_rows(query.limit);
    let before = query.cursor.map(u64::from);
    let filter = AlertFilter {
        agent: query.agent,
        severity: query.severity,
        kind: query.kind,
    };
    let rows = api
        .run_blocking(move |api| api.store.alerts_page(&filter, before, limit))
        .await??;
    let page = AlertPage {
        next_cursor: next_cursor(&rows, limit, |row| row.seq.to_string()),
        alerts: convert_rows(rows),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}
