//! Whose turn it is to use the arbiter: its thread's, or that of a caller who finds it idle.
//!
//! The thread serves what waits in the queues, all of it in one turn. To hand a single request to it costs more than to serve that request, since a
//! sleeping thread must wake. So a caller serves its own request when nothing waits and the request is quick to serve. The rest is left to the
//! thread: callers are threads that serve other connections and agents too.
//!
//! Invariants:
//! * Requests are served one after the other, each with the effects of those before it, whoever serves them.
//! * A caller serves nothing while a request waits: the thread begins its turn before it takes anything out of a queue, and a caller looks at the
//!   queues within its turn.
//! * A thread whose priority was lowered serves nothing: it may hold the turn for long while others wait for it. Its requests are queued.
//!
//! A reply may be called during a turn. It must not wait for another request to be served.
//!
//! Must not know: what the requests are about.

use std::ops::ControlFlow;
use std::sync::{Mutex, TryLockError};

use crossbeam_channel::{Receiver, Select, TryRecvError};

/// Something that serves requests, for one user at a time. It is gone once its thread has ended.
pub(in crate::hrm) struct Turns<T> {
    /// Poisoned by a panic: what serves may be half changed then, so nothing is served with it any more.
    server: Mutex<Option<T>>,
}

impl<T> Turns<T> {
    /// Shares what serves between its thread and callers.
    pub(in crate::hrm) const fn new(server: T) -> Self {
        Self {
            server: Mutex::new(Some(server)),
        }
    }

    /// Serves a request on the caller's thread if nothing waits, nobody else has the turn and the request is quick to serve. Returns a request
    /// that was not served.
    pub(in crate::hrm) fn serve_if_idle<R>(
        &self,
        request: R,
        nothing_waits: impl Fn() -> bool,
        is_quick: impl FnOnce(&T, &R) -> bool,
        serve: impl FnOnce(&mut T, R),
    ) -> Option<R> {
        // Under load something waits nearly always: then nobody contends for the turn.
        if !nothing_waits() {
            return Some(request);
        }
        let mut turn = match self.server.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return Some(request),
        };
        match turn.as_mut() {
            // What was queued meanwhile comes first.
            Some(server) if nothing_waits() && is_quick(server, &request) => {
                serve(server, request);
                None
            }
            _ => Some(request),
        }
    }

    /// Serves what waits in both queues, urgent requests first, until `serve` says that it is over or nobody can send any more; `end` is called
    /// last. For the thread that the queues lead to. What is left in them is for the caller.
    pub(in crate::hrm) fn serve_queues<R>(
        &self,
        (urgent, inbox): (&Receiver<R>, &Receiver<R>),
        mut serve: impl FnMut(&mut T, R) -> ControlFlow<()>,
        end: impl FnOnce(&mut T),
    ) {
        let mut waiting = Select::new();
        waiting.recv(urgent);
        waiting.recv(inbox);
        loop {
            waiting.ready();
            let Ok(mut turn) = self.server.lock() else {
                tracing::error!(
                    "serving a request ended in a panic: nothing is judged any more; restart the host"
                );
                return;
            };
            let Some(server) = turn.as_mut() else {
                return;
            };
            let over = loop {
                match urgent.try_recv().or_else(|_| inbox.try_recv()) {
                    Ok(request) => {
                        if serve(server, request).is_break() {
                            break true;
                        }
                    }
                    Err(TryRecvError::Disconnected) => break true,
                    Err(TryRecvError::Empty) => break false,
                }
            };
            if over {
                end(server);
                *turn = None;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
