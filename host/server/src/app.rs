//! The host as a whole: a [`Config`] becomes parts, the parts run, and then they end in order.
//!
//! Order of the start: telemetry's meters, store, engine, Graveyard (pin, purity, vectors), operator policies, agents, HRM, watchdog, router; beside them, from the engine to the watchdog, the limits are probed;
//! then the streams of a Redis are read, events are sent to a Redis and to webhooks, and the API is served last, by the command. A Graveyard or a declared operator policy that cannot be trusted ends the start. An uploaded
//! policy that cannot be loaded denies every proposal, and an agent that is refused is left out; both are logged.
//!
//! Order of the end: API and streams (no new work), router (invocations that run), watchdog, HRM (queued decisions), events for a Redis, webhooks, store (queued commits),
//! telemetry. Events end after the HRM, so that what it decided last can still be sent, and before the store, which keeps how far they were sent.
//!
//! Each part takes its own configuration and the parts it uses, never the whole [`App`]. How many threads they have in all: [`threads`];
//! what memory and open files: [`memory`], [`open_files`].

pub mod memory;
pub mod open_files;
pub mod threads;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Millis, Name};
use ark_runtime::{Engine, EngineError, GraveyardSource, Pin, PinError, PinnedGraveyard};
use ark_signature::KeyError;
use ark_store::{CommitError, OpenError, ReadError, Store, StoreConfig, Unit};

use crate::agents::{
    self, AgentDeps, Agents, Ceiling, LoadAgentsError, LoadedAgents, RefusedAgent,
};
use crate::api::{ApiDeps, EventReader};
use crate::background::BackgroundTask;
use crate::changes::Signers;
use crate::config::Config;
use crate::hrm::guards::Guards;
use crate::hrm::policies_in_force::PoliciesInForce;
use crate::hrm::{Hrm, HrmConfig, HrmError, RecordFailure};
use crate::policies::{
    self, GraveyardExchangeError, LoadPoliciesError, Policies, PolicyLoader,
    record_graveyard_exchange,
};
use crate::quotas::{QuotaKeeper, limit_database};
use crate::readiness::{Readiness, describe_locked_secrets};
use crate::redis::{EventSender, RedisConfig, RedisDeps, RedisReaders, RedisStatus};
use crate::router::{Router, RouterError, RouterParts};
use crate::telemetry::{MetricSources, OpenApprovals, Telemetry, TelemetryBuilder, TelemetryError};
use crate::watchdog::{Watchdog, WatchdogDeps, probe_all_limits};
use crate::webhooks::{StartWebhookError, Webhooks};

/// Why the host does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The WebAssembly engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The Graveyard cannot be trusted.
    #[error(transparent)]
    Graveyard(#[from] PinError),
    /// Another Graveyard than before is in force and cannot be recorded.
    #[error(transparent)]
    GraveyardExchange(#[from] GraveyardExchangeError),
    /// An operator policy cannot be put in force.
    #[error(transparent)]
    Policies(#[from] LoadPoliciesError),
    /// A key that may sign agents or policies cannot be used.
    #[error("[signatures]: {0}")]
    SignatureKeys(#[from] KeyError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The agents cannot be found.
    #[error(transparent)]
    Agents(#[from] LoadAgentsError),
    /// The configured lists cannot be committed.
    #[error("the configured lists cannot be recorded: {0}")]
    Lists(#[source] CommitError),
    /// The halt and the quarantines in force cannot be read.
    #[error(transparent)]
    Control(#[from] ReadError),
    /// The HRM cannot read what was recorded, record the policies, or start its thread.
    #[error("the HRM cannot start: {0}")]
    Ledger(#[source] RecordFailure),
    /// The HRM cannot start, for another reason.
    #[error(transparent)]
    Hrm(HrmError),
    /// The router cannot start.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// Telemetry cannot start.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A thread of the watchdog cannot be started.
    #[error("the watchdog cannot start: {0}")]
    Watchdog(#[source] std::io::Error),
    /// A thread that reads a stream or sends events cannot be started.
    #[error("the streams of the Redis cannot be read or written: {0}")]
    Redis(#[source] std::io::Error),
    /// A webhook cannot be started.
    #[error(transparent)]
    Webhooks(#[from] StartWebhookError),
    /// The database opens, and what is in it cannot be read.
    #[error("{cause}; the database in {dir} is damaged: `ark state check --data-dir {dir}` says where; move it away and restore a snapshot with `ark state restore`", dir = dir.display())]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What could not be read.
        #[source]
        cause: Box<StartError>,
    },
}

impl From<HrmError> for StartError {
    fn from(error: HrmError) -> Self {
        match error {
            HrmError::NotRecorded(failure) => Self::Ledger(failure),
            error => Self::Hrm(error),
        }
    }
}

impl StartError {
    /// Whether a part read something from the open database that the program does not write there.
    fn is_damage(&self) -> bool {
        let read = match self {
            Self::Control(read)
            | Self::GraveyardExchange(GraveyardExchangeError::Read(read))
            | Self::Policies(LoadPoliciesError::Read(read))
            | Self::Agents(LoadAgentsError::Read(read)) => read,
            Self::Ledger(RecordFailure::Read(read))
            | Self::Router(RouterError::NotStored(RecordFailure::Read(read))) => read,
            Self::Ledger(RecordFailure::Commit(_) | RecordFailure::Thread(_)) => return false,
            Self::Ledger(_) => return true,
            _ => return false,
        };
        matches!(read, ReadError::Database(_))
    }
}

/// The running parts of the host.
pub struct App {
    /// Judges proposals.
    pub hrm: Hrm,
    /// Hands signals to agents.
    pub router: Router,
    /// Keeps everything durable.
    pub store: Store,
    /// Hold whether the pin holds, the last beat, the halt and the quarantines.
    pub guards: Arc<Guards>,
    /// What identifies the Graveyard in decisions.
    pub graveyard_identity: Arc<PolicyIdentity>,
    /// The operator policies.
    pub policies: Policies,
    /// How many of the Graveyard's test vectors were run at the start.
    pub graveyard_vectors: usize,
    /// Where the Graveyard was loaded from.
    pub graveyard_source: GraveyardSource,
    /// The agents and versions that the start left out.
    pub refused_agents: Vec<RefusedAgent>,
    /// Watches agents and limits.
    pub watchdog: Watchdog,
    /// The versions of agents.
    pub agents: Agents,
    /// Refuses who has used up a quota.
    pub quotas: QuotaKeeper,
    /// The limit of the database's size that is in force.
    pub max_database_bytes: u64,
    /// Whether all of them together may judge.
    pub readiness: Readiness,
    /// Shows what the parts record.
    pub telemetry: Arc<Telemetry>,
    /// Reads streams, where a Redis is configured.
    pub redis: Option<RedisReaders>,
    /// Sends events, where a Redis is configured for them.
    pub redis_events: Option<EventSender>,
    /// How streams are read and events are sent.
    pub redis_status: Arc<RedisStatus>,
    /// Send events to their receivers.
    pub webhooks: Webhooks,
}

impl App {
    /// Starts every part but the API.
    ///
    /// # Errors
    /// See [`StartError`]: each message says which part and what to do.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_parts(config).map_err(|cause| {
            if cause.is_damage() {
                StartError::Damaged {
                    dir: config.store.dir.clone(),
                    cause: Box::new(cause),
                }
            } else {
                cause
            }
        })
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one list of parts in the order of their start, each built from its own configuration and dependencies"
    )]
    fn start_parts(config: &Config) -> Result<Self, StartError> {
        let pin = Pin::compiled_in()?;
        let telemetry = TelemetryBuilder::new(&config.telemetry)?;
        let meters = telemetry.meters.clone();
        let max_database_bytes = limit_database(&config.store);
        // Opened before the engine: opening takes the lock of the data directory, which also guards the engine's cache in it.
        let store = Store::open(&StoreConfig {
            meters: Arc::clone(&meters.store),
            max_bytes: Some(max_database_bytes),
            ..config.store.clone()
        })?;
        let locked_secrets = count_locked_secrets(&store, &config.store)?;
        let engine = Engine::new(&config.engine)?;
        // A start that fails leaves it behind, for the milliseconds that it takes.
        let probes = {
            let (engine, ceiling) = (engine.clone(), config.limits.clone());
            BackgroundTask::start("ark-probe", move || probe_all_limits(&engine, &ceiling))
        };
        let graveyard = PinnedGraveyard::load(&engine, &config.graveyard, pin)?;
        let graveyard_vectors = graveyard.vectors;
        #[cfg(feature = "faults")]
        let graveyard_vectors = if crate::faults::has_fault(crate::faults::Fault::SkipsVectors) {
            0
        } else {
            graveyard_vectors
        };
        let graveyard_identity = Arc::clone(graveyard.policy.identity());
        record_graveyard_exchange(&store, &graveyard_identity)?;
        let policy_loader = PolicyLoader::new(
            &engine,
            &store,
            &meters.hrm,
            &graveyard_identity,
            config.policy_fuel,
            config.max_policies,
            &Signers::read(&config.policy_signature_keys)?,
        );
        let policies_dir = config.policies_dir.as_deref();
        let policy_slots = policies::load_all(&policy_loader, &config.policies, policies_dir)?;
        let agents_dir = config.agents_dir.as_deref();
        let quotas = QuotaKeeper::new(
            store.clone(),
            config.quotas.within_database(max_database_bytes),
        );
        let ceiling = Ceiling {
            limits: config.limits.clone(),
            quotas: config.quotas.agents.clone(),
            signers: Signers::read(&config.agent_signature_keys)?,
        };
        let LoadedAgents {
            agents,
            canaries,
            refused,
        } = agents::load_all(&engine, &store, agents_dir, &ceiling)?;
        let on_trial = canaries.iter().map(|canary| &canary.agent);
        for agent in agents.iter().chain(on_trial) {
            agents::warn_of_undeclared_types(agent.manifest(), &config.hrm.action_types);
        }
        commit_configured_lists(&store, config)?;
        let guards = Arc::new(load_guards(&store)?);
        let hrm = Hrm::start(
            HrmConfig {
                meters: Arc::clone(&meters.hrm),
                ..config.hrm.clone()
            },
            &PoliciesInForce::new(Arc::new(graveyard.policy), policy_slots.clone()),
            Arc::clone(&guards),
            &store,
        )?;
        let policies = Policies::new(policy_loader, hrm.clone(), policy_slots);
        let redis_status = Arc::new(RedisStatus::new(config.redis.as_ref()));
        let webhooks = Webhooks::new(&config.webhooks, &store);
        let watchdog_deps = WatchdogDeps {
            guards: Arc::clone(&guards),
            graveyard: config.graveyard.clone(),
            pin,
            probes: probes.finish(),
            ceiling: config.limits.clone(),
            agents: agents.clone(),
            hrm: hrm.clone(),
            store: store.clone(),
            redis: Arc::clone(&redis_status),
            webhooks: webhooks.clone(),
            meters: Arc::clone(&meters.watchdog),
        };
        let watchdog = Watchdog::start(config.watchdog.clone(), watchdog_deps)
            .map_err(StartError::Watchdog)?;
        let router_parts = RouterParts {
            agents,
            canaries,
            hrm: hrm.clone(),
            store: store.clone(),
            guards: Arc::clone(&guards),
            watchdog: watchdog.clone(),
            quotas: quotas.clone(),
            meters: Arc::clone(&meters.router),
        };
        let router = Router::start(config.router.clone(), router_parts)?;
        let agents = Agents::new(AgentDeps {
            engine,
            store: store.clone(),
            router: router.clone(),
            watchdog: watchdog.clone(),
            hrm: hrm.clone(),
            agents_dir: config.agents_dir.clone(),
            ceiling,
            versions_kept: config.agent_versions,
        });
        let readiness = Readiness {
            guards: Arc::clone(&guards),
            store: store.clone(),
            watchdog: watchdog.clone(),
            graveyard_vectors,
            policies: policies.clone(),
            redis: Arc::clone(&redis_status),
            locked_secrets,
            webhooks: webhooks.clone(),
        };
        let telemetry = telemetry.build(MetricSources {
            meters,
            readiness: readiness.clone(),
            router: router.clone(),
            quotas: quotas.clone(),
            graveyard: Arc::clone(&graveyard_identity),
            vectors: graveyard_vectors,
            approvals: open_approvals_reader(&store),
        })?;
        let redis_deps = RedisDeps {
            sink: Arc::new(router.clone()),
            store: store.clone(),
            status: Arc::clone(&redis_status),
        };
        let redis = config.redis.as_ref();
        let redis = redis
            .map(|redis| RedisReaders::start(redis, &redis_deps))
            .transpose()
            .map_err(StartError::Redis)?;
        let redis_events = config
            .redis
            .as_ref()
            .and_then(|redis| start_events(redis, &store, &redis_status))
            .transpose()
            .map_err(StartError::Redis)?;
        webhooks.start(&config.webhooks, || {
            Box::new(EventReader::new(store.clone()))
        })?;
        Ok(Self {
            webhooks,
            redis,
            redis_events,
            redis_status,
            hrm,
            router,
            store,
            guards,
            graveyard_identity,
            policies,
            graveyard_vectors,
            graveyard_source: config.graveyard.clone(),
            refused_agents: refused,
            watchdog,
            agents,
            quotas,
            max_database_bytes,
            readiness,
            telemetry: Arc::new(telemetry),
        })
    }

    /// Returns the parts that the API serves. `submitters` may propose in addition to the agents.
    #[must_use]
    pub fn api_deps(&self, submitters: impl IntoIterator<Item = Name>) -> ApiDeps {
        ApiDeps {
            hrm: self.hrm.clone(),
            router: self.router.clone(),
            store: self.store.clone(),
            guards: Arc::clone(&self.guards),
            readiness: self.readiness.clone(),
            watchdog: self.watchdog.clone(),
            redis: Arc::clone(&self.redis_status),
            webhooks: self.webhooks.clone(),
            quotas: self.quotas.clone(),
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

    /// Ends every part, in order. What was accepted is durable; what is pending is resumed by the next start.
    pub fn stop(self) {
        if let Some(redis) = &self.redis {
            redis.close();
        }
        self.router.close();
        self.watchdog.close();
        self.hrm.close();
        if let Some(events) = &self.redis_events {
            events.close();
        }
        self.webhooks.close();
        self.store.close();
        self.telemetry.close();
    }
}

/// Starts the sending of events, where it is configured.
fn start_events(
    redis: &RedisConfig,
    store: &Store,
    status: &RedisStatus,
) -> Option<std::io::Result<EventSender>> {
    let (config, status) = (redis.events.as_ref()?, status.events.as_ref()?);
    let source = Box::new(EventReader::new(store.clone()));
    Some(EventSender::start(
        &redis.settings,
        config,
        store,
        source,
        status,
    ))
}

/// Commits the configured lists, which replace those of the last start.
fn commit_configured_lists(store: &Store, config: &Config) -> Result<(), StartError> {
    let unit = Unit {
        configured_lists: Some(config.lists.clone()),
        may_use_reserve: true,
        ..Unit::default()
    };
    store.commit(unit).map(drop).map_err(StartError::Lists)
}

/// Counts the secrets that no agent can read, since the host has no key. It judges all the same: a lost key must not keep a host from judging,
/// and what an agent does without its secrets is a proposal as any other.
fn count_locked_secrets(store: &Store, config: &StoreConfig) -> Result<u64, ReadError> {
    if config.secret_key.is_some() {
        return Ok(0);
    }
    let count = store.count_secrets()?;
    if count > 0 {
        tracing::warn!("{}", describe_locked_secrets(count));
    }
    Ok(count)
}

/// Reads the halt and the quarantines that are in force.
fn load_guards(store: &Store) -> Result<Guards, ReadError> {
    let control = store.control_rows()?;
    if let Some(halt) = &control.halt {
        tracing::warn!(by = halt.by, reason = halt.reason, "a halt is in force");
    }
    for quarantine in &control.quarantines {
        tracing::warn!(agent = %quarantine.agent, by = quarantine.by, reason = quarantine.reason, "a quarantine is in force");
    }
    Ok(Guards::from_orders(control.halt, control.quarantines))
}

/// Returns what reads the number of open approvals and the age of the oldest whenever metrics are shown.
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
