//! The watchdog: proves the limits, re-hashes the Graveyard, takes heartbeats, and quarantines agents that misbehave.
//!
//! Each loop has a thread of its own, so that none can hold up another:
//! * `ark-watchdog` beats: it re-hashes the Graveyard (a broken pin halts the host), checks the rate of violations, expires approvals and
//!   prunes capsules. Without a beat nothing is approved (rule 20), and the first beat comes only after every limit was probed and held.
//! * `ark-heartbeat` calls every agent's `heartbeat` export in a fresh instance, under the agent's limits.
//! * `ark-fleet` shares orders with the other hosts of a fleet, where one is configured.
//! * `ark-store-check` checks the whole database beside serving.
//! * `ark-redis` measures a Redis, where one is configured: its latency, and how much waits in its queue, in its
//!   streams and for the stream of events.
//!
//! Invocations are reported as they end ([`Watchdog::record_invocation`]). What the watchdog orders (halt, quarantine) goes through the HRM's
//! thread, in the order in which proposals are judged, and is durable there.
//!
//! Reading order: [`config`], [`handle`] (start and calls), [`state`] (what the loops share), [`checks`], [`heartbeats`], [`health`] (when an
//! agent is quarantined), [`orders`], [`alert_rules`] (every kind of alert and its threshold), [`fleet`], [`capsule`].
//!
//! Must not know: HTTP, topics, SQL.

pub mod alert_rules;
mod alerts;
mod capsule;
mod capsule_directory;
mod checks;
mod config;
mod fleet;
mod handle;
mod health;
mod heartbeats;
mod orders;
mod probing;
mod rate_limits;
mod redis_meter;
mod state;
mod store_check;
mod webhook_checks;

pub use capsule::{Capsule, CapsuleError, read_capsule};
pub use capsule_directory::{CapsuleDirectory, CapsuleFile, CapsuleRetention};
pub use config::{FleetConfig, WatchdogConfig, WatchdogDeps};
pub use fleet::FleetStatus;
pub use handle::{ResourceUsage, Watchdog};
pub use health::{Breach, CanaryHealth, HealthView, HealthWindow, Observation, Thresholds};
pub use orders::WATCHDOG_ACTOR;
pub use probing::{ProbedLimits, probe_all_limits};
pub use rate_limits::{ActionRateLimit, ConcurrencyLimit};
pub use redis_meter::{RedisMeasurement, RedisWatchConfig, RedisWatchLimits, StreamMeasurement};
pub use store_check::{StoreCheck, StoreCheckStatus};
