//! What is proposed at each tick, and how it must be judged.

use std::time::Duration;

use ark_model::ids::Millis;

use crate::proposal::{
    OVERLEVERAGED, OVERSIZED, SyntheticProposal, UNPROTECTED, UNREWARDING, Violation,
};

use super::SyntheticOptions;

/// How many instruments are traded in turn.
const INSTRUMENTS: u64 = 16;
/// What is injected, in turn.
const VIOLATIONS: [Violation; 4] = [OVERSIZED, OVERLEVERAGED, UNPROTECTED, UNREWARDING];
/// How many kinds of violations there are.
pub(super) const VIOLATION_KINDS: u64 = VIOLATIONS.len() as u64;

/// What is proposed when.
pub(super) struct Plan<'a> {
    options: &'a SyntheticOptions,
    /// Where the prices begin, so that no run proposes what the last one did.
    offset: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn new(options: &'a SyntheticOptions) -> Self {
        Self {
            options,
            offset: Millis::now().0 / 10,
        }
    }

    /// How many ticks there are, at least one.
    pub(super) fn count_ticks(&self) -> u64 {
        let ticks = (self.options.duration.as_secs_f64() * self.options.hz).round();
        // The command line bounds both factors.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number of ticks, at least one"
        )]
        let ticks = ticks.max(1.0) as u64;
        ticks
    }

    /// How many ticks one violation of each kind needs.
    pub(super) fn needed_ticks(&self) -> u64 {
        self.options
            .violation_every
            .max(2)
            .saturating_mul(VIOLATION_KINDS)
    }

    /// When a tick is due, from the start.
    pub(super) fn due_after(&self, tick: u64) -> Duration {
        Duration::from_secs_f64(tick as f64 / self.options.hz)
    }

    /// The proposal of a tick: the last of every `violation_every` breaks a rule, each in its turn.
    pub(super) fn build_proposal(&self, tick: u64) -> SyntheticProposal {
        let every = self.options.violation_every.max(2);
        if tick % every != every - 1 {
            return self.make_proposal(tick, None);
        }
        let turn = usize::try_from(tick / every).unwrap_or(0) % VIOLATIONS.len();
        self.make_proposal(tick, VIOLATIONS.get(turn))
    }

    /// One proposal of each kind.
    pub(super) fn list_examples(&self) -> impl Iterator<Item = SyntheticProposal> {
        let violations = VIOLATIONS.iter().map(Some);
        std::iter::once(None)
            .chain(violations)
            .map(|violation| self.make_proposal(0, violation))
    }

    fn make_proposal(&self, tick: u64, violation: Option<&Violation>) -> SyntheticProposal {
        // No two ticks propose the same, so that none looks like a repetition.
        let entry = 100.0 + ((self.offset + tick) % 100_000) as f64 / 1000.0;
        SyntheticProposal::build_trade(
            &self.options.agent,
            &format!("SYNTHETIC{}-TEST", tick % INSTRUMENTS),
            entry,
            &format!("synthetic load, tick {tick}; it is cancelled at once"),
            violation,
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::build_synthetic;

    use super::*;

    #[test]
    fn violations_come_in_their_proportion_and_each_in_its_turn() {
        let options = build_synthetic();
        let plan = Plan::new(&options);
        assert_eq!(plan.count_ticks(), 40);
        assert_eq!(plan.due_after(3), Duration::from_secs(6));
        let kinds: Vec<&str> = (0..plan.count_ticks())
            .map(|tick| plan.build_proposal(tick).kind)
            .collect();
        let injected: Vec<&str> = kinds
            .iter()
            .copied()
            .filter(|kind| *kind != "valid")
            .collect();
        let turn = ["oversized", "overleveraged", "unprotected", "unrewarding"];
        assert_eq!(injected, [turn, turn].concat());
        assert_eq!(kinds[4], "oversized");
        assert!(options.check_options().is_ok());
        // 20 ticks are needed.
        for (seconds, is_enough) in [(1, false), (38, false), (40, true)] {
            let mut options = options.clone();
            options.duration = Duration::from_secs(seconds);
            assert_eq!(options.check_options().is_ok(), is_enough, "{seconds} s");
            let plan = Plan::new(&options);
            let injected: std::collections::BTreeSet<_> = (0..plan.count_ticks())
                .map(|tick| plan.build_proposal(tick).kind)
                .filter(|kind| *kind != "valid")
                .collect();
            assert_eq!(injected.len() == turn.len(), is_enough, "{seconds} s");
        }
    }
}
