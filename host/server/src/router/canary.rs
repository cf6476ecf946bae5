//! A canary: a version of an agent that handles a share of its signals beside the serving version.
//!
//! Its failures are counted apart and do not quarantine the agent: what would quarantine it ends the canary instead. Heartbeats are taken from the serving
//! version; the canary's version gave one before it started.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::watchdog::{Breach, CanaryHealth, Observation, Watchdog};
use ark_model::ids::Share;
use ark_model::signal::Signal;
use ark_runtime::Agent;

/// A version of an agent on trial.
#[derive(Debug)]
pub struct Canary {
    /// The version.
    pub agent: Arc<Agent>,
    /// The number of the version; 0 for the one in the agents' directory.
    pub number: u64,
    /// The share of the signals it handles.
    pub share: Share,
    /// Invocations that were committed.
    pub handled: AtomicU64,
    /// Invocations that failed.
    pub failed: AtomicU64,
    health: CanaryHealth,
}

impl Canary {
    /// Makes a canary without a history.
    #[must_use]
    pub fn new(agent: Arc<Agent>, number: u64, share: Share) -> Self {
        Self {
            agent,
            number,
            share,
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            health: CanaryHealth::default(),
        }
    }

    /// Returns whether it handles this signal. All signals of a trace go the same way, and it is handed no topic that it does not subscribe to.
    pub(super) fn handles_signal(&self, signal: &Signal) -> bool {
        self.agent.manifest().subscribes_to(&signal.topic)
            && self.share.contains_trace(signal.trace_id)
    }

    /// Records an invocation. Returns the breach that ends the canary, if this invocation completes one.
    pub(super) fn record_outcome(
        &self,
        observation: Observation,
        watchdog: &Watchdog,
    ) -> Option<Breach> {
        match observation.success {
            Some(true) => self.handled.fetch_add(1, Ordering::Relaxed),
            Some(false) => self.failed.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        watchdog.record_canary_invocation(&self.health, observation)
    }
}
