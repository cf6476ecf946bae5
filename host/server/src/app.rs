//! The host as a whole: a [`Config`] becomes parts, the parts run, then they are ended in order.
//!
//! Order of the start: store, engine, Graveyard (pin, purity, vectors), operator policies, agents, HRM, watchdog, router, API. Anything
//! of the Graveyard or a declared operator policy that cannot be trusted ends the start, an uploaded policy that can no longer be loaded
//! denies everything; an agent that is refused is left out and said.
//! Order of the end: API (no new work), router (running invocations), watchdog, HRM (queued decisions), store (queued commits).

use std::sync::Arc;
use std::time::Duration;

use crate::agents::{AgentDeps, Agents, LoadAgentsError, LoadedAgents, RefusedAgent};
use crate::api::ApiDeps;
use crate::config::Config;
use crate::hrm::chain::PolicyChain;
use crate::hrm::guards::Guards;
use crate::hrm::{Hrm, HrmConfig, HrmError};
use crate::policies::{self, LoadPoliciesError, Policies};
use crate::readiness::Readiness;
use crate::router::{Router, RouterError, RouterParts};
use crate::telemetry::{MetricSources, OpenApprovals, Telemetry, TelemetryBuilder, TelemetryError};
use crate::watchdog::{Watchdog, WatchdogDeps};
use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Millis, Name};
use ark_runtime::{Engine, EngineError, GraveyardSource, Pin, PinError, PinnedGraveyard};
use ark_store::{OpenError, Store, StoreConfig, Unit};

/// Why the host does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The Graveyard.
    #[error(transparent)]
    Graveyard(#[from] PinError),
    /// The operator policies.
    #[error(transparent)]
    Policies(#[from] LoadPoliciesError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The agents.
    #[error(transparent)]
    Agents(#[from] LoadAgentsError),
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
    /// What identifies the Graveyard.
    pub graveyard_identity: Arc<PolicyIdentity>,
    /// The operator policies.
    pub policies: Policies,
    /// How many of the Graveyard's test vectors were run.
    pub graveyard_vectors: usize,
    /// Where the Graveyard is from.
    pub graveyard_source: GraveyardSource,
    /// Agents that were left out.
    pub refused_agents: Vec<RefusedAgent>,
    /// The watchdog.
    pub watchdog: Watchdog,
    /// The versions of agents.
    pub agents: Agents,
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
        let groundwork = TelemetryBuilder::new(&config.telemetry)?;
        let meters = groundwork.meters.clone();
        let store = Store::open(&StoreConfig {
            meters: Arc::clone(&meters.store),
            ..config.store.clone()
        })?;
        let engine = Engine::new(&config.engine)?;
        let PinnedGraveyard { policy, vectors } =
            PinnedGraveyard::load(&engine, &config.graveyard, pin)?;
        let ground = policies::PolicyLoader::new(
            &engine,
            &store,
            &meters.hrm,
            policy.identity(),
            config.policy_fuel,
            config.max_policies,
        );
        let operator =
            policies::load_all(&ground, &config.policies, config.policies_dir.as_deref())?;
        let dir = config.agents_dir.as_deref();
        let LoadedAgents {
            agents,
            canaries,
            refused,
        } = crate::agents::load_all(&engine, &store, dir, &config.limits)?;
        let lists = Unit {
            configured_lists: Some(config.lists.clone()),
            ..Unit::default()
        };
        store.commit(lists).map_err(HrmError::from)?;
        let control = store.control_rows().map_err(HrmError::from)?;
        if let Some(halt) = &control.halt {
            tracing::warn!(by = halt.by, reason = halt.reason, "a halt is in force");
        }
        for quarantine in &control.quarantines {
            tracing::warn!(agent = %quarantine.agent, by = quarantine.by, reason = quarantine.reason, "a quarantine is in force");
        }
        let guards = Arc::new(Guards::from_orders(control.halt, control.quarantines));
        let chain = PolicyChain::new(Arc::new(policy), operator.clone());
        let graveyard = Arc::clone(chain.graveyard_identity());
        let hrm = Hrm::start(
            HrmConfig {
                meters: Arc::clone(&meters.hrm),
                ..config.hrm.clone()
            },
            &chain,
            Arc::clone(&guards),
            store.clone(),
        )?;
        let policies = Policies::new(ground, hrm.clone(), operator);
        let watched = WatchdogDeps {
            guards: Arc::clone(&guards),
            graveyard: config.graveyard.clone(),
            pin,
            engine: engine.clone(),
            ceiling: config.limits.clone(),
            agents: agents.clone(),
            hrm: hrm.clone(),
            store: store.clone(),
            meters: Arc::clone(&meters.watchdog),
        };
        let watchdog =
            Watchdog::start(config.watchdog.clone(), watched).map_err(StartError::Watchdog)?;
        let parts = RouterParts {
            agents,
            canaries,
            hrm: hrm.clone(),
            store: store.clone(),
            guards: Arc::clone(&guards),
            watchdog: watchdog.clone(),
            meters: Arc::clone(&meters.router),
        };
        let router = Router::start(config.router.clone(), parts)?;
        let agents = Agents::new(AgentDeps {
            engine,
            store: store.clone(),
            router: router.clone(),
            watchdog: watchdog.clone(),
            hrm: hrm.clone(),
            agents_dir: config.agents_dir.clone(),
            ceiling: config.limits.clone(),
            versions_kept: config.agent_versions,
        });
        let readiness = Readiness {
            guards: Arc::clone(&guards),
            store: store.clone(),
            watchdog: watchdog.clone(),
            graveyard_vectors: vectors,
            policies: policies.clone(),
        };
        let telemetry = groundwork.build(MetricSources {
            meters: meters.clone(),
            readiness: readiness.clone(),
            router: router.clone(),
            graveyard: Arc::clone(&graveyard),
            vectors,
            approvals: open_approvals_reader(&store),
        })?;
        Ok(Self {
            hrm,
            router,
            store,
            guards,
            graveyard_identity: graveyard,
            policies,
            graveyard_vectors: vectors,
            graveyard_source: config.graveyard.clone(),
            refused_agents: refused,
            watchdog,
            agents,
            readiness,
            telemetry: Arc::new(telemetry),
        })
    }

    /// The parts that the API serves. `submitters` may propose besides the agents.
    #[must_use]
    pub fn api_deps(&self, submitters: impl IntoIterator<Item = Name>) -> ApiDeps {
        ApiDeps {
            hrm: self.hrm.clone(),
            router: self.router.clone(),
            store: self.store.clone(),
            guards: Arc::clone(&self.guards),
            readiness: self.readiness.clone(),
            watchdog: self.watchdog.clone(),
            graveyard_identity: Arc::clone(&self.graveyard_identity),
            graveyard_source: self.graveyard_source.clone(),
            graveyard_vectors: self.graveyard_vectors,
            policies: self.policies.clone(),
            agents: self.agents.clone(),
            refused_agents: self.refused_agents.clone(),
            submitters: submitters.into_iter().collect(),
            meters: Arc::clone(&self.telemetry.meters.api),
        }
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
fn open_approvals_reader(store: &Store) -> Box<dyn Fn() -> Option<OpenApprovals> + Send + Sync> {
    let store = store.clone();
    Box::new(move || {
        let (open, since) = store.open_approval_stats().ok()?;
        let age = since.map_or(0.0, |since| Millis::now().seconds_since(since));
        Some(OpenApprovals {
            open,
            oldest: Duration::from_secs_f64(age.max(0.0)),
        })
    })
}
