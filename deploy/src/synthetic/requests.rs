//! The requests of the ticks, on a thread of their own: the run goes on, or ends, while the host does not answer one.
//!
//! Must not know: what is asked.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::channel::SignalChannel;

/// The longest time until a request to stop the run is noticed.
const STOP_TICK: Duration = Duration::from_millis(50);
/// How long the tick that is under way may go on when the run is to stop: a host that answers at all brings it to its end.
const STOP_GRACE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut dyn SignalChannel) + Send>;

/// Why a request is not waited for any more. It may still be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abandoned {
    /// The run is to stop.
    Stopped,
    /// The time of the run is over.
    TimeOver,
    /// The thread has ended, by a fault of this program.
    Broken,
}

impl fmt::Display for Abandoned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Stopped => "the run was stopped before the host had answered",
            Self::TimeOver => "the time of the run was over before the host had answered",
            Self::Broken => "the request ended by a fault of this program",
        })
    }
}

/// What came of a request.
pub(super) struct TimedAnswer<T> {
    /// The answer.
    pub(super) answer: Result<T, Abandoned>,
    /// How long it took, or was waited for.
    pub(super) took: Duration,
}

/// Makes requests, one at a time, until the run is to stop or its time is over.
pub(super) struct RequestThread<'a> {
    jobs: Sender<Job>,
    stop: &'a AtomicBool,
    until: Instant,
    /// When the run was first seen to be stopped.
    stopped_at: Cell<Option<Instant>>,
}

impl<'a> RequestThread<'a> {
    /// Starts the thread, which keeps the channel of the signals. `until`: when the time of the run is over, also for a request that is under way.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start_thread(
        mut signals: Box<dyn SignalChannel + Send>,
        stop: &'a AtomicBool,
        until: Instant,
    ) -> std::io::Result<Self> {
        let (jobs, taken) = channel::<Job>();
        // It ends when nobody sends jobs any more, or with the process.
        std::thread::Builder::new()
            .name("synthetic".to_owned())
            .spawn(move || {
                for job in taken {
                    job(&mut *signals);
                }
            })?;
        Ok(Self {
            jobs,
            stop,
            until,
            stopped_at: Cell::new(None),
        })
    }

    /// Waits for a moment at which a tick is due.
    ///
    /// # Errors
    /// The run is to stop, or its time is over: nothing more is to be sent.
    pub(super) fn wait_until(&self, due: Instant) -> Result<(), Abandoned> {
        loop {
            let now = Instant::now();
            if self.stop.load(Ordering::Relaxed) {
                return Err(Abandoned::Stopped);
            }
            if now >= self.until {
                return Err(Abandoned::TimeOver);
            }
            let left = due.saturating_duration_since(now);
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(STOP_TICK));
        }
    }

    /// Makes a request and waits for its answer. One that is abandoned goes on, and no further one may be made.
    pub(super) fn run_request<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut dyn SignalChannel) -> T + Send + 'static,
    ) -> TimedAnswer<T> {
        let (sender, answered) = channel();
        let job: Job = Box::new(move |signals: &mut dyn SignalChannel| {
            let began = Instant::now();
            let answer = request(signals);
            // Nobody waits for an answer that was abandoned.
            let _ = sender.send((answer, began.elapsed()));
        });
        let began = Instant::now();
        let abandon = |why| TimedAnswer {
            answer: Err(why),
            took: began.elapsed(),
        };
        if self.jobs.send(job).is_err() {
            return abandon(Abandoned::Broken);
        }
        loop {
            match answered.recv_timeout(STOP_TICK) {
                Ok((answer, took)) => {
                    return TimedAnswer {
                        answer: Ok(answer),
                        took,
                    };
                }
                Err(RecvTimeoutError::Disconnected) => return abandon(Abandoned::Broken),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(why) = self.find_end(Instant::now()) {
                return abandon(why);
            }
        }
    }

    /// Why a request that is under way is not waited for any more; `None`: it is.
    fn find_end(&self, now: Instant) -> Option<Abandoned> {
        if self.stop.load(Ordering::Relaxed) {
            let since = self.stopped_at.get().unwrap_or(now);
            self.stopped_at.set(Some(since));
            if now.saturating_duration_since(since) >= STOP_GRACE {
                return Some(Abandoned::Stopped);
            }
        }
        (now >= self.until).then_some(Abandoned::TimeOver)
    }
}

#[cfg(test)]
mod tests {
    use crate::synthetic::{SentSignal, TickSignal};

    use super::*;

    /// A way that takes no signals.
    struct NoSignals;

    impl SignalChannel for NoSignals {
        fn describe(&self) -> String {
            "nothing".to_owned()
        }

        fn check(&mut self) -> Result<(), String> {
            Ok(())
        }

        fn send(&mut self, _: &TickSignal<'_>) -> Result<SentSignal, String> {
            Err("nothing is taken".to_owned())
        }
    }

    fn start(stop: &AtomicBool, until: Instant) -> RequestThread<'_> {
        RequestThread::start_thread(Box::new(NoSignals), stop, until).unwrap()
    }

    #[test]
    fn a_request_without_an_answer_is_abandoned_at_the_end_of_the_run_and_when_it_is_stopped() {
        let stop = AtomicBool::new(false);
        let later = Instant::now() + Duration::from_hours(1);
        let requests = start(&stop, later);
        let sent = requests.run_request(|signals| {
            signals.send(&TickSignal {
                topic: "t",
                tick: 0,
                kind: "valid",
            })
        });
        assert_eq!(sent.answer, Ok(Err("nothing is taken".to_owned())));
        assert_eq!(requests.wait_until(Instant::now()), Ok(()));
        // It has no answer until this is dropped.
        let (never, waits) = channel::<()>();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(requests.wait_until(later), Err(Abandoned::Stopped));
        let stopped = requests.run_request(move |_| waits.recv().is_ok());
        assert_eq!(stopped.answer, Err(Abandoned::Stopped));
        assert!(stopped.took >= STOP_GRACE);
        drop(never);
        let goes_on = AtomicBool::new(false);
        let over = start(&goes_on, Instant::now());
        let (never, waits) = channel::<()>();
        let late = over.run_request(move |_| waits.recv().is_ok());
        assert_eq!(late.answer, Err(Abandoned::TimeOver));
        assert_eq!(over.wait_until(later), Err(Abandoned::TimeOver));
        drop(never);
        let broken = start(&goes_on, later).run_request::<()>(|_| panic!("a fault"));
        assert_eq!(broken.answer, Err(Abandoned::Broken));
    }
}
