//! Counts and times every call.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::meters::{ApiMeters, Call};

pub(super) async fn metered(
    State(meters): State<Arc<ApiMeters>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let is_read = request.method().is_safe();
    let call = Call::of(is_read, request.uri().path());
    let response = next.run(request).await;
    meters.answered(call, response.status().as_u16(), started);
    response
}
