//! What every call passes before its handler: it is counted and timed, has a deadline and a trace, and its caller is known.
//!
//! One layer around all routes, since each costs allocations of its own.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use ark_model::meters::{ApiMeters, CallKind};

use super::auth::{Auth, pass_gate};
use super::http::deadline::apply_envelope;

pub(super) async fn serve_call(
    State((meters, auth)): State<(Arc<ApiMeters>, Arc<Auth>)>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let is_read = request.method().is_safe();
    let call = classify_call(is_read, request.uri().path());
    let response = apply_envelope(request, |request| pass_gate(auth, request, next)).await;
    meters.record_answer(call, response.status().as_u16(), started);
    response
}

/// Returns the kind of a call as which it is counted.
pub(crate) fn classify_call(is_read: bool, path: &str) -> CallKind {
    match path {
        "/healthz" | "/readyz" => CallKind::Health,
        _ if is_read => CallKind::Reads,
        "/v1/signals" => CallKind::Signals,
        "/v1/executions" => CallKind::Executions,
        path if path.starts_with("/v1/actions") => CallKind::Actions,
        _ => CallKind::Changes,
    }
}
