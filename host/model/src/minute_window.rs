//! A sliding sum over the last 60 seconds.

use std::time::Instant;

const WINDOW_SECONDS: usize = 60;

/// A sum of what was counted within the last 60 seconds, by the second: what was counted in the second in which it is 60 s old no longer counts.
#[derive(Debug, Clone)]
pub struct MinuteWindow {
    started: Instant,
    /// A ring of seconds: the second an element counts, from 1 on (0: none), and its sum.
    seconds: [(u64, u64); WINDOW_SECONDS],
}

impl MinuteWindow {
    /// Returns a window in which nothing is counted yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            started: now,
            seconds: [(0, 0); WINDOW_SECONDS],
        }
    }

    /// Returns what was counted within the 60 seconds up to `now`.
    #[must_use]
    pub fn sum(&self, now: Instant) -> u64 {
        let second = self.second_of(now);
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
            if element.0 != second {
                *element = (second, 0);
            }
            element.1 = element.1.saturating_add(amount);
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
}
