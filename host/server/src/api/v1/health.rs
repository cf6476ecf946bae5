//! Whether the process serves and the host may judge: `/healthz` and `/readyz`. Neither needs a token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::routes;

use crate::api::http::respond::json_response;
use crate::api::state::{DescribedRoutes, Shared};
use crate::readiness::{Liveness, ReadinessReport, report_liveness};

pub(crate) fn routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(show_liveness))
        .routes(routes!(show_readiness))
}

/// The process serves
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "about",
    responses((status = 200, description = "It does.", body = Liveness)))]
async fn show_liveness() -> Response {
    json_response(StatusCode::OK, None, &report_liveness())
}

/// The host may judge now
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "about",
    responses(
        (status = 200, description = "It may.", body = ReadinessReport),
        (status = 503, description = "It may not, and says why.", body = ReadinessReport),
    ))]
async fn show_readiness(State(api): Shared) -> Response {
    let report = api.readiness.to_report(api.router.list_serving().len());
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_response(status, None, &report)
}
