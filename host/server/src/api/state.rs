//! What every call stands on, and how a call waits for the parts of the host.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::agents::{Agents, RefusedAgent};
use crate::hrm::guards::Guards;
use crate::hrm::{Hrm, HrmError};
use crate::policies::Policies;
use crate::quotas::{Demand, QuotaExceeded, QuotaKeeper, Reservation};
use crate::readiness::Readiness;
use crate::redis::RedisStatus;
use crate::reply::{Reply, ask_async, open_reply};
use crate::router::Router;
use crate::watchdog::Watchdog;
use crate::webhooks::Webhooks;
use ark_model::decision::PolicyIdentity;
use ark_model::ids::Name;
use ark_model::meters::ApiMeters;
use ark_model::principal::Principal;
use ark_model::usage::QuotaHolder;
use ark_runtime::{GraveyardSource, QuotasTable};
use ark_store::{CommitError, Receipt, Store, Unit};

use super::auth::Auth;
use super::events::{EventFeed, StreamPlaces};
use super::http::problem::Problem;
use super::http::respond::json_response;
use super::openapi::Documents;
use super::operations::Operations;

/// How many uploads are read at a time: each may have 86 MiB.
const MAX_UPLOADS: usize = 2;

/// The parts of the host that the API serves.
pub struct ApiDeps {
    /// The arbiter of actions.
    pub hrm: Hrm,
    /// The router of signals.
    pub router: Router,
    /// The store.
    pub store: Store,
    /// Halt, quarantines and the state of the pin.
    pub guards: Arc<Guards>,
    /// Whether the host may judge.
    pub readiness: Readiness,
    /// The watchdog.
    pub watchdog: Watchdog,
    /// How streams are read.
    pub redis: Arc<RedisStatus>,
    /// Send events to their receivers.
    pub webhooks: Webhooks,
    /// Refuses callers that have used up a quota.
    pub quotas: QuotaKeeper,
    /// What identifies the Graveyard.
    pub graveyard_identity: Arc<PolicyIdentity>,
    /// Where the Graveyard was loaded from.
    pub graveyard_source: GraveyardSource,
    /// How many of the Graveyard's test vectors were run.
    pub graveyard_vectors: usize,
    /// The operator policies.
    pub policies: Policies,
    /// The versions of agents.
    pub agents: Agents,
    /// Agents that were left out at the start.
    pub refused_agents: Vec<RefusedAgent>,
    /// Who may propose in addition to the agents.
    pub submitters: BTreeSet<Name>,
    /// Counts and times the calls.
    pub meters: Arc<ApiMeters>,
}

/// What every call stands on.
pub(crate) struct Api {
    pub(crate) deps: ApiDeps,
    pub(crate) auth: Arc<Auth>,
    pub(crate) documents: Documents,
    /// The runtime of the ports, whose threads do what waits for the disk.
    ports: Handle,
    /// A place for each upload that is held in memory.
    uploads: Arc<Semaphore>,
    /// Uploads that are accepted.
    pub(crate) operations: Operations,
    /// Reads and renders events.
    pub(crate) feed: EventFeed,
    /// The open event streams.
    pub(crate) places: Arc<StreamPlaces>,
    /// Becomes true when the host ends.
    pub(crate) closing: watch::Receiver<bool>,
}

/// The state as handlers take it.
pub(crate) type Shared = State<Arc<Api>>;

/// Calls with their descriptions.
pub(crate) type DescribedRoutes = utoipa_axum::router::OpenApiRouter<Arc<Api>>;

impl std::ops::Deref for Api {
    type Target = ApiDeps;

    fn deref(&self) -> &ApiDeps {
        &self.deps
    }
}

/// Returns whom the writes of a caller are counted for.
pub(crate) fn quota_holder_of(principal: &Principal) -> QuotaHolder {
    let token = principal.authenticated.then(|| principal.name.clone());
    QuotaHolder::of_caller(token)
}

impl Api {
    pub(crate) fn new(
        deps: ApiDeps,
        auth: Arc<Auth>,
        documents: Documents,
        (feed, places): (EventFeed, Arc<StreamPlaces>),
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self {
            deps,
            auth,
            documents,
            ports: Handle::current(),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            operations: Operations::default(),
            feed,
            places,
            closing,
        }
    }

    /// Whether actions may be proposed in this name: a submitter's or a serving agent's.
    pub(crate) fn may_propose(&self, name: &Name) -> bool {
        self.submitters.contains(name) || self.router.find_serving(name).is_some()
    }

    /// Reserves what a request with a body of this size takes of its caller's quotas, until the reservation is dropped: hold it until the request is
    /// committed. Warns when much of a quota is used.
    ///
    /// # Errors
    /// A quota is used up.
    pub(crate) fn reserve_quota(
        &self,
        principal: &Principal,
        body_bytes: usize,
    ) -> Result<Reservation, QuotaExceeded> {
        let caller = quota_holder_of(principal);
        let demand = Demand::of_request(body_bytes as u64);
        let tighter = QuotasTable::default();
        let (uses, reserved) = self
            .quotas
            .list_and_reserve(caller.clone(), demand, &tighter);
        for quota in uses {
            self.watchdog
                .warn_about_caller_quota(&caller, quota.kind, quota.used, quota.limit);
        }
        reserved
    }

    /// Runs what touches the disk on a thread that may block.
    ///
    /// # Errors
    /// The host ends before it is done.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let api = Arc::clone(self);
        self.ports
            .spawn_blocking(move || work(&api))
            .await
            .map_err(|error| Problem::unavailable(format!("the call was given up: {error}")))
    }

    /// Answers with a page that may have megabytes: it is built and written on a thread that may block, since all other connections of the calling
    /// thread would wait.
    ///
    /// # Errors
    /// The host ends before it is done.
    pub(crate) async fn answer_page<T: Serialize>(
        self: &Arc<Self>,
        build: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Response, Problem> {
        self.run_blocking(move |_| json_response(StatusCode::OK, None, &build()))
            .await
    }

    /// Asks the HRM and waits for its answer, which it gives once it is durable.
    ///
    /// # Errors
    /// Those of the request; [`HrmError::Closed`] when the HRM ends without an answer.
    pub(crate) fn ask_hrm<T: Send + 'static>(
        &self,
        send: impl FnOnce(&Hrm, Reply<T, HrmError>),
    ) -> impl Future<Output = Result<T, HrmError>> {
        ask_async(|reply| send(&self.hrm, reply))
    }

    /// As [`Self::ask_hrm`], for what waits for its place in the queue when the host is flooded.
    ///
    /// # Errors
    /// Those of the request, as a problem.
    pub(crate) async fn ask_hrm_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        send: impl FnOnce(&Hrm, Reply<T, HrmError>) + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, answer) = open_reply();
        self.run_blocking(move |api| send(&api.hrm, reply)).await?;
        Ok(answer.wait().await?)
    }

    /// Hands a unit to the writer and waits until it is durable.
    ///
    /// # Errors
    /// The writer's queue is full or closed, or the unit is refused.
    pub(crate) async fn commit(&self, unit: Unit) -> Result<Result<Receipt, CommitError>, Problem> {
        let (reply, answer) = open_reply();
        self.store.submit(unit, reply).map_err(|(error, _)| error)?;
        Ok(answer.wait().await)
    }
}

/// How long an upload waits for a place.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(10);

/// A place for an upload, held until it is accepted or refused. Extracted before the body is read.
pub(crate) struct UploadPlace(
    #[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit,
);

impl FromRequestParts<Arc<Api>> for UploadPlace {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let free = Arc::clone(&api.uploads).acquire_owned();
        match tokio::time::timeout(UPLOAD_PATIENCE, free).await {
            Ok(Ok(place)) => Ok(Self(place)),
            Ok(Err(_)) | Err(_) => Err(Problem::busy("other uploads are under way")),
        }
    }
}
