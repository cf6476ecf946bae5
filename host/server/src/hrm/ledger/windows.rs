//! What was done lately: how often each agent repeated an action. When it last traded an instrument is in [`super::instruments`].
//!
//! Invariant: a time that is still to come (the clock was set back) is from now on, so no step of the clock backwards shortens the window.
//!
//! Must not know: how long the windows of the rules are.

use std::collections::VecDeque;
use std::time::Duration;

use ark_model::ids::{Digest, Millis};

use super::parted_map::PartedMap;

/// How long an action counts as a recent one: the fact `identical-actions` of `ark:types` is defined by it.
pub const IDENTICAL_WINDOW: Duration = Duration::from_mins(1);

/// So many actions are forgotten in a few microseconds.
const FEW: usize = 32;

/// The actions of the last [`IDENTICAL_WINDOW`], counted by their repetition key.
#[derive(Debug, Default)]
pub struct RecentActions {
    oldest_first: VecDeque<(Millis, u64)>,
    counts: PartedMap<u64, u32>,
}

impl RecentActions {
    /// Remembers an action.
    pub fn remember_action(&mut self, repetition_key: Digest, at: Millis) {
        let key = repetition_prefix(repetition_key);
        self.oldest_first.push_back((at, key));
        *self.counts.get_or_default(&key) += 1;
    }

    /// Whether few actions are before the window that ends at `now`, and few are still to come.
    pub fn is_current(&self, now: Millis) -> bool {
        let is_due =
            |(at, _): &(Millis, u64)| now.seconds_since(*at) >= IDENTICAL_WINDOW.as_secs_f64();
        let is_to_come = |(at, _): &(Millis, u64)| *at > now;
        let first_kept = self.oldest_first.get(FEW);
        let last_past = self.oldest_first.len().checked_sub(FEW + 1);
        !first_kept.is_some_and(is_due)
            && !last_past.is_some_and(|place| self.oldest_first.get(place).is_some_and(is_to_come))
    }

    /// Forgets the actions before the window that ends at `now`. Those that are still to come are from now on.
    pub fn advance_to(&mut self, now: Millis) {
        // Otherwise a clock that was ahead would keep them until it is there again.
        for (at, _) in self.oldest_first.iter_mut().rev() {
            if *at <= now {
                break;
            }
            *at = now;
        }
        while let Some((at, key)) = self.oldest_first.front().copied() {
            if now.seconds_since(at) < IDENTICAL_WINDOW.as_secs_f64() {
                break;
            }
            self.oldest_first.pop_front();
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
    }

    /// Returns how often an action was done in the window.
    pub fn count(&self, repetition_key: Digest) -> u32 {
        self.counts
            .get(&repetition_prefix(repetition_key))
            .copied()
            .unwrap_or(0)
    }
}

/// The first 64 of the 256 bits: enough for counting. A forged collision only adds to the forger's own count.
fn repetition_prefix(repetition_key: Digest) -> u64 {
    repetition_key
        .as_bytes()
        .iter()
        .take(8)
        .fold(0, |key, byte| key << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identical_actions_leave_the_window_after_a_minute_of_the_clock_whichever_way_it_goes() {
        let repetition_key = Digest::hash_bytes(b"x");
        let mut recent = RecentActions::default();
        recent.remember_action(repetition_key, Millis(1_000_000));
        recent.remember_action(repetition_key, Millis(1_030_000));
        recent.advance_to(Millis(1_059_999));
        assert_eq!(recent.count(repetition_key), 2);
        recent.advance_to(Millis(1_060_000));
        assert_eq!(recent.count(repetition_key), 1);
        recent.advance_to(Millis(500_000));
        assert_eq!(recent.count(repetition_key), 1);
        recent.advance_to(Millis(559_999));
        assert_eq!(recent.count(repetition_key), 1);
        recent.advance_to(Millis(560_000));
        assert_eq!(recent.count(repetition_key), 0);
    }

    #[test]
    fn few_actions_to_forget_or_to_come_are_current_and_many_are_not() {
        for (count, current) in [(0, true), (FEW, true), (FEW + 1, false), (FEW * 10, false)] {
            let mut recent = RecentActions::default();
            for _ in 0..count {
                recent.remember_action(Digest::hash_bytes(b"x"), Millis(1_000_000));
            }
            assert!(recent.is_current(Millis(1_000_000)), "{count} of now");
            assert!(
                recent.is_current(Millis(1_059_999)),
                "{count} in the window"
            );
            assert_eq!(
                recent.is_current(Millis(1_060_000)),
                current,
                "{count} that left it"
            );
            assert_eq!(
                recent.is_current(Millis(999_999)),
                current,
                "{count} to come"
            );
            for now in [1_060_000, 999_999] {
                recent.advance_to(Millis(now));
                assert!(recent.is_current(Millis(now)), "{count}, moved on");
            }
        }
    }
}
