//! Limits of an agent over all its invocations together: how many run at a time, how many actions it proposes in a minute.

use std::time::Instant;

use ark_model::MinuteWindow;

/// A number of invocations that may run at the same time.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    limit: u32,
    in_use: u32,
}

impl ConcurrencyLimit {
    /// Returns a limit of which nothing is in use.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self { limit, in_use: 0 }
    }

    /// Sets the limit. What is in use stays in use, even above it.
    pub const fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Takes one, if the limit is not reached. Returns whether it did.
    pub fn try_acquire(&mut self) -> bool {
        let is_available = self.is_available();
        self.in_use += u32::from(is_available);
        is_available
    }

    /// Returns one permit.
    pub fn release(&mut self) {
        self.in_use = self.in_use.saturating_sub(1);
    }

    /// Returns whether [`ConcurrencyLimit::try_acquire`] would succeed.
    #[must_use]
    pub const fn is_available(&self) -> bool {
        self.in_use < self.limit
    }
}

/// A number of actions a minute, counted by the second: there are never more within any 60 seconds.
#[derive(Debug)]
pub struct ActionRateLimit {
    per_minute: u32,
    counted: MinuteWindow,
}

impl ActionRateLimit {
    /// Returns a limit under which nothing is counted yet.
    #[must_use]
    pub const fn new(per_minute: u32, now: Instant) -> Self {
        Self {
            per_minute,
            counted: MinuteWindow::new(now),
        }
    }

    /// Counts `actions`, unless they would pass the limit: then none of them is counted. Returns whether they were.
    pub fn try_acquire(&mut self, actions: u32, now: Instant) -> bool {
        let sum = self.counted.sum(now).saturating_add(actions.into());
        if sum > self.per_minute.into() {
            return false;
        }
        self.counted.add(actions.into(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_minute_sees_more_than_the_limit() {
        let start = Instant::now();
        let mut rate = ActionRateLimit::new(10, start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for (second, actions, granted) in [
            (0, 6, true),
            (30, 5, false),
            (30, 4, true),
            (30, 1, false),
            (59, 1, false),
            (60, 6, true),
            (60, 1, false),
            (90, 4, true),
            (1000, 11, false),
            (1000, 10, true),
            (1059, 1, false),
            (1060, 10, true),
        ] {
            assert_eq!(
                rate.try_acquire(actions, at(second)),
                granted,
                "{actions} at {second} s"
            );
        }
    }

    #[test]
    fn released_permits_can_be_acquired_again() {
        let mut limit = ConcurrencyLimit::new(2);
        assert!(limit.try_acquire() && limit.try_acquire());
        assert!(!limit.try_acquire() && !limit.is_available());
        limit.release();
        assert!(limit.is_available() && limit.try_acquire() && !limit.try_acquire());
    }
}
