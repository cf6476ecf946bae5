//! Whether the process serves and the host may judge: `/healthz` and `/readyz`. Neither needs a token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::http::answer::answer_from;
use crate::api::http::respond::json_response;
use crate::api::state::{DescribedRoutes, Shared};
use crate::readiness::{Liveness, ReadinessReport, StoreCheckReport, report_liveness};
use ark_model::ids::Millis;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(show_liveness))
        .routes(routes!(show_readiness))
}

/// Whether the host may judge now: the answer of `/readyz`.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// Whether the host may judge.
    ready: bool,
    /// The name of the host's process, made by chance at its start: another one with each start.
    instance: &'static str,
    /// The reasons why it may not.
    problems: Vec<String>,
    /// What does not work, though the host may judge: a Redis that does not answer, streams that are not read, events that are not sent.
    degraded: Vec<String>,
    /// How many test vectors the Graveyard passed at the start.
    graveyard_vectors: usize,
    /// How many agents serve.
    agents: usize,
    /// What the last check of the whole database found; absent until the first one has ended.
    store_check: Option<StoreCheckView>,
}

impl From<ReadinessReport> for Ready {
    fn from(report: ReadinessReport) -> Self {
        Self {
            ready: report.ready,
            instance: report.instance,
            problems: report.problems,
            degraded: report.degraded,
            graveyard_vectors: report.graveyard_vectors,
            agents: report.agents,
            store_check: report.store_check.map(StoreCheckView::from),
        }
    }
}

answer_from! { StoreCheckReport =>
    /// What a check of the whole database found.
    #[schema(as = StoreCheck)]
    struct StoreCheckView {
        /// When it ended.
        at_ms: Millis,
        /// How many rows of the audit log it checked.
        rows: u64,
        /// How many revisions of the state it checked.
        revisions: u64,
        /// What it left out, since it would have held up the host for too long.
        skipped: Vec<String>,
        /// What is wrong; absent: the database is as it was written.
        fault: Option<String>,
    }
}

answer_from! { Liveness =>
    /// The process runs: the answer of `/healthz`.
    #[schema(as = Alive)]
    struct Alive {
        /// Always `alive`.
        status: &'static str,
    }
}

/// Checks liveness
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "about",
    responses((status = 200, description = "The process serves requests.", body = Alive)))]
async fn show_liveness() -> Response {
    json_response(StatusCode::OK, None, &Alive::from(report_liveness()))
}

/// Checks readiness
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "about",
    responses(
        (status = 200, description = "The host may judge.", body = Ready),
        (status = 503, description = "The host may not judge; `problems` gives the reasons.", body = Ready),
    ))]
async fn show_readiness(State(api): Shared) -> Response {
    let report = api.readiness.to_report(api.router.list_serving().len());
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_response(status, None, &Ready::from(report))
}
