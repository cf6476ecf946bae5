//! The queue that hands work to the threads that run guests.
//!
//! Work goes to the thread that became idle last: its stack and the memory of its last instance are in the caches, and the others go on sleeping. A
//! thread without work sleeps at once. It does not yield first, as the receiver of a channel does: with many threads and few cores that costs more
//! than what they wait for.
//!
//! Must not know: what the work is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Thread;

use parking_lot::Mutex;

/// The queue. Threads take from it until it is closed and empty.
pub(super) struct WorkQueue<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// What waits, while no thread is idle.
    waiting: VecDeque<T>,
    /// The idle threads, the one that became idle last at the end.
    idle: Vec<Arc<Sleeper<T>>>,
    closed: bool,
}

/// An idle thread, and what it is woken for.
struct Sleeper<T> {
    thread: Thread,
    cause: Mutex<Option<WakeCause<T>>>,
}

enum WakeCause<T> {
    Work(T),
    Closed,
}

impl<T> Sleeper<T> {
    fn wake_thread(&self, cause: WakeCause<T>) {
        *self.cause.lock() = Some(cause);
        self.thread.unpark();
    }
}

impl<T> WorkQueue<T> {
    /// A queue without work.
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                idle: Vec::new(),
                closed: false,
            }),
        }
    }

    /// Hands work to an idle thread; without one it waits for the next that takes some.
    pub(super) fn submit(&self, work: T) {
        let mut state = self.state.lock();
        let Some(sleeper) = state.idle.pop() else {
            state.waiting.push_back(work);
            return;
        };
        drop(state);
        sleeper.wake_thread(WakeCause::Work(work));
    }

    /// Waits for work, in the order in which it was submitted. `None`: the queue is closed, and its work is taken.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.state.lock();
        if let Some(work) = state.waiting.pop_front() {
            return Some(work);
        }
        if state.closed {
            return None;
        }
        let sleeper = Arc::new(Sleeper {
            thread: std::thread::current(),
            cause: Mutex::new(None),
        });
        state.idle.push(Arc::clone(&sleeper));
        drop(state);
        loop {
            // It may return without a cause.
            std::thread::park();
            match sleeper.cause.lock().take() {
                Some(WakeCause::Work(work)) => return Some(work),
                Some(WakeCause::Closed) => return None,
                None => {}
            }
        }
    }

    /// Closes the queue: threads end when all that was submitted is taken.
    pub(super) fn close(&self) {
        let idle = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        for sleeper in idle {
            sleeper.wake_thread(WakeCause::Closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_work_is_taken_once_in_order_and_a_closed_queue_is_emptied_first() {
        const THREADS: usize = 8;
        const EACH: usize = 2_000;
        let queue = WorkQueue::new();
        let taken = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let takers: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        while let Some(work) = queue.take() {
                            taken.lock().push(work);
                        }
                    })
                })
                .collect();
            let senders: Vec<_> = (0..THREADS)
                .map(|sender| {
                    let queue = &queue;
                    scope.spawn(move || {
                        for number in 0..EACH {
                            queue.submit(sender * EACH + number);
                        }
                    })
                })
                .collect();
            for sender in senders {
                sender.join().unwrap();
            }
            queue.close();
            for taker in takers {
                taker.join().unwrap();
            }
        });
        let mut taken = taken.into_inner();
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..THREADS * EACH));
        assert_eq!(queue.take(), None);
        // What is submitted before the end is taken after it.
        let queue = WorkQueue::new();
        queue.submit(1);
        queue.submit(2);
        queue.close();
        assert_eq!(
            [queue.take(), queue.take(), queue.take()],
            [Some(1), Some(2), None]
        );
    }

    #[test]
    fn work_that_comes_one_after_the_other_keeps_one_thread_busy() {
        let queue = WorkQueue::new();
        let (done, seen) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
        let idle_threads = || queue.state.lock().idle.len();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while queue.take().is_some() {
                        seen.lock().insert(std::thread::current().id());
                        done.fetch_add(1, Ordering::AcqRel);
                    }
                });
            }
            for number in 0..200 {
                while done.load(Ordering::Acquire) < number || idle_threads() < 4 {
                    std::thread::yield_now();
                }
                queue.submit(());
            }
            queue.close();
        });
        assert_eq!(done.into_inner(), 200);
        assert_eq!(seen.into_inner().len(), 1);
    }
}
