//! What was done lately: the last trades of each agent, and how often it repeated an action.
//!
//! Invariants: of two times of one event the later one is kept; a time that is still to come (the clock was set back) is 0 s ago, so no step of the clock
//! backwards shortens a window. Trades are kept without an end, one time for each agent, instrument and side: a clock that runs ahead and comes back
//! loses none.
//!
//! Must not know: how long the windows of the rules are.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ark_model::action::Side;
use ark_model::ids::{Digest, Millis, Name};
use ark_model::instrument::InstrumentKey;

/// How long an action counts as a recent one: the fact `identical-actions` of `ark:types` is defined by it.
pub const IDENTICAL_WINDOW: Duration = Duration::from_mins(1);

/// When each agent last traded each side of each instrument.
#[derive(Debug, Default)]
pub struct LastTrades(HashMap<InstrumentKey, HashMap<(Name, Side), Millis>>);

impl LastTrades {
    /// Records a trade. Returns when the agent last traded this side of the instrument: now, or later by a clock that was ahead.
    pub fn record_trade(
        &mut self,
        agent: &Name,
        key: InstrumentKey,
        side: Side,
        now: Millis,
    ) -> Millis {
        let at = self
            .0
            .entry(key)
            .or_default()
            .entry((agent.clone(), side))
            .or_insert(now);
        *at = now.max(*at);
        *at
    }

    /// Returns the seconds since an agent last traded a side of an instrument.
    pub fn age(&self, agent: &Name, key: &InstrumentKey, side: Side, now: Millis) -> Option<f64> {
        let at = self.0.get(key)?.get(&(agent.clone(), side))?;
        Some(now.seconds_since(*at))
    }

    /// Returns whether somebody has traded the instrument.
    pub fn knows_instrument(&self, key: &InstrumentKey) -> bool {
        self.0.contains_key(key)
    }
}

/// The actions of the last [`IDENTICAL_WINDOW`], counted by their repetition key.
#[derive(Debug, Default)]
pub struct RecentActions {
    oldest_first: VecDeque<(Millis, u64)>,
    counts: HashMap<u64, u32>,
}

impl RecentActions {
    /// Remembers an action.
    pub fn remember_action(&mut self, repetition_key: Digest, at: Millis) {
        let key = repetition_prefix(repetition_key);
        self.oldest_first.push_back((at, key));
        *self.counts.entry(key).or_default() += 1;
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
    use ark_model::instrument::InstrumentAliases;

    #[test]
    fn a_clock_that_is_set_back_shortens_no_window() {
        let aliases = InstrumentAliases::default();
        let (agent, key) = ("a".parse::<Name>().unwrap(), || aliases.find_key("BTC-USD"));
        let mut trades = LastTrades::default();
        let age = |trades: &LastTrades, now| trades.age(&agent, &key(), Side::Buy, Millis(now));
        assert_eq!(age(&trades, 5), None);
        assert_eq!(
            trades.record_trade(&agent, key(), Side::Buy, Millis(100_000)),
            Millis(100_000)
        );
        // An hour back and forth again: the age is 0 there, and right afterwards.
        for (now, expected) in [
            (100_500, 0.5),
            (40_000, 0.0),
            (101_000, 1.0),
            (9_000_000, 8_900.0),
            (102_000, 2.0),
        ] {
            assert_eq!(age(&trades, now), Some(expected), "{now}");
        }
        // A trade at a time before the last one does not hide it.
        assert_eq!(
            trades.record_trade(&agent, key(), Side::Buy, Millis(50_000)),
            Millis(100_000)
        );
        assert_eq!(age(&trades, 130_000), Some(30.0));
        assert_eq!(
            trades.age(&agent, &key(), Side::Sell, Millis(130_000)),
            None
        );
    }

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
}
