//! Whether the process serves and the host may judge: `/healthz` and `/readyz`. Neither needs a token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::routes;

use crate::api::http::answer::answer_from;
use crate::api::http::respond::json_response;
use crate::api::state::{DescribedRoutes, Shared};
use crate::readiness::{Liveness, ReadinessReport, report_liveness};

pub(crate) fn routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(show_liveness))
        .routes(routes!(show_readiness))
}

answer_from! { ReadinessReport =>
    /// Whether the host may judge now: the answer of `/readyz`.
    #[schema(as = Ready)]
    struct Ready {
        /// Whether it may.
        ready: bool,
        /// Why it may not.
        problems: Vec<String>,
        /// What does not work, though the host may judge: a Redis that does not answer, streams that are not read, events that are not sent.
        degraded: Vec<String>,
        /// How many test vectors the Graveyard passed at the start.
        graveyard_vectors: usize,
        /// How many agents serve.
        agents: usize,
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

/// The process serves
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "about",
    responses((status = 200, description = "It does.", body = Alive)))]
async fn show_liveness() -> Response {
    json_response(StatusCode::OK, None, &Alive::from(report_liveness()))
}

/// The host may judge now
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "about",
    responses(
        (status = 200, description = "It may.", body = Ready),
        (status = 503, description = "It may not, and says why.", body = Ready),
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
