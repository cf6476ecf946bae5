//! An agent's place in the router: the agent, its counts, and what it has left of its allowance.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::runtime::Agent;
use crate::watchdog::Allowance;

/// An agent with its counts.
#[derive(Debug)]
pub struct Seat {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Invocations that were committed.
    pub handled: AtomicU64,
    /// Invocations that failed.
    pub failed: AtomicU64,
    waiting: AtomicUsize,
    /// Its last invocation failed: until one succeeds it gets only a part of the workers.
    pub(super) failing: AtomicBool,
    allowance: Mutex<Allowance>,
}

impl Seat {
    pub(super) fn new(agent: Arc<Agent>, waiting: usize) -> Self {
        let allowance = Allowance::new(agent.limits().actions_per_minute, Instant::now());
        Self {
            agent,
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            waiting: AtomicUsize::new(waiting),
            failing: AtomicBool::new(false),
            allowance: Mutex::new(allowance),
        }
    }

    /// Deliveries to it that are not settled, one that runs included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes a place in its queue, unless `most` are taken.
    pub(super) fn queue_up(&self, most: usize) -> bool {
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < most).then_some(waiting + 1)
            })
            .is_ok()
    }

    /// Gives a place back.
    pub(super) fn leave_queue(&self) {
        let _ = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                waiting.checked_sub(1)
            });
    }

    /// Counts actions against the minute's; `false`: they are too many, none is counted.
    pub(super) fn allow(&self, actions: u32) -> bool {
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(actions, Instant::now())
    }
}
