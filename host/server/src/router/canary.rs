//! A version on trial: it handles its share of an agent's signals, beside the version that serves.
//!
//! Its failures are its own: they are counted apart, they do not quarantine the agent, and what would quarantine it ends the trial instead.
//! Heartbeats are taken from the version that serves; the one on trial gave one before its trial began.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::watchdog::{AgentHealth, Breach, Observation, Watchdog};
use ark_model::ids::Share;
use ark_model::signal::Signal;
use ark_runtime::Agent;

/// A version on trial.
#[derive(Debug)]
pub struct Canary {
    /// The version.
    pub agent: Arc<Agent>,
    /// Its number; 0: that of the agents' directory.
    pub number: u64,
    /// Its part of the signals.
    pub share: Share,
    /// Invocations that were committed.
    pub handled: AtomicU64,
    /// Invocations that failed.
    pub failed: AtomicU64,
    health: Mutex<AgentHealth>,
}

impl Canary {
    /// A version whose trial begins.
    #[must_use]
    pub fn new(agent: Arc<Agent>, number: u64, share: Share) -> Self {
        Self {
            agent,
            number,
            share,
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            health: Mutex::default(),
        }
    }

    /// Whether it handles this signal: all signals of a trace go the same way, and it is handed no topic that it does not subscribe to.
    pub(super) fn handles_signal(&self, signal: &Signal) -> bool {
        self.agent.manifest().subscribes_to(&signal.topic)
            && self.share.contains_trace(signal.trace_id)
    }

    /// Notes how an invocation went; the breach that ends the trial, if this completes one.
    pub(super) fn record_outcome(&self, seen: Observation, watchdog: &Watchdog) -> Option<Breach> {
        match seen.success {
            Some(true) => self.handled.fetch_add(1, Ordering::Relaxed),
            Some(false) => self.failed.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        watchdog.record_canary_invocation(&self.health, seen)
    }
}
