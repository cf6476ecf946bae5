//! How long a client may take to send the head of a request.
//!
//! hyper asks for a new sleep when it begins to wait for a head, and drops it when the head is there. If each had a timer of the runtime, one would
//! be set and taken away again for every request, under the lock of all timers. A connection has one timer in place of that: to put it off needs no
//! lock of the runtime, as a rule.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;
use tokio::time::Instant;

type Alarm = Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>;

/// The timer of a connection, for one sleep at a time.
pub(super) struct HeadTimer {
    alarm: Alarm,
}

/// A sleep that shares its connection's timer.
struct HeadSleep {
    alarm: Alarm,
    ends_at: Instant,
}

impl HeadTimer {
    /// Makes the timer of a connection whose sleeps take `time`, as a rule.
    pub(super) fn new(time: Duration) -> Self {
        Self {
            alarm: Arc::new(Mutex::new(Box::pin(tokio::time::sleep(time)))),
        }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadSleep {
            alarm: Arc::clone(&self.alarm),
            ends_at: deadline.into(),
        })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock();
        if alarm.deadline() != self.ends_at {
            alarm.as_mut().reset(self.ends_at);
        }
        alarm.as_mut().poll(context)
    }
}

impl Sleep for HeadSleep {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_sleep_ends_in_its_time_whatever_the_timer_was_set_for() {
        let timer = HeadTimer::new(Duration::from_millis(40));
        let begun = Instant::now();
        let millis = |count| Duration::from_millis(count);
        // One that is given up, as when a head comes in time.
        let first = timer.sleep(millis(40));
        assert!(tokio::time::timeout(millis(10), first).await.is_err());
        timer.sleep(millis(90)).await;
        assert!(begun.elapsed() >= millis(100), "{:?}", begun.elapsed());
        let begun = Instant::now();
        timer.sleep(millis(20)).await;
        assert!(begun.elapsed() >= millis(20), "{:?}", begun.elapsed());
        // An earlier one, after the timer was set for a later one.
        let later = timer.sleep(Duration::from_secs(600));
        assert!(tokio::time::timeout(millis(10), later).await.is_err());
        let begun = Instant::now();
        timer.sleep(millis(20)).await;
        assert!(begun.elapsed() >= millis(20), "{:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(300));
    }
}
