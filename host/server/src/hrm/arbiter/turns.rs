//! Who uses the arbiter: its thread, or a caller who finds it idle.
//!
//! The thread serves what waits in the queues, all of it in one turn. Handing a single request to it costs more than to serve that request: a
//! sleeping thread must wake. So a caller serves its own request when nothing waits, neither here nor in the store. What may take long is left to
//! the thread: callers are threads that serve other connections and agents too.
//!
//! Invariants:
//! * Requests are served one after the other, each with the effects of those before it, whoever serves them.
//! * A request that is queued is served before any that comes after it: the thread begins its turn before it takes anything out of a queue.
//!
//! Must not know: what the requests are about.

use std::sync::{Mutex, TryLockError};

use crossbeam_channel::{Receiver, Select, TryRecvError};

use crate::hrm::error::HrmError;
use crate::hrm::request::HrmRequest;

use super::state::Arbiter;

/// The arbiter, for one user at a time. It is gone after [`HrmRequest::Stop`].
pub(in crate::hrm) struct ArbiterTurns {
    /// Poisoned by a panic: the ledger may then be half changed, so nothing is judged with it any more.
    arbiter: Mutex<Option<Arbiter>>,
}

impl ArbiterTurns {
    /// Shares an arbiter between its thread and callers.
    pub(in crate::hrm) const fn new(arbiter: Arbiter) -> Self {
        Self {
            arbiter: Mutex::new(Some(arbiter)),
        }
    }

    /// Serves a request on the caller's thread if the arbiter is idle and that takes no longer than to hand it over. Returns a request that
    /// was not served. Nothing may wait in a queue: the caller looks there before.
    pub(in crate::hrm) fn serve_if_idle(&self, request: HrmRequest) -> Option<HrmRequest> {
        let mut turn = match self.arbiter.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return Some(request),
        };
        match turn.as_mut() {
            Some(arbiter) if arbiter.is_quick_to_serve(&request) => {
                arbiter.serve_request(request);
                None
            }
            _ => Some(request),
        }
    }

    /// Serves the requests of both queues, urgent ones first, until it is told to stop or nobody can send any more. For the arbiter's thread.
    pub(in crate::hrm) fn serve_queues(
        &self,
        urgent: &Receiver<HrmRequest>,
        inbox: &Receiver<HrmRequest>,
    ) {
        let mut waiting = Select::new();
        waiting.recv(urgent);
        waiting.recv(inbox);
        let mut is_over = false;
        while !is_over {
            waiting.ready();
            let Ok(mut turn) = self.arbiter.lock() else {
                break;
            };
            let Some(arbiter) = turn.as_mut() else {
                break;
            };
            is_over = arbiter.serve_waiting(urgent, inbox);
            if is_over {
                *turn = None;
            }
        }
        for request in urgent.try_iter().chain(inbox.try_iter()) {
            request.reject_with(HrmError::Closed);
        }
    }
}

impl Arbiter {
    /// Serves all that waits. Returns whether it is over: it was told to stop, or nobody can send any more.
    fn serve_waiting(
        &mut self,
        urgent: &Receiver<HrmRequest>,
        inbox: &Receiver<HrmRequest>,
    ) -> bool {
        loop {
            match urgent.try_recv().or_else(|_| inbox.try_recv()) {
                Ok(HrmRequest::Stop) | Err(TryRecvError::Disconnected) => {
                    self.record_orders_again();
                    return true;
                }
                Ok(request) => self.serve_or_reject(request),
                Err(TryRecvError::Empty) => return false,
            }
        }
    }
}
