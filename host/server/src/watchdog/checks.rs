//! What the watchdog checks about the host itself: the Graveyard's pin, the rate of violations, the database, the Redis.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use ark_model::control::Order;
use ark_model::ids::{Millis, Name};
use ark_runtime::lower_thread_priority;

use super::alert_rules;
use super::redis_meter::{RedisMeasurement, RedisWatchConfig};
use super::state::WatchdogState;
use super::store_check::{check_store, is_stopped};

/// Over which time violations are counted.
const VIOLATION_WINDOW: Duration = Duration::from_secs(60);

/// The priority of the thread that checks the database, as a nice value: the lowest.
const CHECK_NICE: i32 = 19;
/// How long after the start the first check of the database begins.
const FIRST_CHECK_AFTER: Duration = Duration::from_secs(1);
/// How long after a check that could not be made the next one begins.
const CHECK_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Violations by agent, as they were taken from the HRM.
pub(super) type ViolationWindow = VecDeque<(Instant, HashMap<Name, u32>)>;

impl WatchdogState {
    /// Starts the thread that checks the whole database, at the start and from time to time.
    pub(super) fn start_store_check(self: &Arc<Self>) -> std::io::Result<()> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let inner = Arc::downgrade(self);
        let thread = std::thread::Builder::new()
            .name("ark-store-check".to_owned())
            .spawn(move || {
                lower_thread_priority(CHECK_NICE);
                let mut pause = FIRST_CHECK_AFTER;
                while !is_stopped(&stopped, pause) {
                    match inner.upgrade() {
                        Some(inner) => pause = inner.check_database(&stopped),
                        None => break,
                    }
                }
            })?;
        self.threads.lock().push((stop, thread));
        Ok(())
    }

    /// Checks the whole database. Returns how long until the next check.
    fn check_database(&self, stopped: &Receiver<()>) -> Duration {
        let interval = self.config.store_check_interval;
        let dir = self.deps.store.dir();
        let check = match check_store(dir, stopped) {
            Ok(Some(check)) => check,
            Ok(None) => return interval,
            Err(error) => {
                tracing::warn!(%error, "the database cannot be checked now; it is tried again");
                return CHECK_AGAIN_AFTER.min(interval);
            }
        };
        match &check.fault {
            None => {
                tracing::info!(
                    rows = check.rows,
                    revisions = check.revisions,
                    skipped = check.skipped.join(", "),
                    duration_s = check.duration.as_secs_f64(),
                    "the database is as it was written"
                );
            }
            Some(fault) => {
                let dir = dir.display();
                tracing::error!(fault, %dir, "the database is damaged");
                let message = format!("the database in {dir} is damaged: {fault}");
                self.raise_fixed_alert(&alert_rules::DATABASE_DAMAGED, message);
            }
        }
        let mut status = self.store_check.lock();
        status.runs += 1;
        status.last = Some(check);
        interval
    }

    /// Hashes the Graveyard again and beats. A broken pin halts the host.
    pub(super) fn check_pin(&self) {
        #[cfg(feature = "faults")]
        if crate::faults::has_fault(crate::faults::Fault::StopsBeating) {
            return;
        }
        let deps = &self.deps;
        let did_hold = deps.guards.pin_holds();
        let broken = deps.pin.verify_source(&deps.graveyard).err();
        deps.guards
            .record_heartbeat(Millis::now(), broken.is_none());
        let Some(error) = broken else {
            deps.meters.pin_held.increment();
            return;
        };
        deps.meters.pin_broken.increment();
        tracing::error!(%error, "the Graveyard's pin is broken: everything is halted");
        let is_unordered = did_hold || deps.guards.current_halt().is_none();
        if is_unordered || self.halt_unrecorded.load(Ordering::Acquire) {
            let reason = format!("the Graveyard's pin is broken: {error}");
            let ordered = self.issue_order(Order::Halt, reason);
            self.halt_unrecorded
                .store(ordered.is_err(), Ordering::Release);
        }
    }

    /// Warns when too many decisions of the last minute broke rules. `window` holds what earlier calls took from the HRM.
    pub(super) fn check_violation_rate(&self, window: &mut ViolationWindow) {
        let now = Instant::now();
        window.push_back((now, self.deps.hrm.take_violations()));
        while window
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= VIOLATION_WINDOW)
        {
            window.pop_front();
        }
        let mut by_agent: BTreeMap<&Name, u32> = BTreeMap::new();
        for (agent, count) in window.iter().flat_map(|(_, counts)| counts) {
            *by_agent.entry(agent).or_default() += count;
        }
        let total: u32 = by_agent.values().sum();
        let limit = f64::from(self.config.violations_per_minute);
        self.warn_about_host(
            &alert_rules::VIOLATION_RATE,
            f64::from(total),
            limit,
            || {
                let most = by_agent.iter().max_by_key(|(_, count)| **count);
                let most = most.map_or_else(String::new, |(agent, count)| {
                    format!("; {count} of them from {agent}")
                });
                format!("{total} decisions of the last minute break rules{most}")
            },
        );
    }

    /// Warns when the database has grown to a large part of its limit.
    pub(super) fn check_database_size(&self) {
        let store = &self.deps.store;
        let Some(limit) = store.max_bytes() else {
            return;
        };
        let size = store.size_bytes();
        let message = || {
            format!(
                "the database has {size} of {limit} bytes; archive the audit log (`ark audit archive`) or raise capacity.max_database_bytes"
            )
        };
        self.warn_about_host(
            &alert_rules::DATABASE_BYTES,
            size as f64,
            limit as f64,
            message,
        );
    }

    /// Raises the alerts about a Redis.
    pub(super) fn check_redis(&self, config: &RedisWatchConfig, measured: RedisMeasurement) {
        if let Some(problem) = &measured.problem {
            self.alert_redis_unreachable(problem.clone());
        }
        for graded in config.grade(&measured) {
            let (observed, limit) = (graded.observed, graded.limit);
            self.warn_about_host(graded.rule, observed, limit, || graded.message);
        }
        *self.redis.lock() = Some(measured);
    }
}
