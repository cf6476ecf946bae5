//! A sliding sum over the last 60 seconds.

use std::time::Instant;

const WINDOW_SECONDS: usize = 60;

/// A sum of what was counted within the last 60 seconds, by the second: what was counted in the second in which it is 60 s old no longer counts.
#[derive(Debug, Clone)]
pub struct MinuteWindow {
    started: Instant,
    /// A ring of seconds: the second an element counts, from 1 on (0: none), and its sum.
    seconds: [(u64, u64); WINDOW_SECONDS],
    /// The second for which the sum is known (0: none), and the sum. It is asked for thousands of times a second.
    summed: (u64, u64),
}

impl MinuteWindow {
    /// Returns a window in which nothing is counted yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            started: now,
            seconds: [(0, 0); WINDOW_SECONDS],
            summed: (0, 0),
        }
    }

    /// Returns what was counted within the 60 seconds up to `now`.
    #[must_use]
    pub fn sum(&mut self, now: Instant) -> u64 {
        let second = self.second_of(now);
        if self.summed.0 != second {
            self.summed = (second, self.sum_seconds(second));
        }
        self.summed.1
    }

    fn sum_seconds(&self, second: u64) -> u64 {
        self.seconds
            .iter()
            .filter(|(at, _)| *at != 0 && at + WINDOW_SECONDS as u64 > second)
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Counts an amount at `now`.
    pub fn add(&mut self, amount: u64, now: Instant) {
        let second = self.second_of(now);
        let index = usize::try_from(second % WINDOW_SECONDS as u64).unwrap_or(0);
        if let Some(element) = self.seconds.get_mut(index) {
            let is_known = self.summed.0 == second && element.0 == second;
            if element.0 != second {
                *element = (second, 0);
            }
            element.1 = element.1.saturating_add(amount);
            self.summed = if is_known {
                (second, self.summed.1.saturating_add(amount))
            } else {
                (0, 0)
            };
        }
    }

    fn second_of(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() + 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn values_older_than_a_minute_do_not_count() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut window = MinuteWindow::new(start);
        for (second, amount, sum) in [
            (0, 6, 6),
            (30, 4, 10),
            (59, 1, 11),
            (60, 0, 5),
            (89, 2, 7),
            (90, 0, 3),
            (1000, u64::MAX, u64::MAX),
            (1001, 5, u64::MAX),
            (1060, 0, 5),
        ] {
            window.add(amount, at(second));
            assert_eq!(window.sum(at(second)), sum, "{amount} at {second} s");
        }
    }

    #[test]
    fn a_sum_that_is_known_is_that_of_the_seconds() {
        let start = Instant::now();
        let mut window = MinuteWindow::new(start);
        // Also at moments that are handed over late.
        for second in [
            0, 0, 1, 1, 0, 59, 60, 1, 61, 61, 60, 200, 100, 200, 259, 260,
        ] {
            let now = start + Duration::from_secs(second);
            for amount in [3, 0, 4] {
                assert_eq!(window.sum(now), window.sum_seconds(second + 1), "{second}");
                window.add(amount, now);
                assert_eq!(window.sum(now), window.sum_seconds(second + 1), "{second}");
            }
        }
    }
}
