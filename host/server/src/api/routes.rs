//! Which call goes where, and what all of them stand on.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::middleware;
use tokio::sync::watch;

use crate::agents::{Agents, RefusedAgent};
use crate::app::App;
use crate::hrm::Hrm;
use crate::hrm::guards::Guards;
use crate::policies::Policies;
use crate::readiness::Readiness;
use crate::router::Router;
use crate::watchdog::Watchdog;
use ark_model::check::clip_for_error;
use ark_model::decision::PolicyIdentity;
use ark_model::ids::Name;
use ark_runtime::GraveyardSource;
use ark_store::Store;

use super::auth::Auth;
use super::openapi::{Described, Documents};
use super::problem::Problem;

/// What every call stands on.
pub(super) struct Api {
    pub(super) documents: Documents,
    pub(super) hrm: Hrm,
    pub(super) router: Router,
    pub(super) store: Store,
    pub(super) auth: Arc<Auth>,
    pub(super) guards: Arc<Guards>,
    pub(super) readiness: Readiness,
    pub(super) watchdog: Watchdog,
    /// What identifies the Graveyard.
    pub(super) identity: Arc<PolicyIdentity>,
    pub(super) policies: Policies,
    pub(super) vectors: usize,
    pub(super) graveyard: GraveyardSource,
    pub(super) refused: Vec<RefusedAgent>,
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
        self.submitters.contains(name) || self.router.find_serving(name).is_some()
    }
}

pub(super) type Shared = State<Arc<Api>>;

/// Every call with its description: what is routed is what the document tells of.
pub(super) fn described() -> Described {
    Described::new()
        .merge(super::openapi::routes())
        .merge(super::reading::routes())
        .merge(super::traces::routes())
        .merge(super::proposing::routes())
        .merge(super::events::routes())
        .merge(super::control::routes())
        .merge(super::agents::routes())
        .merge(super::amendments::routes())
        .merge(super::approvals::routes())
        .merge(super::lists::routes())
        .merge(super::policies::routes())
        .merge(super::state::routes())
        .merge(super::memories::routes())
        .merge(super::settings::routes())
        .merge(super::truths::routes())
        .merge(super::session_log::routes())
        .merge(super::tokens::routes())
}

pub(super) fn routes(
    app: &App,
    submitters: Vec<Name>,
    auth: Arc<Auth>,
    closing: watch::Receiver<bool>,
) -> Routes {
    let (routes, described) = described().split_for_parts();
    let api = Arc::new(Api {
        documents: Documents::of(&described),
        hrm: app.hrm.clone(),
        router: app.router.clone(),
        store: app.store.clone(),
        auth: Arc::clone(&auth),
        guards: Arc::clone(&app.guards),
        readiness: app.readiness.clone(),
        watchdog: app.watchdog.clone(),
        identity: Arc::clone(&app.graveyard_identity),
        policies: app.policies.clone(),
        vectors: app.graveyard_vectors,
        graveyard: app.graveyard_source.clone(),
        refused: app.refused_agents.clone(),
        agents: app.agents.clone(),
        submitters: submitters.into_iter().collect(),
        uploads: tokio::sync::Semaphore::new(super::agents::UPLOADS),
        closing,
    });
    routes
        .fallback(|request: Request| async move {
            let path = request.uri().path();
            let detail = format!("there is no {} {}", request.method(), clip_for_error(path));
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
