//! Configuration and dependencies of the watchdog.

use std::sync::Arc;
use std::time::Duration;

use ark_model::meters::WatchdogMeters;
use ark_runtime::{Agent, GraveyardSource, Limits, Pin};
use ark_store::{SecretKey, Store};

use crate::hrm::Hrm;
use crate::hrm::guards::Guards;
use crate::redis::{RedisSettings, RedisStatus};
use crate::webhooks::Webhooks;

use super::capsule_directory::CapsuleRetention;
use super::health::Thresholds;
use super::probing::ProbedLimits;
use super::redis_meter::RedisWatchConfig;

/// How the watchdog works.
#[derive(Debug, Clone)]
pub struct WatchdogConfig {
    /// How often a heartbeat of each agent is taken.
    pub heartbeat_interval: Duration,
    /// How long a heartbeat may take; the agent's own deadline if that is shorter.
    pub heartbeat_deadline: Duration,
    /// How often the Graveyard is hashed again and the rate of violations is checked.
    pub graveyard_interval: Duration,
    /// How many decisions of a minute may break rules. The alert `violation_rate` is graded by it.
    pub violations_per_minute: u32,
    /// The Redis to measure; absent: none.
    pub redis: Option<RedisWatchConfig>,
    /// The fleet this host belongs to; absent: none.
    pub fleet: Option<FleetConfig>,
    /// How long a webhook may fail. The alert `webhook_failing` is graded by it.
    pub webhook_failing: Duration,
    /// When an agent is quarantined or warned about. Can be changed while the host runs.
    pub thresholds: Thresholds,
    /// How long after a check of the whole database the next one begins.
    pub store_check_interval: Duration,
    /// How many capsules are kept, how large and how long.
    pub retention: CapsuleRetention,
}

/// The fleet a host belongs to.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// How its Redis is reached.
    pub redis: Arc<RedisSettings>,
    /// The key of its stream.
    pub stream: String,
    /// The key that all its hosts share.
    pub key: SecretKey,
}

/// The parts of the host that the watchdog uses.
pub struct WatchdogDeps {
    /// Hold whether the pin holds, the last beat, the halt and the quarantines.
    pub guards: Arc<Guards>,
    /// Where the Graveyard was loaded from.
    pub graveyard: GraveyardSource,
    /// The digest that the Graveyard must have.
    pub pin: Pin,
    /// What came of probing the limits ([`super::probe_all_limits`]).
    pub probes: ProbedLimits,
    /// The operator's ceiling for the limits of agents.
    pub ceiling: Limits,
    /// The agents that serve at the start; see [`super::Watchdog::set_agents`].
    pub agents: Vec<Arc<Agent>>,
    /// Carries out orders.
    pub hrm: Hrm,
    /// Keeps alerts and this host's place in the fleet.
    pub store: Store,
    /// The streams and events that the host uses in the Redis.
    pub redis: Arc<RedisStatus>,
    /// The webhooks that are watched.
    pub webhooks: Webhooks,
    /// Count re-hashes and missed heartbeats.
    pub meters: Arc<WatchdogMeters>,
}
