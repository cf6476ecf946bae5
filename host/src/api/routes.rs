//! Which call goes where, and what all of them stand on.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::middleware;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::agents::Agents;
use crate::app::App;
use crate::hrm::Hrm;
use crate::hrm::guards::Guards;
use crate::model::check::clip;
use crate::model::decision::PolicyIdentity;
use crate::model::ids::Name;
use crate::readiness::Readiness;
use crate::router::Router;
use crate::runtime::GraveyardSource;
use crate::store::Store;
use crate::watchdog::Watchdog;

use super::auth::Auth;
use super::control::{alerts, halt, quarantine, restore, resume, watchdog};
use super::problem::Problem;
use super::proposing::{actions, batch, executions, signals};
use super::reading::{agents_list, decision, decisions, graveyard, healthz, readyz};
use super::traces::trace;

/// What every call stands on.
pub(super) struct Api {
    pub(super) hrm: Hrm,
    pub(super) router: Router,
    pub(super) store: Store,
    pub(super) auth: Arc<Auth>,
    pub(super) guards: Arc<Guards>,
    pub(super) readiness: Readiness,
    pub(super) watchdog: Watchdog,
    pub(super) policies: Vec<Arc<PolicyIdentity>>,
    pub(super) vectors: usize,
    pub(super) graveyard: GraveyardSource,
    pub(super) refused: Value,
    pub(super) agents: Agents,
    /// Who may propose besides the agents.
    pub(super) submitters: BTreeSet<Name>,
    /// Uploads are large: so many are held in memory at a time.
    pub(super) uploads: tokio::sync::Semaphore,
    /// Becomes true when the host ends.
    pub(super) closing: watch::Receiver<bool>,
}

impl Api {
    /// Whether actions may be proposed in this name.
    pub(super) fn may_propose(&self, name: &Name) -> bool {
        self.submitters.contains(name) || self.router.seat(name).is_some()
    }
}

pub(super) type Shared = State<Arc<Api>>;

pub(super) fn routes(
    app: &App,
    submitters: Vec<Name>,
    auth: Arc<Auth>,
    closing: watch::Receiver<bool>,
) -> Routes {
    let api = Arc::new(Api {
        hrm: app.hrm.clone(),
        router: app.router.clone(),
        store: app.store.clone(),
        auth: Arc::clone(&auth),
        guards: Arc::clone(&app.guards),
        readiness: app.readiness.clone(),
        watchdog: app.watchdog.clone(),
        policies: app.policies.clone(),
        vectors: app.vectors,
        graveyard: app.graveyard.clone(),
        refused: json!(app.refused),
        agents: app.agents.clone(),
        submitters: submitters.into_iter().collect(),
        uploads: tokio::sync::Semaphore::new(super::agents::UPLOADS),
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
        .route("/v1/agents/{name}/quarantine", post(quarantine))
        .route("/v1/agents/{name}/restore", post(restore))
        .route("/v1/watchdog", get(watchdog))
        .route("/v1/watchdog/alerts", get(alerts))
        .route("/v1/halt", post(halt))
        .route("/v1/resume", post(resume))
        .merge(super::agents::routes())
        .merge(super::amendments::routes())
        .merge(super::approvals::routes())
        .merge(super::lists::routes())
        .merge(super::state::routes())
        .merge(super::tables::routes())
        .merge(super::tokens::routes())
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
        .layer(middleware::from_fn_with_state(
            (Arc::clone(&app.telemetry.meters.api), auth),
            super::metering::front,
        ))
        .with_state(api)
}
