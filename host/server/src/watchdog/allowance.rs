//! What an agent may do over all its invocations together: how many run at a time, how many actions it proposes a minute.

use std::time::Instant;

/// Turns that may be taken at the same time.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    limit: u32,
    in_use: u32,
}

impl ConcurrencyLimit {
    /// None taken.
    #[must_use]
    pub const fn new(most: u32) -> Self {
        Self {
            limit: most,
            in_use: 0,
        }
    }

    /// From now on so many may be taken at the same time; what is taken stays so.
    pub const fn set_limit(&mut self, most: u32) {
        self.limit = most;
    }

    /// Takes one, if there is one left.
    pub fn try_acquire(&mut self) -> bool {
        let free = self.in_use < self.limit;
        self.in_use += u32::from(free);
        free
    }

    /// Gives one back.
    pub fn release(&mut self) {
        self.in_use = self.in_use.saturating_sub(1);
    }

    /// Whether [`Turns::take`] would succeed.
    #[must_use]
    pub const fn is_available(&self) -> bool {
        self.in_use < self.limit
    }
}

const WINDOW_SECONDS: usize = 60;

/// A number of actions a minute, counted in slots of a second: never more than the limit within any minute.
#[derive(Debug)]
pub struct ActionRateLimit {
    per_minute: u32,
    started: Instant,
    /// The second a slot counts, and its count.
    slots: [(u64, u32); WINDOW_SECONDS],
}

impl ActionRateLimit {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new(per_minute: u32, now: Instant) -> Self {
        Self {
            per_minute,
            started: now,
            slots: [(0, 0); WINDOW_SECONDS],
        }
    }

    /// Counts `actions`, unless they are too many: then none of them is counted.
    pub fn try_acquire(&mut self, actions: u32, now: Instant) -> bool {
        // Seconds from 1 on: a slot of second 0 is an empty one.
        let second = now.saturating_duration_since(self.started).as_secs() + 1;
        let within = |at: u64| at != 0 && at + WINDOW_SECONDS as u64 > second;
        let counted: u32 = self
            .slots
            .iter()
            .filter(|(at, _)| within(*at))
            .fold(0, |sum, (_, count)| sum.saturating_add(*count));
        if counted.saturating_add(actions) > self.per_minute {
            return false;
        }
        let index = usize::try_from(second % WINDOW_SECONDS as u64).unwrap_or(0);
        if let Some(slot) = self.slots.get_mut(index) {
            if slot.0 != second {
                *slot = (second, 0);
            }
            slot.1 = slot.1.saturating_add(actions);
        }
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
        let mut allowance = ActionRateLimit::new(10, start);
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
                allowance.try_acquire(actions, at(second)),
                granted,
                "{actions} at {second} s"
            );
        }
    }

    #[test]
    fn turns_are_taken_and_given_back() {
        let mut turns = ConcurrencyLimit::new(2);
        assert!(
            turns.try_acquire()
                && turns.try_acquire()
                && !turns.try_acquire()
                && !turns.is_available()
        );
        turns.release();
        assert!(turns.is_available() && turns.try_acquire() && !turns.try_acquire());
    }
}
