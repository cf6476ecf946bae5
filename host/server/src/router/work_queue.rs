//! The queue that hands work to the threads that run guests.
//!
//! Threads start work while fewer are busy than there are processors. What comes meanwhile is taken by the first that finishes its work, without a switch to
//! another thread. While work is short on average, one processor is left to the threads that judge and commit, until a thread has been busy with its work for
//! [`SHORT_TIME`]: a short guest takes a processor for as long as the commit that follows it. A thread that has been busy for [`PLACE_TIME`] no longer
//! counts, so that guests that compute, sleep or wait do not keep others from running: what comes after them waits at most that long for each, less with several places.
//!
//! Work goes to the thread that became idle last: its stack and the memory of its last instance are in the caches, and the others go on sleeping. A
//! thread without work sleeps at once. It does not yield first, as the receiver of a channel does: with many threads and few cores that costs more
//! than what they wait for.
//!
//! Must not know: what the work is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Work of less than this is short, by the clock from its start to its end. Agents whose guests take a processor for 60 µs handle 1.2 times the signals when one
/// processor is left to the commits; those with 120 µs as many as without, those with 300 µs fewer (docs/benchmarks.md).
const SHORT_TIME: Duration = Duration::from_micros(150);
/// How long a thread that is busy keeps others from starting work.
const PLACE_TIME: Duration = Duration::from_micros(500);
/// The average moves by this part of the distance to each new time.
const AVERAGE_PART: u32 = 32;

/// The queue. Threads take from it until it is closed and empty.
pub(super) struct WorkQueue<T> {
    state: Mutex<State<T>>,
    processors: usize,
}

struct State<T> {
    /// What waits for a thread.
    waiting: VecDeque<T>,
    /// The idle threads, the one that became idle last at the end.
    idle: Vec<Arc<Sleeper<T>>>,
    /// The numbers of the busy threads, and since when each has its work.
    busy: Vec<(usize, Instant)>,
    /// How long work took on average. What took longer counts as [`PLACE_TIME`].
    average: Duration,
    closed: bool,
}

/// An idle thread, and what it is woken for.
struct Sleeper<T> {
    number: usize,
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

    /// Sleeps until it is woken. To be called by the thread itself.
    fn sleep(&self) -> WakeCause<T> {
        loop {
            // It may return without a cause.
            std::thread::park();
            if let Some(cause) = self.cause.lock().take() {
                return cause;
            }
        }
    }
}

impl<T> State<T> {
    /// Gives a thread the work that waits longest, if there is some and the thread may become busy. What is left in a closed queue is for any thread.
    fn assign_work(&mut self, number: usize, processors: usize, now: Instant) -> Option<T> {
        if !self.closed && !self.has_place(processors, now) {
            return None;
        }
        let work = self.waiting.pop_front()?;
        self.busy.push((number, now));
        Some(work)
    }

    /// Notes that a thread is done with its work, if it had any.
    fn end_work(&mut self, number: usize, now: Instant) {
        let Some(index) = self.busy.iter().position(|(busy, _)| *busy == number) else {
            return;
        };
        let (_, since) = self.busy.swap_remove(index);
        let took = now.saturating_duration_since(since).min(PLACE_TIME);
        self.average =
            self.average.saturating_sub(self.average / AVERAGE_PART) + took / AVERAGE_PART;
    }

    /// Whether another thread may become busy.
    fn has_place(&self, processors: usize, now: Instant) -> bool {
        let mut counted = 0;
        let mut is_short = self.average < SHORT_TIME;
        for (_, since) in &self.busy {
            let busy_for = now.saturating_duration_since(*since);
            if busy_for < PLACE_TIME {
                counted += 1;
                is_short &= busy_for < SHORT_TIME;
            }
        }
        let places = processors.saturating_sub(usize::from(is_short));
        counted < places.max(1)
    }

    /// Returns the next moment at which there may be a place.
    fn next_place_at(&self, now: Instant) -> Option<Instant> {
        let ends = |since: Instant| [since + SHORT_TIME, since + PLACE_TIME];
        let ends = self.busy.iter().flat_map(|(_, since)| ends(*since));
        ends.filter(|at| *at > now).min()
    }
}

impl<T> WorkQueue<T> {
    /// A queue without work, for threads that run on so many processors. At least one is assumed.
    pub(super) const fn new(processors: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                idle: Vec::new(),
                busy: Vec::new(),
                average: Duration::ZERO,
                closed: false,
            }),
            processors,
        }
    }

    /// Hands work to the threads, see [`WorkQueue::wake_threads`].
    pub(super) fn submit(&self, work: T) {
        self.state.lock().waiting.push_back(work);
        self.wake_threads(Instant::now());
    }

    /// As [`WorkQueue::submit`], before everything that waits.
    pub(super) fn submit_first(&self, work: T) {
        self.state.lock().waiting.push_front(work);
        self.wake_threads(Instant::now());
    }

    /// Wakes idle threads for what waits, as far as they may become busy now. Returns when it is to be called again. `None`: not before more is submitted.
    pub(super) fn wake_threads(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut state = self.state.lock();
            if state.waiting.is_empty() {
                return None;
            }
            let Some(number) = state.idle.last().map(|sleeper| sleeper.number) else {
                // The next that becomes idle may find no place.
                return Some(now + PLACE_TIME);
            };
            let Some(work) = state.assign_work(number, self.processors, now) else {
                return state.next_place_at(now);
            };
            let sleeper = state.idle.pop();
            drop(state);
            if let Some(sleeper) = sleeper {
                sleeper.wake_thread(WakeCause::Work(work));
            }
        }
    }

    /// Waits for work, in the order in which it waits. The thread with this number is done with what it took before. `None`: the queue is closed,
    /// and its work is taken.
    pub(super) fn take(&self, number: usize) -> Option<T> {
        loop {
            let mut state = self.state.lock();
            let now = Instant::now();
            state.end_work(number, now);
            if let Some(work) = state.assign_work(number, self.processors, now) {
                return Some(work);
            }
            if state.closed {
                return None;
            }
            let sleeper = Arc::new(Sleeper {
                number,
                thread: std::thread::current(),
                cause: Mutex::new(None),
            });
            state.idle.push(Arc::clone(&sleeper));
            drop(state);
            if let WakeCause::Work(work) = sleeper.sleep() {
                return Some(work);
            }
        }
    }

    /// Takes back what waits and `choose` wants, in its order. The rest, which it returns as an error, goes on waiting.
    pub(super) fn take_back<U>(&self, choose: impl Fn(T) -> Result<U, T>) -> Vec<U> {
        let mut state = self.state.lock();
        let mut chosen = Vec::new();
        for work in std::mem::take(&mut state.waiting) {
            match choose(work) {
                Ok(work) => chosen.push(work),
                Err(work) => state.waiting.push_back(work),
            }
        }
        chosen
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// Closes the queue, also where the test fails.
    struct Closing<'a, T>(&'a WorkQueue<T>);

    impl<T> Drop for Closing<'_, T> {
        fn drop(&mut self) {
            self.0.close();
        }
    }

    /// Starts threads that do their work until the queue is closed, then runs `test`, and closes the queue.
    fn with_threads<T: Send>(
        queue: &WorkQueue<T>,
        threads: usize,
        work: impl Fn(usize, T) + Sync,
        test: impl FnOnce(),
    ) {
        std::thread::scope(|scope| {
            let work = &work;
            for number in 0..threads {
                scope.spawn(move || {
                    while let Some(taken) = queue.take(number) {
                        work(number, taken);
                    }
                });
            }
            let _closing = Closing(queue);
            test();
        });
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "it does not come"
            );
            std::thread::yield_now();
        }
    }

    #[test]
    fn each_work_is_taken_once_in_order_and_a_closed_queue_is_emptied_first() {
        const THREADS: usize = 8;
        const EACH: usize = 2_000;
        for processors in [1, 2, 3, 64] {
            let queue = WorkQueue::new(processors);
            let taken = Mutex::new(Vec::new());
            let note = |_, work| taken.lock().push(work);
            with_threads(&queue, THREADS, note, || {
                std::thread::scope(|scope| {
                    for sender in 0..THREADS {
                        let queue = &queue;
                        scope.spawn(move || {
                            for number in 0..EACH {
                                queue.submit(sender * EACH + number);
                            }
                        });
                    }
                });
            });
            let mut taken = taken.into_inner();
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..THREADS * EACH), "{processors}");
            assert_eq!(queue.take(0), None);
        }
        // What is submitted before the end is taken after it.
        let queue = WorkQueue::new(1);
        queue.submit(1);
        queue.submit(2);
        queue.close();
        assert_eq!(
            [queue.take(0), queue.take(1), queue.take(0)],
            [Some(1), Some(2), None]
        );
    }

    #[test]
    fn work_that_comes_one_after_the_other_keeps_one_thread_busy() {
        let queue = WorkQueue::new(4);
        let (done, seen) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
        let note = |number, ()| {
            seen.lock().insert(number);
            done.fetch_add(1, Ordering::AcqRel);
        };
        with_threads(&queue, 4, note, || {
            for number in 0..200 {
                wait_until(|| {
                    let idle = queue.state.lock().idle.len();
                    done.load(Ordering::Acquire) == number && idle == 4
                });
                queue.submit(());
            }
        });
        assert_eq!(done.into_inner(), 200);
        assert_eq!(seen.into_inner().len(), 1);
    }

    #[test]
    fn no_more_threads_are_busy_than_there_are_places_until_work_takes_long() {
        const THREADS: usize = 8;
        for (processors, short, long) in [(0, 1, 1), (1, 1, 1), (2, 1, 2), (3, 2, 3), (64, 8, 8)] {
            let queue = WorkQueue::new(processors);
            let (started, may_end) = (AtomicUsize::new(0), AtomicBool::new(false));
            let started_now = || started.load(Ordering::Acquire);
            let work = |_, ()| {
                started.fetch_add(1, Ordering::AcqRel);
                wait_until(|| may_end.load(Ordering::Acquire));
            };
            with_threads(&queue, THREADS, work, || {
                wait_until(|| queue.state.lock().idle.len() == THREADS);
                // The moments are given, so it does not matter how long the test takes.
                let at = Instant::now();
                queue.state.lock().waiting.extend([(); 2 * THREADS]);
                let wake_and_count = |after: Duration, expected: usize| {
                    let again = queue.wake_threads(at + after);
                    wait_until(|| started_now() == expected);
                    assert_eq!(
                        queue.state.lock().waiting.len(),
                        2 * THREADS - expected,
                        "{processors} {after:?}"
                    );
                    again.map(|again| again - at)
                };
                let again = wake_and_count(Duration::ZERO, short);
                if short == THREADS {
                    assert_eq!(again, Some(PLACE_TIME), "no thread is idle");
                } else {
                    assert_eq!(again, Some(SHORT_TIME));
                    let just_before = SHORT_TIME.saturating_sub(Duration::from_nanos(1));
                    assert_eq!(wake_and_count(just_before, short), Some(SHORT_TIME));
                    // The processor that was left to the commits is no longer.
                    let next = if long > short {
                        2 * SHORT_TIME
                    } else {
                        PLACE_TIME
                    };
                    assert_eq!(wake_and_count(SHORT_TIME, long), Some(next));
                    // The first no longer count.
                    wake_and_count(PLACE_TIME, long + short);
                }
                // So it goes on until all threads are busy.
                let mut after = PLACE_TIME;
                while started_now() < THREADS {
                    let before = started_now();
                    after += PLACE_TIME;
                    let again = queue.wake_threads(at + after);
                    assert!(again > Some(at + after), "{processors}");
                    wait_until(|| started_now() > before);
                }
                may_end.store(true, Ordering::Release);
            });
            assert_eq!(started.into_inner(), 2 * THREADS, "{processors}");
        }
    }

    #[test]
    fn one_processor_is_left_to_the_commits_while_work_is_short_on_average() {
        let micros = Duration::from_micros;
        // The processors; how long the last hundred took, and a thousand before them; the threads that may be busy.
        for (processors, before, last, places) in [
            (1, 60, 60, 1),
            (1, 300, 300, 1),
            (2, 0, 60, 1),
            (2, 60, 60, 1),
            (2, 140, 140, 1),
            (2, 160, 160, 2),
            (2, 60, 500, 2),
            (2, 300, 300, 2),
            (2, 500, 60, 1),
            (8, 60, 60, 7),
            (8, 300, 300, 8),
            // What slept for an hour is soon forgotten.
            (8, 3_600_000_000, 60, 7),
        ] {
            let queue = WorkQueue::<()>::new(processors);
            let mut state = queue.state.lock();
            let at = Instant::now();
            for took in std::iter::repeat_n(before, 1_000).chain([last; 100]) {
                state.busy.push((7, at));
                state.end_work(7, at + micros(took));
            }
            while state.has_place(processors, at) {
                state.busy.push((0, at));
            }
            assert_eq!(state.busy.len(), places, "{processors} {before} {last}");
        }
    }

    #[test]
    fn work_that_waits_beside_an_idle_thread_is_woken_for_later() {
        let queue = WorkQueue::new(1);
        // Later than the test takes: a thread that asks for work finds the other one just busy.
        let at = Instant::now() + Duration::from_hours(1);
        assert_eq!(queue.wake_threads(at), None, "nothing waits");
        queue.state.lock().busy = vec![(0, at), (1, at)];
        queue.state.lock().waiting = VecDeque::from([1, 2]);
        assert_eq!(queue.wake_threads(at), Some(at + PLACE_TIME));
        std::thread::scope(|scope| {
            let _closing = Closing(&queue);
            let taken = scope.spawn(|| queue.take(0));
            wait_until(|| taken.is_finished() || !queue.state.lock().idle.is_empty());
            assert!(!taken.is_finished(), "number 1 has the only place");
            assert_eq!(queue.wake_threads(at), Some(at + SHORT_TIME));
            assert_eq!(
                queue.wake_threads(at + PLACE_TIME),
                Some(at + 2 * PLACE_TIME),
                "one waits, and no thread is idle"
            );
            assert_eq!(taken.join().unwrap(), Some(1));
        });
    }

    #[test]
    fn what_is_submitted_first_is_taken_first_and_what_waits_can_be_taken_back() {
        let queue = WorkQueue::new(1);
        for work in 1..=6 {
            queue.submit(work);
        }
        queue.submit_first(0);
        let odd = queue.take_back(|work| if work % 2 == 1 { Ok(work) } else { Err(work) });
        assert_eq!(odd, [1, 3, 5]);
        queue.close();
        let left: Vec<i32> = std::iter::from_fn(|| queue.take(0)).collect();
        assert_eq!(left, [0, 2, 4, 6]);
    }

    #[test]
    fn a_thread_that_ends_takes_what_waits_and_no_other_is_woken() {
        let queue = WorkQueue::new(2);
        let (seen, done) = (Mutex::new(HashSet::new()), AtomicUsize::new(0));
        let note = |number, ()| {
            seen.lock().insert(number);
            done.fetch_add(1, Ordering::AcqRel);
        };
        with_threads(&queue, 4, note, || {
            wait_until(|| queue.state.lock().idle.len() == 4);
            queue.state.lock().waiting.extend([(); 100]);
            queue.wake_threads(Instant::now());
            wait_until(|| done.load(Ordering::Acquire) == 100);
        });
        assert_eq!(seen.into_inner().len(), 1);
    }
}
