//! Counter, gauge, peak and timing handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::decision::Outcome;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds an amount.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds 1.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Returns the current number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The largest value recorded.
#[derive(Debug, Default)]
pub struct Peak(AtomicU64);

impl Peak {
    /// Records a value.
    pub fn record(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// Returns the largest value so far; 0 when none was recorded.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// Replaces the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the current number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A sink for durations. The default has none: recording then costs one comparison.
#[derive(Clone, Default)]
pub struct Timing(Option<Arc<dyn Fn(Duration) + Send + Sync>>);

impl Timing {
    /// Passes every duration to `sink`, which runs on the thread that records and must return at once.
    #[must_use]
    pub fn with_sink(sink: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Records a duration.
    pub fn record(&self, duration: Duration) {
        if let Some(sink) = &self.0 {
            sink(duration);
        }
    }

    /// Records the time since `started`.
    pub fn record_since(&self, started: Instant) {
        if let Some(sink) = &self.0 {
            sink(started.elapsed());
        }
    }
}

impl std::fmt::Debug for Timing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Timing"
        } else {
            "Timing(no sink)"
        })
    }
}

/// Returns the counter of an outcome among counters in the order approved, held, denied.
pub(super) const fn outcome_counter(counters: &[Counter; 3], outcome: Outcome) -> &Counter {
    let [approved, held, denied] = counters;
    match outcome {
        Outcome::Approved => approved,
        Outcome::Held => held,
        Outcome::Denied => denied,
    }
}
