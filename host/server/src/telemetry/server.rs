//! The port of telemetry. It has connections of its own, so that neither a scrape nor a flood of requests to the API holds up the other, and
//! only answers reads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ark_model::check::clip_for_error;
use ark_model::loopback::is_loopback_host;
use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::listen::bind_address;

use super::handle::Telemetry;

/// How many connections are served at the same time; further ones wait.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last. A scraper makes a new one.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(10);
/// What tells the answer to `/readyz` on this port from that of the API.
const TELEMETRY_MEMBER: &str = "telemetry";
/// The media type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The address of the telemetry port cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {listen} for telemetry: {source}; give another address with `telemetry_listen` (--telemetry-listen, ARK_TELEMETRY_LISTEN), port 0 for a free one, or off"
)]
pub struct ListenError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// A bound listener.
pub struct TelemetryServer {
    listener: TcpListener,
}

impl TelemetryServer {
    /// Binds the address.
    ///
    /// # Errors
    /// The address stays in use, or is none of this machine's.
    pub async fn bind(listen: SocketAddr) -> Result<Self, ListenError> {
        let listener = bind_address(listen)
            .await
            .map_err(|source| ListenError { listen, source })?;
        Ok(Self { listener })
    }

    /// Takes a listener that another process has bound and keeps open. It must be non-blocking.
    ///
    /// # Errors
    /// The system does not let it be used.
    pub fn from_listener(listener: std::net::TcpListener) -> std::io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { listener })
    }

    /// Returns the address it listens on, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The system does not know the address.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves a host's telemetry until the future is dropped.
    pub async fn serve(self, telemetry: Arc<Telemetry>) {
        let paths = ["/metrics", "/metrics/json", "/slos", "/healthz", "/readyz"];
        self.serve_routes(build_routes(telemetry), &paths).await;
    }

    /// Serves routes until the future is dropped. `paths`: what an answer to an unknown path names.
    pub(crate) async fn serve_routes(self, routes: Routes, paths: &[&str]) {
        let paths = paths.join(", ");
        let mut routes = routes.fallback(move |request: Request| {
            let answer = answer_unknown_path(request.uri().path(), &paths);
            async move { answer }
        });
        if self
            .listener
            .local_addr()
            .is_ok_and(|address| address.ip().is_loopback())
        {
            routes = routes.layer(middleware::from_fn(check_own_machine));
        }
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(16 * 1024)
            .max_headers(64);
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection for telemetry could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(routes.clone());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
                    tracing::debug!(%error, "a connection for telemetry failed");
                }
                drop(permit);
            });
        }
    }
}

fn build_routes(telemetry: Arc<Telemetry>) -> Routes {
    Routes::new()
        .route("/metrics", get(get_metrics))
        .route("/metrics/json", get(get_metrics_json))
        .route("/slos", get(get_slos))
        .route("/healthz", get(get_healthz))
        .route("/readyz", get(get_readyz))
        .with_state(telemetry)
}

fn answer_unknown_path(path: &str, known: &str) -> Response {
    let path = clip_for_error(path);
    let body = json!({
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": format!("there is no {path} on the telemetry port; there are {known}"),
    });
    build_response(
        StatusCode::NOT_FOUND,
        "application/problem+json",
        body.to_string(),
    )
}

/// Refuses a request to a port of this machine only whose `Host` header names another machine: a page in a browser on this machine could read
/// the metrics under a name of its own (DNS rebinding).
async fn check_own_machine(request: Request, next: Next) -> Response {
    let Some(foreign) = find_foreign_host(request.headers()) else {
        return next.run(request).await;
    };
    let body = json!({
        "type": "about:blank",
        "title": "The telemetry port serves its own machine only",
        "status": 421,
        "detail": format!(
            "the Host header is {foreign:?}; use localhost or 127.0.0.1, or listen on an address that others reach (telemetry_listen)"
        ),
    });
    build_response(
        StatusCode::MISDIRECTED_REQUEST,
        "application/problem+json",
        body.to_string(),
    )
}

/// Returns what the `Host` header says if that is not this machine. HTTP/1.0 may leave it out; a browser never does.
fn find_foreign_host(headers: &HeaderMap) -> Option<String> {
    headers.get_all(header::HOST).iter().find_map(|host| {
        let is_own = Authority::try_from(host.as_bytes())
            .is_ok_and(|authority| is_loopback_host(authority.host()));
        (!is_own).then(|| clip_for_error(&String::from_utf8_lossy(host.as_bytes())))
    })
}

async fn get_metrics(State(telemetry): State<Arc<Telemetry>>) -> Response {
    metrics_response(move || telemetry.render_text()).await
}

/// The answer with metrics in Prometheus' text format, which `render` makes off the reactor.
pub(crate) async fn metrics_response(
    render: impl FnOnce() -> Result<String, prometheus::Error> + Send + 'static,
) -> Response {
    match run_blocking(render).await {
        Ok(Ok(text)) => build_response(StatusCode::OK, PROMETHEUS_TEXT, text),
        Ok(Err(error)) => failure_response(&error.to_string()),
        Err(error) => failure_response(&error),
    }
}

async fn get_metrics_json(State(telemetry): State<Arc<Telemetry>>) -> Response {
    json_response(run_blocking(move || telemetry.render_json()).await)
}

async fn get_slos(State(telemetry): State<Arc<Telemetry>>) -> Response {
    json_response(run_blocking(move || telemetry.render_slos()).await)
}

async fn get_healthz() -> Response {
    json_response(Ok(json!(crate::readiness::report_liveness())))
}

async fn get_readyz(State(telemetry): State<Arc<Telemetry>>) -> Response {
    let ready = telemetry.check_readiness();
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = json!(ready);
    body[TELEMETRY_MEMBER] = true.into();
    build_response(status, "application/json", body.to_string())
}

/// Whether an answer to `/readyz` is that of a host's telemetry port, not of its API.
pub(crate) fn is_telemetry_readiness(answer: &Value) -> bool {
    answer.get(TELEMETRY_MEMBER) == Some(&Value::Bool(true))
}

/// Runs work off the reactor: gathering metrics of many agents takes milliseconds.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())
}

fn json_response(value: Result<Value, String>) -> Response {
    match value {
        Ok(value) => build_response(StatusCode::OK, "application/json", value.to_string()),
        Err(error) => failure_response(&error),
    }
}

fn failure_response(error: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": "The metrics cannot be shown",
        "status": 500,
        "detail": error,
    });
    build_response(
        StatusCode::INTERNAL_SERVER_ERROR,
        "application/problem+json",
        body.to_string(),
    )
}

/// An answer with a body of some type.
pub(crate) fn build_response(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
