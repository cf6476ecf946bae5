//! What every call passes before its handler: it is counted and timed, has a deadline and a trace, and its caller is known.
//!
//! One layer around all routes, since each costs allocations of its own, and a service rather than a function: a function would be given the route
//! in a box, made anew for each call.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use tower_layer::Layer;
use tower_service::Service;

use ark_model::meters::{ApiMeters, CallKind};

use super::auth::{Auth, pass_gate};
use super::http::deadline::apply_envelope;

/// Puts [`ServedRoute`] around routes.
#[derive(Clone)]
pub(super) struct ServeCalls {
    pub(super) meters: Arc<ApiMeters>,
    pub(super) auth: Arc<Auth>,
}

impl<S> Layer<S> for ServeCalls {
    type Service = ServedRoute<S>;

    fn layer(&self, route: S) -> ServedRoute<S> {
        ServedRoute(Arc::new(CallParts {
            meters: Arc::clone(&self.meters),
            auth: Arc::clone(&self.auth),
            route,
        }))
    }
}

/// A route whose calls pass what every call passes. The router clones it for each call.
pub(super) struct ServedRoute<S>(Arc<CallParts<S>>);

struct CallParts<S> {
    meters: Arc<ApiMeters>,
    auth: Arc<Auth>,
    route: S,
}

impl<S> Clone for ServedRoute<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Service<Request> for ServedRoute<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A route always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let call = classify_call(request.method().is_safe(), request.uri().path());
        let parts = Arc::clone(&self.0);
        Box::pin(async move {
            let pass = |request| pass_gate(Arc::clone(&parts.auth), request, parts.route.clone());
            let response = apply_envelope(request, pass).await;
            let status = response.status().as_u16();
            parts.meters.record_answer(call, status, started);
            Ok(response)
        })
    }
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
