//! The queue of one agent: a copy of its pending deliveries, in the order of their acceptance.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::watchdog::ConcurrencyLimit;
use ark_model::ids::{Millis, Name, SignalId};
use ark_model::signal::Signal;
use ark_store::{ReadError, Store};

/// Signals that a queue holds in memory.
const CAPACITY: u32 = 1024;

/// The queue of an agent.
pub(super) struct AgentQueue {
    signals: VecDeque<Arc<Signal>>,
    pub(super) concurrency: ConcurrencyLimit,
    /// The store may contain pending deliveries that are not in `signals`.
    may_have_more: bool,
    /// The signals that the last read of the store returned. Their `Accepted` events may still arrive and are then ignored.
    loaded: HashSet<SignalId>,
    /// The signals whose invocation runs. Their deliveries are still pending in the store.
    pub(super) running: HashSet<SignalId>,
    /// When the agent may be handed signals again after a failed read or commit, or after a quota refused it.
    pub(super) retry_at: Option<Instant>,
    /// Whether the agent is in the line of those that have something to do.
    pub(super) in_line: bool,
}

impl AgentQueue {
    /// Makes the queue of an agent whose deliveries are still to be read from the store.
    pub(super) fn new() -> Self {
        Self {
            signals: VecDeque::new(),
            concurrency: ConcurrencyLimit::new(1),
            may_have_more: true,
            loaded: HashSet::new(),
            running: HashSet::new(),
            retry_at: None,
            in_line: false,
        }
    }

    /// Returns whether the agent has something to do and may do it now.
    pub(super) fn is_ready(&self) -> bool {
        let idle = self.signals.is_empty() && !self.may_have_more;
        !idle && self.concurrency.is_available() && self.retry_at.is_none()
    }

    /// Adds a signal that was accepted. Returns `false` when it is known already.
    pub(super) fn push_accepted(&mut self, signal: &Arc<Signal>) -> bool {
        if self.loaded.contains(&signal.id) {
            return false;
        }
        if self.may_have_more || self.signals.len() >= CAPACITY as usize {
            self.may_have_more = true;
        } else {
            self.signals.push_back(Arc::clone(signal));
        }
        true
    }

    /// Forgets that signals were read from the store, since they are going to be accepted once more.
    pub(super) fn forget_loaded(&mut self, signals: &[SignalId]) {
        for signal in signals {
            self.loaded.remove(signal);
        }
    }

    /// Puts a signal back as the next one.
    pub(super) fn push_front(&mut self, signal: Arc<Signal>) {
        self.signals.push_front(signal);
    }

    /// Removes the next signal, read from the store if none is in memory. Signals that have expired are skipped: the next poll expires their deliveries.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn pop_next(
        &mut self,
        agent: &Name,
        store: &Store,
    ) -> Result<Option<Arc<Signal>>, ReadError> {
        if self.signals.is_empty() && self.may_have_more {
            let pending = store.pending_deliveries(agent, None, CAPACITY)?;
            self.may_have_more = pending.len() == CAPACITY as usize;
            self.loaded = pending.iter().map(|signal| signal.id).collect();
            let running = &self.running;
            let fresh = pending
                .into_iter()
                .filter(|signal| !running.contains(&signal.id));
            self.signals.extend(fresh.map(Arc::new));
        }
        let now = Millis::now();
        while let Some(signal) = self.signals.pop_front() {
            if signal.expires_at.is_none_or(|expires| expires > now) {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    /// Removes all signals in memory. The store is not read for this agent until another signal is accepted.
    pub(super) fn drain_all(&mut self) -> impl Iterator<Item = Arc<Signal>> + '_ {
        self.may_have_more = false;
        self.signals.drain(..)
    }
}
