//! The ports of a front: its API, which is the owner's but for `/healthz`, `/readyz` and `/readyz/relay`, and its telemetry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::api::call::classify_call;
use crate::api::http::deadline::{Call, apply_envelope, begin_call};
use crate::api::http::respond::json_response;
use crate::api::{ConnectionThreads, Server, Tls, compress_answers, serve_connections};
use crate::readiness::report_liveness;
use crate::telemetry::{TelemetryServer, build_response, metrics_response};

use super::relay::Front;

/// How long decisions are still judged again once nothing is passed on any more.
const FINISH_TIME: Duration = Duration::from_secs(5);
/// Whether requests are passed on or parked.
const RELAY_PATH: &str = "/readyz/relay";

/// What a front listens on.
pub struct FrontListeners {
    /// The API.
    pub api: Server,
    /// Its certificate; absent: plain HTTP.
    pub tls: Option<Tls>,
    /// Metrics and the list of differing verdicts; absent: there are none.
    pub telemetry: Option<TelemetryServer>,
    /// The most connections of the API at the same time.
    pub connections: usize,
    /// Whether other machines can reach the API.
    pub is_exposed: bool,
}

/// Serves on the threads until `stop` resolves, then accepts no more connections and waits for the running requests, for `drain` at most.
pub async fn serve_front(
    front: &Arc<Front>,
    threads: &ConnectionThreads,
    listeners: FrontListeners,
    drain: Duration,
    stop: impl Future<Output = ()>,
) {
    let following = tokio::spawn(Arc::clone(&front.owner).follow_readiness(listeners.is_exposed));
    let telemetry = listeners.telemetry.map(|server| {
        let paths = ["/metrics", "/verdicts", "/healthz", "/readyz", RELAY_PATH];
        let routes = telemetry_routes(front);
        tokio::spawn(async move { server.serve_routes(routes, &paths).await })
    });
    let routes = Routes::new()
        .fallback(answer_call)
        .layer(compress_answers())
        .with_state(Arc::clone(front));
    let certificate_end = Arc::clone(&front.meters().api.certificate_end);
    let tls = listeners
        .tls
        .map(|tls| Arc::new(tls.record_end_in(certificate_end)));
    let closing = front.closing.subscribe();
    let ending = async {
        stop.await;
        front.closing.send_replace(true);
    };
    let served = (routes, listeners.connections, tls);
    serve_connections(listeners.api, threads, served, drain, &closing, ending).await;
    front.verdicts.finish(FINISH_TIME.min(drain)).await;
    following.abort();
    if let Some(telemetry) = telemetry {
        telemetry.abort();
    }
}

async fn answer_call(State(front): State<Arc<Front>>, request: Request) -> Response {
    let started = Instant::now();
    let call = classify_call(request.method().is_safe(), request.uri().path());
    let answering = Arc::clone(&front);
    let answer = |request| -> Call { Box::pin(answer_request(answering, request)) };
    let response = apply_envelope(request, answer).await;
    let status = response.status().as_u16();
    front.meters().api.record_answer(call, status, started);
    response
}

async fn answer_request(front: Arc<Front>, request: Request) -> Response {
    if let Err(problem) = begin_call(&request) {
        return problem.into_response();
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/healthz" if is_read => json_response(StatusCode::OK, None, &report_liveness()),
        "/readyz" if is_read => {
            let (status, body) = front.check_readiness();
            json_response(status, None, &body)
        }
        RELAY_PATH if is_read => {
            let (status, body) = front.check_relay();
            json_response(status, None, &body)
        }
        _ => {
            #[cfg(feature = "faults")]
            let request = match crate::faults::take_request(request).await {
                Ok(request) => request,
                Err(response) => return response,
            };
            front.relay(request).await
        }
    }
}

fn telemetry_routes(front: &Arc<Front>) -> Routes {
    Routes::new()
        .route("/metrics", get(get_metrics))
        .route("/verdicts", get(get_verdicts))
        .route("/healthz", get(get_healthz))
        .route("/readyz", get(get_readyz))
        .route(RELAY_PATH, get(get_relay))
        .with_state(Arc::clone(front))
}

async fn get_metrics(State(front): State<Arc<Front>>) -> Response {
    metrics_response(move || front.telemetry.render_text()).await
}

async fn get_verdicts(State(front): State<Arc<Front>>) -> Response {
    let policies = front.judge.load().list_policies();
    let body = json!({"policies": policies, "verdicts": front.tally.report()});
    answer_json(StatusCode::OK, &body)
}

async fn get_healthz() -> Response {
    answer_json(StatusCode::OK, &json!(report_liveness()))
}

async fn get_readyz(State(front): State<Arc<Front>>) -> Response {
    let (status, body) = front.check_readiness();
    answer_json(status, &body)
}

async fn get_relay(State(front): State<Arc<Front>>) -> Response {
    let (status, body) = front.check_relay();
    answer_json(status, &body)
}

fn answer_json(status: StatusCode, body: &Value) -> Response {
    build_response(status, "application/json", body.to_string())
}
