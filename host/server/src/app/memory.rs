//! How much memory a host with a configuration takes at most, besides the components that it has loaded.

use crate::config::Config;

/// Bytes of a MiB.
pub const MIB: u64 = 1024 * 1024;
/// What an idle host takes, as measured (`docs/benchmarks.md`).
const IDLE: u64 = 79 * MIB;
/// What the largest upload takes for a moment (`docs/limits.md`), and how many are taken at a time.
const UPLOAD: u64 = 86 * MIB;
const UPLOADS: u64 = 2;
/// What ended invocations still hold until their pages are given back.
const COLLECTED: u64 = ark_runtime::COLLECTED_BYTES as u64;

/// The memory that a host takes in the worst case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryDemand {
    /// What all invocations that run at a time take, in bytes.
    pub invocations: u64,
    /// The idle host, the uploads and what ended invocations still hold, in bytes.
    pub others: u64,
}

impl MemoryDemand {
    /// Returns what a host with this configuration takes at most. An agent's compiled component comes besides: 20 to 230 MiB by its language.
    #[must_use]
    pub fn of_config(config: &Config) -> Self {
        let at_a_time = config
            .router
            .workers
            .saturating_add(config.router.slow_workers);
        let invocations = at_a_time.saturating_mul(config.limits.memory_bytes);
        Self {
            invocations: u64::try_from(invocations).unwrap_or(u64::MAX),
            others: IDLE + UPLOADS * UPLOAD + COLLECTED,
        }
    }

    /// All of it, in bytes.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.invocations.saturating_add(self.others)
    }
}
