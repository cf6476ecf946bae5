//! Which call goes where, and what all of them stand on.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::app::App;
use crate::hrm::Hrm;
use crate::hrm::guards::Guards;
use crate::model::check::clip;
use crate::model::decision::PolicyIdentity;
use crate::model::ids::Name;
use crate::model::principal::Principal;
use crate::readiness::Readiness;
use crate::router::Router;
use crate::runtime::GraveyardSource;
use crate::store::Store;
use crate::watchdog::Watchdog;

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

pub(super) fn routes(app: &App, submitters: Vec<Name>, closing: watch::Receiver<bool>) -> Routes {
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
        policies: app.policies.clone(),
        vectors: app.vectors,
        graveyard: app.graveyard.clone(),
        refused: json!(app.refused),
        proposers: agents.chain(submitters).collect(),
        closing,
    });
    Routes::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/actions", post(actions))
        .route("/v1/actions/batch", post(batch))
        .route("/v1/events", get(super::events::events))
        .route("/v1/signals", post(signals))
        .route("/v1/executions", post(executions))
        .route("/v1/decisions", get(decisions))
        .route("/v1/decisions/{id}", get(decision))
        .route("/v1/traces/{id}", get(trace))
        .route("/v1/graveyard", get(graveyard))
        .route("/v1/agents", get(agents_list))
        .route("/v1/agents/{name}", get(agent))
        .route("/v1/agents/{name}/quarantine", post(quarantine))
        .route("/v1/agents/{name}/restore", post(restore))
        .route("/v1/watchdog", get(watchdog))
        .route("/v1/watchdog/alerts", get(alerts))
        .route("/v1/halt", post(halt))
        .route("/v1/resume", post(resume))
        .merge(super::amendments::routes())
        .merge(super::approvals::routes())
        .merge(super::lists::routes())
        .merge(super::state::routes())
        .merge(super::tables::routes())
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
        .layer(middleware::from_fn(local_only))
        .layer(middleware::from_fn(super::envelope::envelope))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app.telemetry.meters.api),
            super::metering::metered,
        ))
        .with_state(api)
}

/// The API has no authentication yet, so it serves this machine only. A page in a browser on this machine could still send requests
/// here under a name of its own (DNS rebinding): the Host header gives it away.
async fn local_only(mut request: Request, next: Next) -> Response {
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
        request.extensions_mut().insert(Principal::local());
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
