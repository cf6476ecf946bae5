//! An agent's place in the router: the version that serves, its counts, and what it has left of its allowance.
//!
//! A seat is its name's for as long as the host runs, so that a number stands for it everywhere. Its agent can be replaced, or taken away,
//! at any moment and without a lock: who runs an invocation holds on to the version that it began with.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::watchdog::ActionRateLimit;
use ark_model::ids::Name;
use ark_model::signal::Signal;
use ark_runtime::Agent;

use super::canary::Canary;

/// An agent's place.
#[derive(Debug)]
pub struct AgentSlot {
    /// Whose.
    pub name: Name,
    agent: ArcSwapOption<Agent>,
    canary: ArcSwapOption<Canary>,
    /// What still comes for it is settled as failed.
    deleted: AtomicBool,
    /// Invocations that were committed.
    pub handled: AtomicU64,
    /// Invocations that failed.
    pub failed: AtomicU64,
    waiting_deliveries: AtomicUsize,
    /// Its last invocation failed: until one succeeds it gets only a part of the workers.
    pub(super) failing: AtomicBool,
    allowance: Mutex<ActionRateLimit>,
}

impl AgentSlot {
    pub(super) fn new(agent: Arc<Agent>, waiting: usize) -> Self {
        let allowance = ActionRateLimit::new(agent.limits().actions_per_minute, Instant::now());
        Self {
            name: agent.manifest().name.clone(),
            agent: ArcSwapOption::new(Some(agent)),
            canary: ArcSwapOption::empty(),
            deleted: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            waiting_deliveries: AtomicUsize::new(waiting),
            failing: AtomicBool::new(false),
            allowance: Mutex::new(allowance),
        }
    }

    /// The version that serves now; `None`: none does.
    #[must_use]
    pub fn agent(&self) -> Option<Arc<Agent>> {
        self.agent.load_full()
    }

    /// The version on trial.
    #[must_use]
    pub fn canary(&self) -> Option<Arc<Canary>> {
        self.canary.load_full()
    }

    /// The version on trial, if this signal is one of its share.
    pub(super) fn canary_for(&self, signal: &Signal) -> Option<Arc<Canary>> {
        self.canary().filter(|canary| canary.handles_signal(signal))
    }

    /// Begins a trial, or ends it; the version that was on trial.
    pub(super) fn set_canary(&self, canary: Option<Arc<Canary>>) -> Option<Arc<Canary>> {
        self.canary.swap(canary)
    }

    /// Ends this very trial; `false`: it has ended already.
    pub(super) fn end_canary(&self, canary: &Arc<Canary>) -> bool {
        let was = self.canary.compare_and_swap(canary, None);
        was.as_ref().is_some_and(|was| Arc::ptr_eq(was, canary))
    }

    /// Whether this very version serves now.
    pub(super) fn is_serving(&self, agent: &Arc<Agent>) -> bool {
        self.agent
            .load()
            .as_ref()
            .is_some_and(|serving| Arc::ptr_eq(serving, agent))
    }

    pub(super) fn subscribes_to(&self, topic: &str) -> bool {
        let agent = self.agent.load();
        agent
            .as_ref()
            .is_some_and(|agent| agent.manifest().subscribes_to(topic))
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.agent.load().is_none()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Lets a version serve; the one that served.
    pub(super) fn install_version(&self, agent: Arc<Agent>) -> Option<Arc<Agent>> {
        let limit = agent.limits().actions_per_minute;
        let served = self.agent.swap(Some(agent));
        // What the version before has proposed in this minute counts, unless the limit is another.
        if served
            .as_ref()
            .is_none_or(|served| served.limits().actions_per_minute != limit)
        {
            *self
                .allowance
                .lock()
                .unwrap_or_else(PoisonError::into_inner) =
                ActionRateLimit::new(limit, Instant::now());
        }
        self.failing.store(false, Ordering::Relaxed);
        self.deleted.store(false, Ordering::Release);
        served
    }

    /// Lets no version serve; the one that served.
    pub(super) fn remove_version(&self) -> Option<Arc<Agent>> {
        self.agent.swap(None)
    }

    /// Says that what still comes for it is to be settled as failed, and that so many deliveries were.
    pub(super) fn mark_deleted(&self, settled: usize) {
        self.deleted.store(true, Ordering::Release);
        let _ =
            self.waiting_deliveries
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                    Some(waiting.saturating_sub(settled))
                });
    }

    /// Deliveries to it that are not settled, one that runs included.
    #[must_use]
    pub fn waiting_deliveries(&self) -> usize {
        self.waiting_deliveries.load(Ordering::Relaxed)
    }

    /// Takes a place in its queue, unless `most` are taken.
    pub(super) fn reserve_place(&self, most: usize) -> bool {
        self.waiting_deliveries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < most).then_some(waiting + 1)
            })
            .is_ok()
    }

    /// Gives a place back.
    pub(super) fn release_place(&self) {
        let _ =
            self.waiting_deliveries
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                    waiting.checked_sub(1)
                });
    }

    /// Counts actions against the minute's; `false`: they are too many, none is counted.
    pub(super) fn take_allowance(&self, actions: u32) -> bool {
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_acquire(actions, Instant::now())
    }
}

/// A seat with the version that serves.
#[derive(Debug, Clone)]
pub struct ServingSlot {
    /// The version.
    pub agent: Arc<Agent>,
    slot: Arc<AgentSlot>,
}

impl Deref for ServingSlot {
    type Target = AgentSlot;

    fn deref(&self) -> &AgentSlot {
        &self.slot
    }
}

/// All seats. They are only ever added to: a seat's number stays.
#[derive(Clone)]
pub(super) struct AgentSlots(Arc<ArcSwap<Vec<Arc<AgentSlot>>>>);

impl AgentSlots {
    pub(super) fn new(seats: Vec<Arc<AgentSlot>>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(seats)))
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
            .find(|seat| seat.name == *name)
            .cloned()
    }

    /// Adds a seat. One caller at a time.
    pub(super) fn add_slot(&self, seat: &Arc<AgentSlot>) {
        self.0.rcu(|seats| {
            let mut seats = Vec::clone(seats);
            seats.push(Arc::clone(seat));
            seats
        });
    }

    pub(super) fn list_serving(&self) -> Vec<ServingSlot> {
        self.0.load().iter().filter_map(serving_slot).collect()
    }

    pub(super) fn find_serving(&self, name: &Name) -> Option<ServingSlot> {
        self.find_by_name(name).as_ref().and_then(serving_slot)
    }

    /// Whether a version that serves receives signals of this topic.
    pub(super) fn has_subscriber(&self, topic: &str) -> bool {
        self.0.load().iter().any(|seat| seat.subscribes_to(topic))
    }
}

fn serving_slot(seat: &Arc<AgentSlot>) -> Option<ServingSlot> {
    seat.agent().map(|agent| ServingSlot {
        agent,
        slot: Arc::clone(seat),
    })
}
