//! The queue of one agent: its pending deliveries, in the order of their acceptance. The first ones are in memory, of the others the ids.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::watchdog::ConcurrencyLimit;
use ark_model::ids::{Millis, Name, SignalId};
use ark_model::signal::Signal;
use ark_store::{ReadError, Store};

/// Signals that a queue holds in memory.
const CAPACITY: usize = 1024;

/// The queue of an agent.
pub(super) struct AgentQueue {
    signals: VecDeque<Arc<Signal>>,
    /// What comes behind `signals`. The store has it.
    unread: VecDeque<SignalId>,
    pub(super) concurrency: ConcurrencyLimit,
    /// The store has not been asked yet what is pending.
    is_new: bool,
    /// The signals that were pending when the store was asked. Their `Accepted` events may still arrive and are then ignored.
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
            unread: VecDeque::new(),
            concurrency: ConcurrencyLimit::new(1),
            is_new: true,
            loaded: HashSet::new(),
            running: HashSet::new(),
            retry_at: None,
            in_line: false,
        }
    }

    /// Returns whether the agent has something to do and may do it now.
    pub(super) fn is_ready(&self) -> bool {
        let idle = self.signals.is_empty() && self.unread.is_empty() && !self.is_new;
        !idle && self.concurrency.is_available() && self.retry_at.is_none()
    }

    /// Adds a signal that was accepted. Returns `false` when it is known already.
    pub(super) fn push_accepted(&mut self, signal: &Arc<Signal>) -> bool {
        if self.loaded.contains(&signal.id) {
            return false;
        }
        if self.is_new {
            // The store has it, too.
        } else if self.unread.is_empty() && self.signals.len() < CAPACITY {
            self.signals.push_back(Arc::clone(signal));
        } else {
            self.unread.push_back(signal.id);
        }
        true
    }

    /// Takes what is pending in the store.
    pub(super) fn set_pending(&mut self, pending: Vec<SignalId>) {
        self.is_new = false;
        self.loaded = pending.iter().copied().collect();
        self.unread = pending.into();
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
        self.ask_store(agent, store)?;
        if self.signals.is_empty() && !self.unread.is_empty() {
            let next = self.unread.len().min(CAPACITY);
            let read = store.pending_signals(agent, self.unread.range(..next).copied())?;
            self.unread.drain(..next);
            self.signals.extend(read.into_iter().map(Arc::new));
        }
        let now = Millis::now();
        while let Some(signal) = self.signals.pop_front() {
            if signal.expires_at.is_none_or(|expires| expires > now) {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    /// Removes everything and returns it.
    ///
    /// # Errors
    /// The store cannot be read. Nothing is removed then.
    pub(super) fn drain_all(
        &mut self,
        agent: &Name,
        store: &Store,
    ) -> Result<Vec<Arc<Signal>>, ReadError> {
        self.ask_store(agent, store)?;
        let read = store.pending_signals(agent, self.unread.iter().copied())?;
        self.unread.clear();
        let read = read.into_iter().map(Arc::new);
        Ok(self.signals.drain(..).chain(read).collect())
    }

    /// Asks the store what is pending, if it has not been asked.
    fn ask_store(&mut self, agent: &Name, store: &Store) -> Result<(), ReadError> {
        if self.is_new {
            let pending = store.pending_deliveries_of(agent)?;
            self.set_pending(pending);
            self.unread.retain(|signal| !self.running.contains(signal));
        }
        Ok(())
    }
}
