//! How many threads a host with a configuration has: what the limits of its user and of its control group must have room for.

use std::num::NonZeroUsize;

use crate::config::Config;

/// The most threads that serve connections. They parse requests, write answers and judge what is quick to judge.
const MAX_CONNECTION_THREADS: usize = 4;
/// Threads of the ports' runtime, which serve telemetry and look at sockets and timers for the main thread, which accepts connections: when a disk holds up
/// one of them, the other goes on.
pub const PORT_THREADS: usize = 2;
/// Threads that the ports' runtime has at most for calls that wait for the disk or for another part. They are started when they are needed.
pub const BLOCKING_THREADS: usize = 512;

/// Threads that every host has, whatever its configuration: the main thread and that of its signals; writer and checkpointer of the store; the clock of
/// the engine; HRM, router and event feed; the beat, the heartbeats and the check of the database by the watchdog; telemetry.
const ALWAYS: usize = 12;
/// Threads that come and go besides those for calls: what goes on beside a start, heartbeats, loading, uploads, the rescue of lost files.
const PASSING: usize = 32;

/// How many threads of a host serve connections on this machine: one for two processors, since as much is done by the writer and by clients.
#[must_use]
pub fn count_connection_threads() -> NonZeroUsize {
    let half = (count_processors() / 2).min(MAX_CONNECTION_THREADS);
    NonZeroUsize::new(half).unwrap_or(NonZeroUsize::MIN)
}

/// How many threads of a front serve connections on this machine: there they do most of the work.
#[must_use]
pub fn count_front_threads() -> NonZeroUsize {
    let processors = count_processors().min(MAX_CONNECTION_THREADS);
    NonZeroUsize::new(processors).unwrap_or(NonZeroUsize::MIN)
}

fn count_processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The threads that a host needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadDemand {
    /// What a start makes at once; with fewer the host does not start.
    pub at_start: usize,
    /// What it has at most, when many calls wait at the same time.
    pub at_most: usize,
}

impl ThreadDemand {
    /// Returns what a host with this configuration needs on this machine: the compilers of guests are as many as its processors.
    #[must_use]
    pub fn of_config(config: &Config) -> Self {
        let compilers = count_processors();
        let workers = config.router.workers.max(1) + config.router.slow_workers;
        // The watchdog measures the Redis besides.
        let redis = config.redis.as_ref().map_or(0, |redis| {
            1 + redis.signals.len() + usize::from(redis.events.is_some())
        });
        let others = usize::from(config.watchdog.fleet.is_some())
            + usize::from(config.telemetry.otlp_endpoint.is_some())
            + config.webhooks.len();
        let connections = count_connection_threads().get();
        let at_start = ALWAYS + PORT_THREADS + connections + compilers + workers + redis + others;
        Self {
            at_start,
            at_most: at_start + BLOCKING_THREADS + PASSING,
        }
    }
}
