//! The handle to the watchdog: its start, what is reported to it, and what it knows.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use ark_model::control::AlertSeverity;
use ark_model::ids::Name;
use ark_model::usage::QuotaHolder;
use ark_runtime::{Agent, Limits, ProbeResult, QuotaKind};

use super::alert_rules;
use super::capsule_directory::CapsuleDirectory;
use super::config::{WatchdogConfig, WatchdogDeps};
use super::fleet::{Fleet, FleetStatus, ROUND_INTERVAL};
use super::health::{Breach, CanaryHealth, HealthView, Observation, Thresholds};
use super::redis_meter::{RedisMeasurement, RedisMeter};
use super::state::{HealthByAgent, WatchdogState};
use super::store_check::StoreCheckStatus;

/// How often capsules are pruned.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// What an invocation used.
#[derive(Debug, Clone, Copy)]
pub struct ResourceUsage {
    /// Fuel used.
    pub fuel: u64,
    /// The most memory held at one time, in bytes.
    pub memory_peak: usize,
}

/// The handle to the watchdog. Cheap to clone; its threads end on [`Watchdog::close`].
#[derive(Clone)]
pub struct Watchdog {
    inner: Arc<WatchdogState>,
}

impl Watchdog {
    /// Beats once if the limits held when they were probed, then starts the loops. From then on an agent that is restored starts from zero.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(config: WatchdogConfig, mut deps: WatchdogDeps) -> std::io::Result<Self> {
        let agents = std::mem::take(&mut deps.agents);
        let health: HealthByAgent = agents
            .iter()
            .map(|agent| (agent.manifest().name.clone(), Arc::default()))
            .collect();
        let inner = Arc::new(WatchdogState {
            capsules: CapsuleDirectory::in_data_dir(deps.store.dir(), config.retention.clone()),
            thresholds: ArcSwap::from_pointee(config.thresholds.clone()),
            agents: ArcSwap::from_pointee(agents),
            health: ArcSwap::from_pointee(health),
            redis: Mutex::default(),
            fleet: Mutex::default(),
            store_check: Mutex::default(),
            host_warnings: Mutex::default(),
            unrecorded_quarantines: Mutex::default(),
            recording_lock: Mutex::default(),
            halt_unrecorded: AtomicBool::new(false),
            threads: Mutex::default(),
            config,
            deps,
        });
        let restored = Arc::downgrade(&inner);
        inner.deps.guards.on_restore(move |agent| {
            if let Some(inner) = restored.upgrade() {
                inner.reset_health(agent);
            }
        });
        if inner.limits_hold() {
            inner.check_pin();
        }
        start_loops(&inner)?;
        Ok(Self { inner })
    }

    /// Ends the loops.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        for (stop, thread) in threads {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("a watchdog thread ended in a panic");
            }
        }
    }

    /// Records how an invocation ended. `usage` is absent when the guest did not run. Returns the breach that the invocation completes: then the
    /// caller must quarantine the agent ([`Watchdog::quarantine_agent`]) before it takes another signal.
    #[must_use = "the agent must be quarantined"]
    pub fn record_invocation(
        &self,
        agent: &Agent,
        observation: Observation,
        usage: Option<ResourceUsage>,
    ) -> Option<Breach> {
        let inner = &self.inner;
        let name = &agent.manifest().name;
        let health = inner.health_of(name)?;
        let thresholds = inner.thresholds.load();
        let breach = health
            .lock()
            .record_invocation(observation, &thresholds, Instant::now());
        if let Some(usage) = usage {
            let limits = agent.limits();
            let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
            let (latency, deadline) = (millis(observation.latency), millis(limits.deadline));
            let memory = (usage.memory_peak as f64, limits.memory_bytes as f64);
            inner.warn_about_agent(
                name,
                &alert_rules::FUEL,
                usage.fuel as f64,
                limits.fuel as f64,
            );
            inner.warn_about_agent(name, &alert_rules::MEMORY, memory.0, memory.1);
            inner.warn_about_agent(name, &alert_rules::DEADLINE, latency, deadline);
        }
        breach
    }

    /// Puts an agent into quarantine. It is in force at once; blocks until it is durable.
    pub fn quarantine_agent(&self, agent: &Name, breach: Breach) {
        self.inner.order_quarantine(agent, breach);
    }

    /// Records how an invocation of a version on trial ended. Returns the breach that the invocation completes: then the caller must end the
    /// trial.
    #[must_use = "the trial must be ended"]
    pub fn record_canary_invocation(
        &self,
        health: &CanaryHealth,
        observation: Observation,
    ) -> Option<Breach> {
        health.record_invocation(observation, &self.inner.thresholds.load(), Instant::now())
    }

    /// Raises the alert that a version on trial was withdrawn.
    pub fn alert_canary_withdrawn(&self, agent: &Name, number: u64, breach: &Breach) {
        let reason = &breach.reason;
        let message = format!("version {number}, on trial, is withdrawn: {reason}");
        self.inner
            .raise_agent_alert(&alert_rules::CANARY_WITHDRAWN, agent, message);
    }

    /// Records how many deliveries are open for an agent, and how many may be.
    pub fn record_queue_length(&self, agent: &Name, waiting: usize, limit: usize) {
        let (waiting, limit) = (waiting as f64, limit as f64);
        self.inner
            .warn_about_agent(agent, &alert_rules::QUEUE, waiting, limit);
    }

    /// Records how much of a quota an agent uses.
    pub fn warn_about_quota(&self, agent: &Name, kind: QuotaKind, used: u64, limit: u64) {
        let rule = alert_rules::quota_rule(kind);
        self.inner
            .warn_about_agent(agent, rule, used as f64, limit as f64);
    }

    /// Records how much of a quota a caller of the API uses; `caller` names it.
    pub fn warn_about_caller_quota(
        &self,
        caller: &QuotaHolder,
        kind: QuotaKind,
        used: u64,
        limit: u64,
    ) {
        let message = || {
            let name = kind.as_str();
            format!("{caller} used {used} of its token_quotas.{name} of {limit}")
        };
        let (used, limit) = (used as f64, limit as f64);
        self.inner
            .warn_about_host(&alert_rules::TOKEN_QUOTA, used, limit, message);
    }

    /// Sets the agents that serve. What `changed` did under another version is forgotten; the others keep their health. One caller at a time.
    pub fn set_agents(&self, agents: Vec<Arc<Agent>>, changed: &Name) {
        let known = self.inner.health.load_full();
        let health: HealthByAgent = agents
            .iter()
            .map(|agent| agent.manifest().name.clone())
            .map(|name| match known.get(&name) {
                Some(health) if name != *changed => (name, Arc::clone(health)),
                _ => (name, Arc::default()),
            })
            .collect();
        self.inner.health.store(Arc::new(health));
        self.inner.agents.store(Arc::new(agents));
    }

    /// Returns how an agent does; `None`: it does not serve.
    #[must_use]
    pub fn agent_health(&self, agent: &Name) -> Option<HealthView> {
        let health = self.inner.health_of(agent)?;
        let thresholds = self.inner.thresholds.load();
        Some(health.lock().to_view(&thresholds, Instant::now()))
    }

    /// Returns how far orders were shared with the fleet; `None`: this host is in none.
    #[must_use]
    pub fn fleet_status(&self) -> Option<FleetStatus> {
        self.inner.fleet.lock().clone()
    }

    /// Returns what is known of the checks of the database since the start.
    #[must_use]
    pub fn store_check(&self) -> StoreCheckStatus {
        self.inner.store_check.lock().clone()
    }

    /// Returns the last measurement of the Redis; `None`: there was none yet, or no Redis is configured.
    #[must_use]
    pub fn redis_measurement(&self) -> Option<RedisMeasurement> {
        self.inner.redis.lock().clone()
    }

    /// Returns what of the last measurement of the Redis is critical, in words.
    #[must_use]
    pub fn critical_of_redis(&self) -> Vec<String> {
        let measured = self.redis_measurement();
        let Some((config, measured)) = self.inner.config.redis.as_ref().zip(measured) else {
            return Vec::new();
        };
        let thresholds = self.inner.thresholds.load();
        let graded = config.grade(&measured).into_iter();
        graded
            .filter(|it| {
                thresholds.severity_of(it.observed, it.limit) == Some(AlertSeverity::Critical)
            })
            .map(|it| it.message)
            .collect()
    }

    /// Returns what came of probing each limit at the start.
    #[must_use]
    pub fn probes(&self) -> &[ProbeResult] {
        self.inner.deps.probes.results()
    }

    /// Returns whether every limit held when it was probed. If not, nothing is approved until the host is restarted.
    #[must_use]
    pub fn limits_hold(&self) -> bool {
        self.inner.limits_hold()
    }

    /// Returns the directory of the capsules.
    #[must_use]
    pub fn capsules(&self) -> &CapsuleDirectory {
        &self.inner.capsules
    }

    /// Returns the configuration of the start. For the thresholds see [`Watchdog::thresholds`].
    #[must_use]
    pub fn config(&self) -> &WatchdogConfig {
        &self.inner.config
    }

    /// Returns the thresholds in force.
    #[must_use]
    pub fn thresholds(&self) -> Arc<Thresholds> {
        self.inner.thresholds.load_full()
    }

    /// Sets the thresholds from now on.
    pub fn set_thresholds(&self, thresholds: Thresholds) {
        self.inner.thresholds.store(Arc::new(thresholds));
    }

    /// Returns the operator's ceiling at the start, under which the limits were probed.
    #[must_use]
    pub fn ceiling(&self) -> &Limits {
        &self.inner.deps.ceiling
    }
}

fn start_loops(inner: &Arc<WatchdogState>) -> std::io::Result<()> {
    inner.start_store_check()?;
    let config = &inner.config;
    let mut violations = VecDeque::new();
    let mut disabled_webhooks = HashSet::new();
    let mut pruned_at = Instant::now();
    inner.spawn_loop("ark-watchdog", config.graveyard_interval, move |inner| {
        if inner.limits_hold() {
            inner.check_pin();
        }
        inner.check_violation_rate(&mut violations);
        inner.check_database_size();
        inner.check_webhooks(&mut disabled_webhooks);
        inner.announce_store_alerts();
        inner.deps.hrm.expire_approvals();
        if pruned_at.elapsed() >= PRUNE_INTERVAL {
            pruned_at = Instant::now();
            inner.capsules.prune_capsules();
        }
    })?;
    inner.spawn_loop("ark-heartbeat", config.heartbeat_interval, |inner| {
        inner.take_heartbeats();
        inner.record_quarantines();
    })?;
    if let Some(redis) = config.redis.clone() {
        let used = Arc::clone(&inner.deps.redis);
        let mut meter = RedisMeter::new(redis.clone(), used, inner.deps.store.clone());
        inner.spawn_loop("ark-redis", redis.interval, move |inner| {
            inner.check_redis(&redis, meter.measure());
        })?;
    }
    if let Some(fleet) = config.fleet.clone() {
        let mut fleet = Fleet::new(fleet);
        *inner.fleet.lock() = Some(fleet.join_fleet(&inner.deps));
        inner.spawn_loop("ark-fleet", ROUND_INTERVAL, move |inner| {
            let status = fleet.share_orders(&inner.deps);
            *inner.fleet.lock() = Some(status);
        })?;
    }
    Ok(())
}
