//! The watchdog: proves the limits, re-hashes the Graveyard, asks the agents how they are, and stops what misbehaves.
//!
//! Its loops, each on a thread of its own so that none can hold up another:
//! * `ark-watchdog` beats: it re-hashes the Graveyard (a broken pin halts), looks at the rate of violations, prunes capsules. Without a beat
//!   nothing is approved (rule 20), and the first beat comes only after every limit was probed and held.
//! * `ark-heartbeat` calls every agent's `heartbeat` export in a fresh instance, under the agent's limits.
//! * `ark-fleet` hands orders on to the other hosts of a fleet and carries theirs out, where one is configured.
//! * `ark-redis` looks at a Redis, where one is configured: latency, and how much waits in its queue.
//! * What happens to invocations comes in as it happens ([`Watchdog::observe`]).
//!
//! Its orders (halt, quarantine) go through the HRM's thread, in the order in which proposals are judged, and are durable there.
//!
//! Must not know: HTTP, topics, SQL.

mod allowance;
mod capsule;
mod fleet;
mod health;
mod heartbeats;
mod probing;
mod redis;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::hrm::guards::Guards;
use crate::hrm::{Hrm, HrmError, IssuedOrder, OrderReceipt, alert_message};
use ark_model::control::{Alert, AlertSeverity, Order};
use ark_model::ids::{Millis, Name, TraceId};
use ark_model::meters::WatchdogMeters;
use ark_runtime::{Agent, Engine, GraveyardSource, Limits, Pin, Probe};
use ark_store::{Store, Unit};

use self::fleet::Fleet;
use self::probing::probe_all_limits;
use self::redis::RedisProbe;

pub use allowance::{ActionRateLimit, ConcurrencyLimit};
pub use capsule::{
    Capsule, CapsuleDirectory, CapsuleError, CapsuleFile, CapsuleRetention, read_capsule,
};
pub use fleet::{FleetConfig, FleetStatus};
pub use health::{AgentHealth, Breach, HealthView, Observation, Thresholds};
pub use redis::{RedisStatus, RedisWatchConfig};

/// In whose name the watchdog gives orders.
pub const WATCHDOG_ACTOR: &str = "watchdog";

/// How often capsules are pruned.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// Over which time violations are counted.
const VIOLATION_WINDOW: Duration = Duration::from_secs(60);

/// How the watchdog works.
#[derive(Debug, Clone)]
pub struct WatchdogConfig {
    /// How often each agent is asked for a heartbeat.
    pub heartbeat_interval: Duration,
    /// How long it may take to answer; its own deadline if that is shorter.
    pub heartbeat_deadline: Duration,
    /// How often the Graveyard's bytes are hashed anew and the violations looked at.
    pub graveyard_interval: Duration,
    /// Decisions of a minute that break rules; more is an alert.
    pub violations_per_minute: u32,
    /// The Redis that is watched.
    pub redis: Option<RedisWatchConfig>,
    /// The fleet this host belongs to.
    pub fleet: Option<FleetConfig>,
    /// When an agent is stopped or warned about.
    pub thresholds: Thresholds,
    /// How many capsules are kept.
    pub retention: CapsuleRetention,
}

/// What the watchdog watches.
pub struct WatchdogDeps {
    /// Where pin, beat, halt and quarantines stand.
    pub guards: Arc<Guards>,
    /// Where the Graveyard is from.
    pub graveyard: GraveyardSource,
    /// What it must be.
    pub pin: Pin,
    /// The engine whose limits are probed.
    pub engine: Engine,
    /// The operator's ceiling.
    pub ceiling: Limits,
    /// The agents to begin with; see [`Watchdog::watch`].
    pub agents: Vec<Arc<Agent>>,
    /// Who carries out orders.
    pub hrm: Hrm,
    /// Where alerts are kept.
    pub store: Store,
    /// What counts re-hashes and missed heartbeats.
    pub meters: Arc<WatchdogMeters>,
}

/// What an invocation used.
#[derive(Debug, Clone, Copy)]
pub struct ResourceUsage {
    /// Fuel.
    pub fuel: u64,
    /// The most memory held at one time, in bytes.
    pub memory_peak: usize,
}

/// The handle to the watchdog. Cheap to clone; its threads end on [`Watchdog::close`].
#[derive(Clone)]
pub struct Watchdog {
    inner: Arc<Inner>,
}

struct Inner {
    config: WatchdogConfig,
    deps: WatchdogDeps,
    thresholds: ArcSwap<Thresholds>,
    agents: ArcSwap<Vec<Arc<Agent>>>,
    health: ArcSwap<HashMap<Name, Arc<Mutex<AgentHealth>>>>,
    capsules: CapsuleDirectory,
    redis: Mutex<Option<RedisStatus>>,
    fleet: Mutex<Option<FleetStatus>>,
    /// As [`Health::may_warn`], for what concerns no agent.
    host_warnings: Mutex<AgentHealth>,
    probes: Vec<Probe>,
    /// Quarantines whose order has not come to disk.
    unrecorded_quarantines: Mutex<BTreeMap<Name, Breach>>,
    /// Held by the thread that records them.
    recording_lock: Mutex<()>,
    halt_unrecorded: AtomicBool,
    threads: Mutex<Vec<(Sender<()>, JoinHandle<()>)>>,
}

impl Watchdog {
    /// Probes the limits, beats once if they hold, then starts the loops.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(config: WatchdogConfig, mut watched: WatchdogDeps) -> std::io::Result<Self> {
        let probes = probe_all_limits(&watched);
        let health: HashMap<_, _> = watched
            .agents
            .iter()
            .map(|agent| (agent.manifest().name.clone(), Arc::default()))
            .collect();
        let inner = Arc::new(Inner {
            capsules: CapsuleDirectory::in_data_dir(watched.store.dir(), config.retention.clone()),
            probes,
            thresholds: ArcSwap::from_pointee(config.thresholds.clone()),
            agents: ArcSwap::from_pointee(std::mem::take(&mut watched.agents)),
            health: ArcSwap::from_pointee(health),
            redis: Mutex::default(),
            fleet: Mutex::default(),
            host_warnings: Mutex::default(),
            unrecorded_quarantines: Mutex::default(),
            recording_lock: Mutex::default(),
            halt_unrecorded: AtomicBool::new(false),
            threads: Mutex::default(),
            config,
            deps: watched,
        });
        if inner.limits_hold() {
            inner.check_pin();
        }
        let mut violations = VecDeque::new();
        let mut pruned = Instant::now();
        inner.spawn_loop(
            "ark-watchdog",
            inner.config.graveyard_interval,
            move |inner| {
                if inner.limits_hold() {
                    inner.check_pin();
                }
                inner.check_violation_rate(&mut violations);
                inner.deps.hrm.expire_approvals();
                if pruned.elapsed() >= PRUNE_INTERVAL {
                    pruned = Instant::now();
                    inner.capsules.prune_capsules();
                }
            },
        )?;
        inner.spawn_loop("ark-heartbeat", inner.config.heartbeat_interval, |inner| {
            inner.take_heartbeats();
            inner.record_quarantines();
        })?;
        if let Some(watch) = inner.config.redis.clone() {
            let mut eye = RedisProbe::new(watch.clone());
            inner.spawn_loop("ark-redis", watch.interval, move |inner| {
                inner.check_redis(&watch, eye.check_status());
            })?;
        }
        if let Some(config) = inner.config.fleet.clone() {
            let mut fleet = Fleet::new(config);
            *lock(&inner.fleet) = Some(fleet.join_fleet(&inner.deps));
            inner.spawn_loop("ark-fleet", fleet::EXCHANGE_INTERVAL, move |inner| {
                let seen = fleet.exchange_orders(&inner.deps);
                *lock(&inner.fleet) = Some(seen);
            })?;
        }
        Ok(Self { inner })
    }

    /// Ends the loops.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *lock(&self.inner.threads));
        for (stop, thread) in threads {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("a watchdog thread ended in a panic");
            }
        }
    }

    /// Notes how an invocation went. If that was one failure too many, the agent is to be stopped ([`Watchdog::stop`]) before its next turn.
    #[must_use = "the agent is to be stopped"]
    pub fn record_invocation(
        &self,
        agent: &Agent,
        seen: Observation,
        usage: Option<ResourceUsage>,
    ) -> Option<Breach> {
        let inner = &self.inner;
        let name = &agent.manifest().name;
        let health = inner.health_of(name)?;
        let now = Instant::now();
        let breach = lock(&health).record_invocation(seen, &inner.thresholds.load(), now);
        if let Some(usage) = usage {
            let limits = agent.limits();
            for (kind, observed, limit) in [
                ("fuel", usage.fuel as f64, limits.fuel as f64),
                (
                    "memory_bytes",
                    usage.memory_peak as f64,
                    limits.memory_bytes as f64,
                ),
                (
                    "deadline_ms",
                    seen.latency.as_secs_f64() * 1e3,
                    limits.deadline.as_secs_f64() * 1e3,
                ),
            ] {
                inner.warn_about_agent(name, kind, observed, limit);
            }
        }
        breach
    }

    /// Puts an agent into quarantine. Blocks until that is on disk.
    pub fn quarantine_agent(&self, agent: &Name, breach: Breach) {
        self.inner.order_quarantine(agent, breach);
    }

    /// Notes how an invocation of a version on trial went; the breach that it completes, if any.
    pub fn record_canary_invocation(
        &self,
        health: &Mutex<AgentHealth>,
        seen: Observation,
    ) -> Option<Breach> {
        lock(health).record_invocation(seen, &self.inner.thresholds.load(), Instant::now())
    }

    /// Alerts that a version on trial was withdrawn.
    pub fn alert_canary_withdrawn(&self, agent: &Name, number: u64, breach: &Breach) {
        self.inner.raise_alert(Alert {
            at_ms: Millis::now(),
            severity: AlertSeverity::Critical,
            kind: "canary_withdrawn".to_owned(),
            agent: Some(agent.clone()),
            message: format!(
                "version {number}, on trial, is withdrawn: {}",
                breach.reason
            ),
            observed: None,
            limit: None,
        });
    }

    /// Notes how many signals wait for an agent.
    pub fn record_queue_length(&self, agent: &Name, waiting: usize, most: usize) {
        self.inner
            .warn_about_agent(agent, "queue", waiting as f64, most as f64);
    }

    /// Forgets how an agent has done: after a restore it starts anew.
    pub fn reset_health(&self, agent: &Name) {
        if let Some(health) = self.inner.health_of(agent) {
            *lock(&health) = AgentHealth::default();
        }
        lock(&self.inner.unrecorded_quarantines).remove(agent);
    }

    /// Watches these agents from now on. What `changed` did under another version is forgotten. One caller at a time.
    pub fn set_agents(&self, agents: Vec<Arc<Agent>>, changed: &Name) {
        let known = self.inner.health.load();
        let health: HashMap<_, _> = agents
            .iter()
            .map(|agent| agent.manifest().name.clone())
            .map(|name| match known.get(&name) {
                Some(health) if name != *changed => (name, Arc::clone(health)),
                _ => (name, Arc::default()),
            })
            .collect();
        drop(known);
        self.inner.health.store(Arc::new(health));
        self.inner.agents.store(Arc::new(agents));
    }

    /// How an agent does.
    #[must_use]
    pub fn agent_health(&self, agent: &Name) -> Option<HealthView> {
        let health = self.inner.health_of(agent)?;
        Some(lock(&health).to_view(&self.inner.thresholds.load(), Instant::now()))
    }

    /// How far the orders of the fleet have come; `None`: this host is in none.
    #[must_use]
    pub fn fleet_status(&self) -> Option<FleetStatus> {
        lock(&self.inner.fleet).clone()
    }

    /// What the Redis looked like at the last look; `None`: none is watched, or not yet looked at.
    #[must_use]
    pub fn redis_status(&self) -> Option<RedisStatus> {
        lock(&self.inner.redis).clone()
    }

    /// What became of the probes of the limits.
    #[must_use]
    pub fn probes(&self) -> &[Probe] {
        &self.inner.probes
    }

    /// Whether every limit held when it was probed. Until then nothing is approved.
    #[must_use]
    pub fn limits_hold(&self) -> bool {
        self.inner.limits_hold()
    }

    /// Where capsules are kept.
    #[must_use]
    pub fn capsules(&self) -> &CapsuleDirectory {
        &self.inner.capsules
    }

    /// How it works.
    #[must_use]
    pub fn config(&self) -> &WatchdogConfig {
        &self.inner.config
    }

    /// When an agent is stopped or warned about.
    #[must_use]
    pub fn thresholds(&self) -> Arc<Thresholds> {
        self.inner.thresholds.load_full()
    }

    /// Changes when an agent is stopped or warned about, from now on.
    pub fn set_thresholds(&self, thresholds: Thresholds) {
        self.inner.thresholds.store(Arc::new(thresholds));
    }

    /// The operator's ceiling.
    #[must_use]
    pub fn ceiling(&self) -> &Limits {
        &self.inner.deps.ceiling
    }
}

impl Inner {
    /// Runs `work` every `interval` on a thread of its own, until the watchdog is closed.
    fn spawn_loop(
        self: &Arc<Self>,
        name: &str,
        interval: Duration,
        mut work: impl FnMut(&Self) + Send + 'static,
    ) -> std::io::Result<()> {
        let (stop, stopped): (Sender<()>, Receiver<()>) = crossbeam_channel::bounded(0);
        let inner = Arc::downgrade(self);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    match inner.upgrade() {
                        Some(inner) => work(&inner),
                        None => break,
                    }
                }
            })?;
        lock(&self.threads).push((stop, thread));
        Ok(())
    }

    fn health_of(&self, agent: &Name) -> Option<Arc<Mutex<AgentHealth>>> {
        self.health.load().get(agent).cloned()
    }

    fn limits_hold(&self) -> bool {
        self.probes.iter().all(|probe| probe.tripped)
    }

    fn check_pin(&self) {
        let watched = &self.deps;
        let was_holding = watched.guards.pin_holds();
        let broken = watched.pin.verify_source(&watched.graveyard).err();
        watched
            .guards
            .record_heartbeat(Millis::now(), broken.is_none());
        let meters = &watched.meters;
        let checked = [&meters.pin_held, &meters.pin_broken];
        checked[usize::from(broken.is_some())].increment();
        let Some(error) = broken else {
            return;
        };
        tracing::error!(%error, "the Graveyard's pin is broken: everything is halted");
        if was_holding
            || watched.guards.current_halt().is_none()
            || self.halt_unrecorded.load(Ordering::Acquire)
        {
            let done = self.execute_order(IssuedOrder {
                origin_host: None,
                idempotency: None,
                trace_id: TraceId::fresh(),
                order: Order::Halt,
                reason: format!("the Graveyard's pin is broken: {error}"),
                by: WATCHDOG_ACTOR.to_owned(),
            });
            self.halt_unrecorded.store(done.is_err(), Ordering::Release);
        }
    }

    fn check_violation_rate(&self, seen: &mut VecDeque<(Instant, HashMap<Name, u32>)>) {
        let now = Instant::now();
        seen.push_back((now, self.deps.hrm.take_violations()));
        while seen
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= VIOLATION_WINDOW)
        {
            seen.pop_front();
        }
        let mut by_agent: BTreeMap<&Name, u32> = BTreeMap::new();
        for (agent, count) in seen.iter().flat_map(|(_, counts)| counts) {
            *by_agent.entry(agent).or_default() += count;
        }
        let total: u32 = by_agent.values().sum();
        let limit = self.config.violations_per_minute;
        let Some(severity) = self
            .thresholds
            .load()
            .severity_of(f64::from(total), f64::from(limit))
        else {
            return;
        };
        let worst = by_agent.iter().max_by_key(|(_, count)| **count);
        let worst = worst.map_or_else(String::new, |(agent, count)| {
            format!("; {count} of them from {agent}")
        });
        let message = format!("{total} decisions of the last minute break rules{worst}");
        let measured = Some((f64::from(total), f64::from(limit)));
        self.warn_about_host("violation_rate", severity, message, measured);
    }

    fn check_redis(&self, watch: &RedisWatchConfig, seen: RedisStatus) {
        let thresholds = self.thresholds.load();
        let latency = seen.latency_ms.unwrap_or(f64::INFINITY);
        let depth = seen.depth.unwrap_or(0) as f64;
        let findings = [
            ("redis_latency", latency, watch.latency.as_secs_f64() * 1e3),
            ("redis_depth", depth, watch.depth as f64),
        ];
        if let Some(problem) = &seen.problem {
            self.warn_about_host(
                "redis_unreachable",
                AlertSeverity::Critical,
                problem.clone(),
                None,
            );
        } else {
            for (kind, observed, limit) in findings {
                if let Some(severity) = thresholds.severity_of(observed, limit) {
                    let message = format!("{observed:.1} of {limit:.0} in {}", watch.queue);
                    self.warn_about_host(kind, severity, message, Some((observed, limit)));
                }
            }
        }
        *lock(&self.redis) = Some(seen);
    }

    /// Warns of what concerns no agent, once a minute for the same thing.
    fn warn_about_host(
        &self,
        kind: &'static str,
        severity: AlertSeverity,
        message: String,
        measured: Option<(f64, f64)>,
    ) {
        if !lock(&self.host_warnings).claim_warning(kind, severity, Instant::now()) {
            return;
        }
        self.raise_alert(Alert {
            at_ms: Millis::now(),
            severity,
            kind: kind.to_owned(),
            agent: None,
            message,
            observed: measured.map(|(observed, _)| observed),
            limit: measured.map(|(_, limit)| limit),
        });
    }

    /// Orders a quarantine. It is in force at once; if it cannot be recorded now, that is tried again.
    fn order_quarantine(&self, agent: &Name, breach: Breach) {
        if self.deps.guards.is_quarantined(agent) {
            return;
        }
        lock(&self.unrecorded_quarantines).insert(agent.clone(), breach);
        self.record_quarantines();
    }

    fn record_quarantines(&self) {
        // One thread at a time, or an order would be recorded twice.
        let _turn = lock(&self.recording_lock);
        let due: Vec<(Name, Breach)> = lock(&self.unrecorded_quarantines)
            .iter()
            .map(|(agent, breach)| (agent.clone(), breach.clone()))
            .collect();
        for (agent, breach) in due {
            let done = self.execute_order(IssuedOrder {
                origin_host: None,
                idempotency: None,
                trace_id: TraceId::fresh(),
                order: Order::Quarantine {
                    agent: agent.clone(),
                    cause: breach.cause,
                },
                reason: breach.reason,
                by: WATCHDOG_ACTOR.to_owned(),
            });
            match done {
                Ok(_) => {
                    lock(&self.unrecorded_quarantines).remove(&agent);
                }
                Err(error) => {
                    tracing::error!(%agent, %error, "a quarantine is in force but not recorded; tried again");
                }
            }
        }
    }

    fn execute_order(&self, instruction: IssuedOrder) -> Result<OrderReceipt, HrmError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.deps.hrm.carry_out_order(
            instruction,
            Box::new(move |result| {
                let _ = reply.send(result);
            }),
        );
        answer.recv().unwrap_or(Err(HrmError::Closed))
    }

    /// Warns when so much of a limit is used, once a minute for the same thing.
    fn warn_about_agent(&self, agent: &Name, kind: &'static str, observed: f64, limit: f64) {
        let Some(severity) = self.thresholds.load().severity_of(observed, limit) else {
            return;
        };
        let due = self
            .health_of(agent)
            .is_some_and(|health| lock(&health).claim_warning(kind, severity, Instant::now()));
        if due {
            self.raise_alert(Alert {
                at_ms: Millis::now(),
                severity,
                kind: format!("limit_{kind}"),
                agent: Some(agent.clone()),
                message: format!(
                    "it used {:.0} % of its limit of {kind}",
                    observed / limit * 100.0
                ),
                observed: Some(observed),
                limit: Some(limit),
            });
        }
    }

    /// Keeps an alert and announces it.
    fn raise_alert(&self, alert: Alert) {
        let mut unit = Unit::default();
        if self.deps.hrm.is_announcing() {
            unit.outbox.push(alert_message(&alert, TraceId::fresh()));
        }
        let kind = alert.kind.clone();
        unit.alerts.push(alert);
        let done = Box::new(move |result: Result<_, ark_store::CommitError>| {
            if let Err(error) = result {
                tracing::error!(%error, kind, "an alert could not be kept");
            }
        });
        if let Err((error, _)) = self.deps.store.submit(unit, done) {
            tracing::error!(%error, "an alert could not be kept");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
