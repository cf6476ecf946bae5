//! The handle to the versions of agents, and what is kept of each agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::changes::{ChangeLog, UploadRefusal};
use crate::hrm::{Hrm, LiveServices, ServiceHandles};
use crate::router::Router;
use crate::watchdog::Watchdog;
use ark_model::ids::{Name, TraceId};
use ark_runtime::{Agent, Engine, InvocationFailure, Manifest};
use ark_store::{AgentVersion, ReadError, Rollout, Store};

use super::error::AgentChangeError;
use super::load::{Ceiling, load_component, load_from_directory, read_stored_version};

/// How long a heartbeat in a scratch instance may take; the agent's own deadline if that is shorter.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(1);

/// The parts of the host that changes of agents use.
pub struct AgentDeps {
    /// Compiles and instantiates components.
    pub engine: Engine,
    /// Keeps versions, rollouts and audit rows.
    pub store: Store,
    /// Hands signals to the version that serves.
    pub router: Router,
    /// Watches the version that serves.
    pub watchdog: Watchdog,
    /// Answers the dry runs of a heartbeat.
    pub hrm: Hrm,
    /// The agents' directory; absent when none is configured.
    pub agents_dir: Option<PathBuf>,
    /// What the operator allows at the start.
    pub ceiling: Ceiling,
    /// How many versions of each agent are kept; the one that serves and the one before are kept in any case.
    pub versions_kept: u32,
}

/// The handle to the versions of agents. Cheap to clone.
///
/// Changes run one at a time, and block: on the compiler, on the disk, and on invocations that run.
#[derive(Clone)]
pub struct Agents {
    pub(super) inner: Arc<AgentsState>,
}

pub(super) struct AgentsState {
    pub(super) deps: AgentDeps,
    pub(super) changes: ChangeLog,
    ceiling: ArcSwap<Ceiling>,
}

/// What is kept of an agent.
#[derive(Debug, Clone)]
pub struct AgentStatus {
    /// The uploaded versions, newest first.
    pub versions: Vec<AgentVersion>,
    /// The last rollout; absent when the agent never had one: then the directory's version serves, if there is one.
    pub rollout: Option<Rollout>,
    /// The last refused upload since the start.
    pub refused: Option<UploadRefusal>,
}

impl AgentStatus {
    /// Returns the highest number that a version was ever given; 0 when none was uploaded.
    pub(super) fn last_number(&self) -> u64 {
        let newest = self.versions.first().map_or(0, |newest| newest.number);
        let given = self.rollout.as_ref().map_or(0, |it| it.last_number);
        newest.max(given)
    }

    /// Returns the version that served before the current one.
    pub(super) fn previous(&self) -> Option<u64> {
        self.rollout.as_ref().and_then(|rollout| rollout.previous)
    }
}

impl Agents {
    /// Takes over the agents that the router serves.
    #[must_use]
    pub fn new(deps: AgentDeps) -> Self {
        Self {
            inner: Arc::new(AgentsState {
                ceiling: ArcSwap::from_pointee(deps.ceiling.clone()),
                changes: ChangeLog::new(deps.store.clone()),
                deps,
            }),
        }
    }

    /// Returns the ceiling under which versions are loaded now.
    #[must_use]
    pub fn ceiling(&self) -> Arc<Ceiling> {
        self.inner.ceiling.load_full()
    }

    /// Sets the ceiling under which versions are loaded from now on. Versions that serve keep the limits they were loaded with.
    pub fn set_ceiling(&self, ceiling: Ceiling) {
        self.inner.ceiling.store(Arc::new(ceiling));
    }

    /// Returns what is kept of an agent. For a name that was never heard of everything in it is empty.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_status(&self, agent: &Name) -> Result<AgentStatus, ReadError> {
        let store = &self.inner.deps.store;
        Ok(AgentStatus {
            versions: store.agent_versions(agent)?,
            rollout: store.rollout_for(agent)?,
            refused: self.inner.changes.last_refusal(agent),
        })
    }

    /// Returns the component of an uploaded version, byte for byte as it was uploaded.
    ///
    /// # Errors
    /// [`AgentChangeError::UnknownVersion`], [`AgentChangeError::CorruptVersion`], or the store cannot be read.
    pub fn read_component(&self, agent: &Name, number: u64) -> Result<Vec<u8>, AgentChangeError> {
        let versions = self.inner.deps.store.agent_versions(agent)?;
        self.read_version(agent, number, &versions)
            .map(|(_, component)| component)
    }

    /// Returns the number of the version that serves: that of the last rollout; without one 0 if the directory's version serves.
    pub(super) fn serving_version(&self, agent: &Name, status: &AgentStatus) -> Option<u64> {
        match &status.rollout {
            Some(rollout) => rollout.serving,
            None => self.inner.deps.router.find_serving(agent).map(|_| 0),
        }
    }

    /// Hands the watchdog the agents that serve now. What it knew of `changed` is forgotten.
    pub(super) fn update_watchdog(&self, changed: &Name) {
        let deps = &self.inner.deps;
        let agents = deps.router.list_serving();
        let agents = agents.into_iter().map(|serving| serving.agent).collect();
        deps.watchdog.set_agents(agents, changed);
    }

    /// Loads a version under the present ceiling and takes a heartbeat of it. Number 0 is the directory's version.
    pub(super) fn load_version(
        &self,
        agent: &Name,
        number: u64,
        versions: &[AgentVersion],
    ) -> Result<Arc<Agent>, AgentChangeError> {
        let ceiling = self.ceiling();
        let deps = &self.inner.deps;
        let version = if number == 0 {
            load_from_directory(&deps.engine, deps.agents_dir.as_deref(), agent, &ceiling)
                .map_err(AgentChangeError::Directory)?
        } else {
            let (manifest, component) = self.read_version(agent, number, versions)?;
            load_component(&deps.engine, &component, manifest, &ceiling)?
        };
        let version = Arc::new(version);
        self.check_heartbeat(&version)?;
        Ok(version)
    }

    fn read_version(
        &self,
        agent: &Name,
        number: u64,
        versions: &[AgentVersion],
    ) -> Result<(Manifest, Vec<u8>), AgentChangeError> {
        let version = versions
            .iter()
            .find(|version| version.number == number)
            .ok_or_else(|| AgentChangeError::UnknownVersion {
                agent: agent.clone(),
                number,
                kept: versions.iter().map(|version| version.number).collect(),
            })?;
        read_stored_version(&self.inner.deps.store, version).map_err(|source| {
            AgentChangeError::CorruptVersion {
                agent: agent.clone(),
                number,
                source,
            }
        })
    }

    /// Takes a heartbeat of a version that does not serve. It runs on a thread of its own: a guest that is slow lowers the priority of its
    /// thread permanently.
    pub(super) fn check_heartbeat(&self, version: &Arc<Agent>) -> Result<(), AgentChangeError> {
        let deps = &self.inner.deps;
        let services = LiveServices {
            handles: Arc::new(ServiceHandles {
                hrm: deps.hrm.clone(),
                store: deps.store.clone(),
            }),
            manifest: Arc::clone(version.manifest()),
            trace_id: TraceId::fresh(),
            causal_depth: 0,
        };
        let budget = HEARTBEAT_TIMEOUT.min(version.limits().deadline);
        let answered = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("ark-beat".to_owned());
            let thread = thread.spawn_scoped(scope, || {
                version.check_heartbeat(Arc::new(services), Instant::now() + budget)
            });
            thread.map(std::thread::ScopedJoinHandle::join)
        });
        answered
            .unwrap_or_else(|error| {
                let reason = format!("the thread of the heartbeat cannot be started: {error}");
                Ok(Err(InvocationFailure::Start(reason)))
            })
            .unwrap_or_else(|_| {
                let reason = "the thread of the heartbeat panicked";
                Err(InvocationFailure::Start(reason.to_owned()))
            })
            .map_err(AgentChangeError::Heartbeat)
    }
}
