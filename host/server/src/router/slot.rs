//! An agent's slot in the router: its serving version, its canary, its counts and its rate limit.
//!
//! A slot belongs to a name for as long as the host runs, so its number identifies the agent everywhere in the router. The version in it can be replaced
//! or removed at any moment and without a lock: a running invocation holds on to the version that it began with.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use crate::watchdog::ActionRateLimit;
use ark_model::ids::Name;
use ark_model::signal::Signal;
use ark_runtime::Agent;

use super::canary::Canary;

/// The slot of an agent.
#[derive(Debug)]
pub struct AgentSlot {
    /// The agent's name.
    pub name: Name,
    agent: ArcSwapOption<Agent>,
    canary: ArcSwapOption<Canary>,
    /// The agent was deleted: what still arrives for it is completed as failed.
    deleted: AtomicBool,
    /// Invocations that were committed.
    pub handled: AtomicU64,
    /// Invocations that failed.
    pub failed: AtomicU64,
    waiting_deliveries: AtomicUsize,
    /// The last invocation failed. Until one succeeds, the agent gets only a part of the workers.
    pub(super) failing: AtomicBool,
    rate_limit: Mutex<ActionRateLimit>,
}

impl AgentSlot {
    /// Makes the slot of a serving version, for which `waiting` deliveries are pending.
    pub(super) fn new(agent: Arc<Agent>, waiting: usize) -> Self {
        Self {
            name: agent.manifest().name.clone(),
            rate_limit: Mutex::new(rate_limit_of(&agent)),
            agent: ArcSwapOption::new(Some(agent)),
            canary: ArcSwapOption::empty(),
            deleted: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            waiting_deliveries: AtomicUsize::new(waiting),
            failing: AtomicBool::new(false),
        }
    }

    /// Returns the serving version, if there is one.
    #[must_use]
    pub fn agent(&self) -> Option<Arc<Agent>> {
        self.agent.load_full()
    }

    /// Returns the canary, if there is one.
    #[must_use]
    pub fn canary(&self) -> Option<Arc<Canary>> {
        self.canary.load_full()
    }

    /// Returns the canary if this signal is in its share.
    pub(super) fn canary_for(&self, signal: &Signal) -> Option<Arc<Canary>> {
        self.canary().filter(|canary| canary.handles_signal(signal))
    }

    /// Starts a canary, or ends it. Returns the previous one.
    pub(super) fn set_canary(&self, canary: Option<Arc<Canary>>) -> Option<Arc<Canary>> {
        self.canary.swap(canary)
    }

    /// Ends this very canary. Returns `false` when it has ended before.
    pub(super) fn end_canary(&self, canary: &Arc<Canary>) -> bool {
        let previous = self.canary.compare_and_swap(canary, None);
        previous
            .as_ref()
            .is_some_and(|previous| Arc::ptr_eq(previous, canary))
    }

    /// Returns whether this very version is the serving one.
    pub(super) fn is_serving(&self, agent: &Arc<Agent>) -> bool {
        self.agent
            .load()
            .as_ref()
            .is_some_and(|serving| Arc::ptr_eq(serving, agent))
    }

    /// Returns whether the serving version subscribes to a topic.
    pub(super) fn subscribes_to(&self, topic: &str) -> bool {
        self.agent
            .load()
            .as_ref()
            .is_some_and(|agent| agent.manifest().subscribes_to(topic))
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.agent.load().is_none()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Makes a version the serving one. Returns the previous one.
    pub(super) fn install_version(&self, agent: Arc<Agent>) -> Option<Arc<Agent>> {
        let limit = agent.limits().actions_per_minute;
        let fresh_limit = rate_limit_of(&agent);
        let previous = self.agent.swap(Some(agent));
        // The actions that the previous version proposed in this minute count for the new one, unless its limit is another.
        let same_limit = previous
            .as_ref()
            .is_some_and(|previous| previous.limits().actions_per_minute == limit);
        if !same_limit {
            *self.rate_limit.lock() = fresh_limit;
        }
        self.failing.store(false, Ordering::Relaxed);
        self.deleted.store(false, Ordering::Release);
        previous
    }

    /// Removes the serving version and returns it.
    pub(super) fn remove_version(&self) -> Option<Arc<Agent>> {
        self.agent.swap(None)
    }

    /// Marks the agent as deleted, after `closed` of its pending deliveries were closed.
    pub(super) fn mark_deleted(&self, closed: usize) {
        self.deleted.store(true, Ordering::Release);
        self.release_places(closed);
    }

    /// Number of deliveries that are pending for the agent, including those that run.
    #[must_use]
    pub fn waiting_deliveries(&self) -> usize {
        self.waiting_deliveries.load(Ordering::Relaxed)
    }

    /// Takes a place in the agent's queue. Returns `false` when all `capacity` places are taken.
    pub(super) fn reserve_place(&self, capacity: usize) -> bool {
        self.waiting_deliveries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < capacity).then_some(waiting + 1)
            })
            .is_ok()
    }

    /// Gives places in the agent's queue back.
    pub(super) fn release_places(&self, places: usize) {
        subtract_saturating(&self.waiting_deliveries, places);
    }

    /// Counts actions against the limit for a minute. Returns `false` when they exceed it; then none of them counts.
    pub(super) fn take_allowance(&self, actions: u32) -> bool {
        self.rate_limit.lock().try_acquire(actions, Instant::now())
    }
}

fn rate_limit_of(agent: &Agent) -> ActionRateLimit {
    ActionRateLimit::new(agent.limits().actions_per_minute, Instant::now())
}

/// Subtracts from a count, down to 0.
pub(super) fn subtract_saturating(count: &AtomicUsize, amount: usize) {
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
        Some(count.saturating_sub(amount))
    });
}

/// A slot together with its serving version.
#[derive(Debug, Clone)]
pub struct ServingSlot {
    /// The serving version.
    pub agent: Arc<Agent>,
    slot: Arc<AgentSlot>,
}

impl ServingSlot {
    fn from_slot(slot: &Arc<AgentSlot>) -> Option<Self> {
        Some(Self {
            agent: slot.agent()?,
            slot: Arc::clone(slot),
        })
    }
}

impl Deref for ServingSlot {
    type Target = AgentSlot;

    fn deref(&self) -> &AgentSlot {
        &self.slot
    }
}

/// All slots. Slots are only added, so the number of a slot does not change.
#[derive(Clone)]
pub(super) struct AgentSlots(Arc<ArcSwap<Vec<Arc<AgentSlot>>>>);

impl AgentSlots {
    pub(super) fn new(slots: Vec<Arc<AgentSlot>>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(slots)))
    }

    pub(super) fn load_all(&self) -> Arc<Vec<Arc<AgentSlot>>> {
        self.0.load_full()
    }

    pub(super) fn get_slot(&self, number: usize) -> Option<Arc<AgentSlot>> {
        self.0.load().get(number).cloned()
    }

    pub(super) fn find_by_name(&self, name: &Name) -> Option<Arc<AgentSlot>> {
        self.0
            .load()
            .iter()
            .find(|slot| slot.name == *name)
            .cloned()
    }

    /// Adds a slot. The caller makes sure that there is none with its name.
    pub(super) fn add_slot(&self, slot: &Arc<AgentSlot>) {
        self.0.rcu(|slots| {
            let mut slots = Vec::clone(slots);
            slots.push(Arc::clone(slot));
            slots
        });
    }

    pub(super) fn list_serving(&self) -> Vec<ServingSlot> {
        self.0
            .load()
            .iter()
            .filter_map(ServingSlot::from_slot)
            .collect()
    }

    pub(super) fn find_serving(&self, name: &Name) -> Option<ServingSlot> {
        self.find_by_name(name)
            .as_ref()
            .and_then(ServingSlot::from_slot)
    }

    /// Returns whether a serving version subscribes to a topic.
    pub(super) fn has_subscriber(&self, topic: &str) -> bool {
        self.0.load().iter().any(|slot| slot.subscribes_to(topic))
    }
}
