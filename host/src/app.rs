//! The host as a whole: a [`Config`] becomes parts, the parts run, then they are ended in order.
//!
//! Order of the start: store, engine, Graveyard (pin, purity, vectors), operator policies, agents, HRM, watchdog, router, API. Anything
//! of the Graveyard or an operator policy that cannot be trusted ends the start; an agent that is refused is left out and said.
//! Order of the end: API (no new work), router (running invocations), watchdog, HRM (queued decisions), store (queued commits).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, PolicyFile};
use crate::hrm::chain::Chain;
use crate::hrm::guards::Guards;
use crate::hrm::{Hrm, HrmConfig, HrmError};
use crate::model::decision::PolicyIdentity;
use crate::model::ids::{Digest, Millis};
use crate::readiness::Readiness;
use crate::router::{Parts, Router, RouterError};
use crate::runtime::{
    Agent, Engine, EngineError, GraveyardSource, Limits, LoadError, Manifest, ManifestError, Pin,
    PinError, PinnedGraveyard, Policy,
};
use crate::store::{OpenError, Store, StoreConfig, Unit};
use crate::telemetry::{Groundwork, OpenApprovals, Sources, Telemetry, TelemetryError};
use crate::watchdog::{Watchdog, Watched};

/// Why the host does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The Graveyard.
    #[error(transparent)]
    Graveyard(#[from] PinError),
    /// An operator policy.
    #[error("operator policy {file}: {problem}", file = file.display())]
    Policy {
        /// Its file.
        file: PathBuf,
        /// Why it is refused.
        problem: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The agents' directory.
    #[error("the agents' directory {dir}: {source}", dir = dir.display())]
    AgentsDir {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two agents of one name.
    #[error("two manifests name an agent {0}; names must be unique")]
    TwoAgents(crate::model::ids::Name),
    /// The HRM.
    #[error(transparent)]
    Hrm(#[from] HrmError),
    /// The router.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// Telemetry.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The watchdog.
    #[error("the watchdog cannot start: {0}")]
    Watchdog(std::io::Error),
}

/// Why an agent was left out.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its component cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The component.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its component.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// An agent that was left out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// Its manifest.
    pub manifest: PathBuf,
    /// Why.
    pub reason: String,
}

/// The running host.
pub struct App {
    /// The HRM.
    pub hrm: Hrm,
    /// The router.
    pub router: Router,
    /// The store.
    pub store: Store,
    /// The guards.
    pub guards: Arc<Guards>,
    /// The policies in force, the Graveyard first.
    pub policies: Vec<Arc<PolicyIdentity>>,
    /// How many of the Graveyard's test vectors were run.
    pub vectors: usize,
    /// Where the Graveyard is from.
    pub graveyard: GraveyardSource,
    /// Agents that were left out.
    pub refused: Vec<Refused>,
    /// The watchdog.
    pub watchdog: Watchdog,
    /// Whether all of them together may judge.
    pub readiness: Readiness,
    /// What shows what they do.
    pub telemetry: Arc<Telemetry>,
}

impl App {
    /// Starts every part but the API.
    ///
    /// # Errors
    /// See [`StartError`]: each says which part and what to do.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let pin = Pin::compiled_in()?;
        // Opened first: it makes the data directory and holds its lock, so nobody else is about to use the cache in it.
        let groundwork = Groundwork::lay(&config.telemetry)?;
        let meters = groundwork.meters.clone();
        let store = Store::open(&StoreConfig {
            meters: Arc::clone(&meters.store),
            ..config.store.clone()
        })?;
        let engine = Engine::new(&config.engine)?;
        let PinnedGraveyard { policy, vectors } =
            PinnedGraveyard::load(&engine, &config.graveyard, pin)?;
        let operator = config
            .policies
            .iter()
            .map(|file| load_policy(&engine, file).map(Arc::new))
            .collect::<Result<Vec<_>, StartError>>()?;
        let (agents, refused) = match &config.agents_dir {
            Some(dir) => load_agents(&engine, dir, &config.limits)?,
            None => (Vec::new(), Vec::new()),
        };
        crate::router::check_unique(&agents).map_err(StartError::TwoAgents)?;
        let lists = Unit {
            configured_lists: Some(config.lists.clone()),
            ..Unit::default()
        };
        store
            .commit(lists)
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        let control = store
            .control()
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        if let Some(halt) = &control.halt {
            tracing::warn!(by = halt.by, reason = halt.reason, "a halt is in force");
        }
        for quarantine in &control.quarantines {
            tracing::warn!(agent = %quarantine.agent, by = quarantine.by, reason = quarantine.reason, "a quarantine is in force");
        }
        let guards = Arc::new(Guards::with(control.halt, control.quarantines));
        let chain = Chain::new(Arc::new(policy), operator);
        let policies: Vec<Arc<PolicyIdentity>> = chain.identities().cloned().collect();
        let graveyard = Arc::clone(chain.graveyard());
        let hrm = Hrm::start(
            HrmConfig {
                meters: Arc::clone(&meters.hrm),
                ..config.hrm.clone()
            },
            &chain,
            Arc::clone(&guards),
            store.clone(),
        )?;
        let watched = Watched {
            guards: Arc::clone(&guards),
            graveyard: config.graveyard.clone(),
            pin,
            engine,
            ceiling: config.limits.clone(),
            agents: agents.clone(),
            hrm: hrm.clone(),
            store: store.clone(),
            meters: Arc::clone(&meters.watchdog),
        };
        let watchdog =
            Watchdog::start(config.watchdog.clone(), watched).map_err(StartError::Watchdog)?;
        let parts = Parts {
            agents,
            hrm: hrm.clone(),
            store: store.clone(),
            guards: Arc::clone(&guards),
            watchdog: watchdog.clone(),
            meters: Arc::clone(&meters.router),
        };
        let router = Router::start(config.router.clone(), parts)?;
        let readiness = Readiness {
            guards: Arc::clone(&guards),
            store: store.clone(),
            watchdog: watchdog.clone(),
            vectors,
        };
        let telemetry = groundwork.build(Sources {
            meters: meters.clone(),
            readiness: readiness.clone(),
            router: router.clone(),
            graveyard,
            vectors,
            approvals: open_approvals(&store),
        })?;
        Ok(Self {
            hrm,
            router,
            store,
            guards,
            policies,
            vectors,
            graveyard: config.graveyard.clone(),
            refused,
            watchdog,
            readiness,
            telemetry: Arc::new(telemetry),
        })
    }

    /// Ends every part, in order. What was accepted is on disk; what is pending is resumed by the next start.
    pub fn stop(self) {
        self.router.close();
        self.watchdog.close();
        self.hrm.close();
        self.store.close();
        self.telemetry.close();
    }
}

/// What is held and nobody has decided.
fn open_approvals(store: &Store) -> Box<dyn Fn() -> Option<OpenApprovals> + Send + Sync> {
    let store = store.clone();
    Box::new(move || {
        let (open, since) = store.waiting_approvals().ok()?;
        let age = since.map_or(0.0, |since| Millis::now().seconds_since(since));
        Some(OpenApprovals {
            open,
            oldest: Duration::from_secs_f64(age.max(0.0)),
        })
    })
}

fn load_policy(engine: &Engine, file: &PolicyFile) -> Result<Policy, StartError> {
    let refused = |problem: String| StartError::Policy {
        file: file.file.clone(),
        problem,
    };
    let bytes = std::fs::read(&file.file).map_err(|error| refused(error.to_string()))?;
    let found = Digest::of(&bytes);
    if found != file.sha256 {
        return Err(refused(format!(
            "its SHA-256 is {found}, the configuration says {}; if the change is meant, update the configuration",
            file.sha256
        )));
    }
    let policy = Policy::load(engine, &bytes).map_err(|error| refused(error.to_string()))?;
    if policy.vectors().is_some() {
        crate::runtime::run_vectors(&policy).map_err(|error| refused(error.to_string()))?;
    }
    Ok(policy)
}

/// Loads every agent of a directory, in the order of their names. One that is refused does not keep the others out.
fn load_agents(
    engine: &Engine,
    dir: &Path,
    ceiling: &Limits,
) -> Result<(Vec<Arc<Agent>>, Vec<Refused>), StartError> {
    let failed = |source| StartError::AgentsDir {
        dir: dir.to_owned(),
        source,
    };
    let mut manifests = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            manifests.push(path);
        }
    }
    manifests.sort();
    let mut agents = Vec::new();
    let mut refused = Vec::new();
    for path in manifests {
        match load_agent(engine, &path, ceiling) {
            Ok(agent) => {
                tracing::info!(agent = %agent.manifest().name, version = agent.manifest().version, sha256 = %agent.digest(), "agent loaded");
                agents.push(Arc::new(agent));
            }
            Err(error) => {
                tracing::error!(manifest = %path.display(), %error, "agent refused");
                refused.push(Refused {
                    manifest: path,
                    reason: error.to_string(),
                });
            }
        }
    }
    Ok((agents, refused))
}

/// Loads one agent by its manifest.
///
/// # Errors
/// See [`AgentError`].
pub fn load_agent(engine: &Engine, manifest: &Path, ceiling: &Limits) -> Result<Agent, AgentError> {
    let parsed = Manifest::read(manifest)?;
    let path = manifest.with_file_name(&parsed.component);
    let unreadable = |source| AgentError::Unreadable {
        path: path.clone(),
        source,
    };
    let size = std::fs::metadata(&path).map_err(unreadable)?.len();
    if size > crate::runtime::MAX_COMPONENT_BYTES as u64 {
        return Err(LoadError::TooLarge {
            bytes: usize::try_from(size).unwrap_or(usize::MAX),
        }
        .into());
    }
    let bytes = std::fs::read(&path).map_err(unreadable)?;
    Ok(Agent::load(engine, &bytes, parsed, ceiling)?)
}
