//! Which call goes where, and what all of them stand on.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::app::App;
use crate::hrm::Hrm;
use crate::hrm::guards::Guards;
use crate::model::check::clip;
use crate::model::decision::PolicyIdentity;
use crate::model::ids::Name;
use crate::model::principal::Role;
use crate::readiness::Readiness;
use crate::router::Router;
use crate::runtime::GraveyardSource;
use crate::store::Store;
use crate::tokens::Tokens;
use crate::watchdog::Watchdog;

use super::access::{Access, Call, Gate, call};
use super::control::{agent, alerts, halt, quarantine, restore, resume, watchdog};
use super::problem::Problem;
use super::proposing::{actions, batch, executions, signals};
use super::reading::{agents_list, decision, decisions, graveyard, healthz, readyz};
use super::traces::trace;

/// What every call stands on.
pub(super) struct Api {
    pub(super) hrm: Hrm,
    pub(super) router: Router,
    pub(super) store: Store,
    pub(super) guards: Arc<Guards>,
    pub(super) readiness: Readiness,
    pub(super) watchdog: Watchdog,
    pub(super) tokens: Tokens,
    pub(super) policies: Vec<Arc<PolicyIdentity>>,
    pub(super) vectors: usize,
    pub(super) graveyard: GraveyardSource,
    pub(super) refused: Value,
    /// Who may propose: agents and submitters.
    pub(super) proposers: BTreeSet<Name>,
    /// Becomes true when the host ends.
    pub(super) closing: watch::Receiver<bool>,
}

pub(super) type Shared = State<Arc<Api>>;

/// Every call there is, with what it asks for.
pub(super) fn calls() -> Vec<Call> {
    let submit = Access::Role(Role::Submitter);
    let operate = Access::Role(Role::Operator);
    let mut calls = vec![
        call(Access::Open, Method::GET, "/healthz", healthz),
        call(Access::Open, Method::GET, "/readyz", readyz),
        call(submit, Method::POST, "/v1/actions", actions),
        call(submit, Method::POST, "/v1/actions/batch", batch),
        call(submit, Method::POST, "/v1/signals", signals),
        call(submit, Method::POST, "/v1/executions", executions),
        call(
            Access::Read,
            Method::GET,
            "/v1/events",
            super::events::events,
        ),
        call(Access::Read, Method::GET, "/v1/decisions", decisions),
        call(Access::Read, Method::GET, "/v1/decisions/{id}", decision),
        call(Access::Read, Method::GET, "/v1/traces/{id}", trace),
        call(Access::Read, Method::GET, "/v1/graveyard", graveyard),
        call(Access::Read, Method::GET, "/v1/agents", agents_list),
        call(Access::Read, Method::GET, "/v1/agents/{name}", agent),
        call(
            operate,
            Method::POST,
            "/v1/agents/{name}/quarantine",
            quarantine,
        ),
        call(operate, Method::POST, "/v1/agents/{name}/restore", restore),
        call(Access::Read, Method::GET, "/v1/watchdog", watchdog),
        call(Access::Read, Method::GET, "/v1/watchdog/alerts", alerts),
        call(operate, Method::POST, "/v1/halt", halt),
        call(operate, Method::POST, "/v1/resume", resume),
    ];
    calls.extend(super::amendments::calls());
    calls.extend(super::approvals::calls());
    calls.extend(super::lists::calls());
    calls.extend(super::state::calls());
    calls.extend(super::tables::calls());
    calls.extend(super::tokens::calls());
    calls
}

pub(super) fn routes(
    app: &App,
    submitters: Vec<Name>,
    rate: NonZeroU32,
    closing: watch::Receiver<bool>,
) -> Routes {
    let agents = app
        .router
        .seats()
        .iter()
        .map(|seat| seat.agent.manifest().name.clone());
    let api = Arc::new(Api {
        hrm: app.hrm.clone(),
        router: app.router.clone(),
        store: app.store.clone(),
        guards: Arc::clone(&app.guards),
        readiness: app.readiness.clone(),
        watchdog: app.watchdog.clone(),
        tokens: app.tokens.clone(),
        policies: app.policies.clone(),
        vectors: app.vectors,
        graveyard: app.graveyard.clone(),
        refused: json!(app.refused),
        proposers: agents.chain(submitters).collect(),
        closing,
    });
    let gate = Arc::new(Gate::new(app.tokens.clone(), rate));
    let mut routes = Routes::new();
    for call in calls() {
        routes = routes.route(call.path, call.guarded(&gate));
    }
    routes
        .fallback(|request: Request| async move {
            let path = request.uri().path();
            let detail = format!("there is no {} {}", request.method(), clip(path));
            let keyed = ["/v1/state/", "/v1/config/", "/v1/truth/"];
            let problem = Problem::not_found(detail);
            if keyed.iter().any(|start| path.starts_with(start)) {
                return problem.at("path", "in a key, write `/` as %2F");
            }
            problem
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let detail = format!(
                "{} does not take {}",
                clip(request.uri().path()),
                request.method()
            );
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
                detail,
            )
        })
        .layer(middleware::from_fn_with_state(
            app.tokens.clone(),
            local_only,
        ))
        .layer(middleware::from_fn(super::envelope::envelope))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app.telemetry.meters.api),
            super::metering::metered,
        ))
        .with_state(api)
}

/// Without a token it serves this machine only. A page in a browser on this machine could still send requests here under a name of its own
/// (DNS rebinding): the Host header gives it away. A token is proof enough.
async fn local_only(State(tokens): State<Tokens>, request: Request, next: Next) -> Response {
    if tokens.required() {
        return next.run(request).await;
    }
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]" | "") {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign-host",
        "This API serves its own machine only",
        format!("the Host header is {:?}", clip(host)),
    )
    .at("Host", "use localhost or 127.0.0.1")
    .into_response()
}
