//! A spell of failed commits: said once when it begins, then in numbers, and once when it is over.
//!
//! On a full disk some commits succeed between others that fail. So a spell is over when none has failed for [`SPELL_ENDS_AFTER`].

use std::time::{Duration, Instant};

use crate::health::SPELL_ENDS_AFTER;

/// How often the numbers of a spell are said.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(30);

/// The spell of failures there is, if there is one.
#[derive(Debug, Default)]
pub(super) struct FailureSpell(Option<Spell>);

#[derive(Debug)]
struct Spell {
    began: Instant,
    last: Instant,
    said: Instant,
    problem: String,
    commits: u64,
    units: usize,
}

impl FailureSpell {
    /// Notes a failed commit, and logs it if it is news or if the numbers are due.
    pub(super) fn record(&mut self, problem: &str, units: usize, now: Instant) {
        let Some(spell) = &mut self.0 else {
            tracing::error!(
                error = problem,
                units,
                "commit failed: none of its units was written; further failures are summed up"
            );
            self.0 = Some(Spell {
                began: now,
                last: now,
                said: now,
                problem: problem.to_owned(),
                commits: 1,
                units,
            });
            return;
        };
        spell.last = now;
        spell.commits += 1;
        spell.units += units;
        let is_other = spell.problem != problem;
        if is_other || now.saturating_duration_since(spell.said) >= SUMMARY_INTERVAL {
            spell.said = now;
            problem.clone_into(&mut spell.problem);
            tracing::error!(
                error = problem,
                commits = spell.commits,
                units = spell.units,
                for_s = now.saturating_duration_since(spell.began).as_secs(),
                "commits go on failing"
            );
        }
    }

    /// Ends the spell, if no commit has failed for a while, and logs it.
    pub(super) fn end_if_quiet(&mut self, now: Instant) {
        let is_quiet =
            |spell: &mut Spell| now.saturating_duration_since(spell.last) >= SPELL_ENDS_AFTER;
        if let Some(spell) = self.0.take_if(is_quiet) {
            tracing::info!(
                commits = spell.commits,
                units = spell.units,
                for_s = spell.last.saturating_duration_since(spell.began).as_secs(),
                "the database can be written again; so many commits had failed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_is_over_when_nothing_fails_for_a_while() {
        let mut spell = FailureSpell::default();
        let start = Instant::now();
        spell.record("full", 3, start);
        for second in 1..30 {
            let now = start + Duration::from_secs(second);
            spell.record("full", 1, now);
            spell.end_if_quiet(now + Duration::from_secs(1));
        }
        let found = spell.0.as_ref().expect("it goes on");
        assert_eq!((found.commits, found.units), (30, 32));
        assert_eq!(found.said, start, "said once");
        spell.record("full", 1, start + Duration::from_secs(31));
        assert_ne!(spell.0.as_ref().expect("a spell").said, start);
        spell.end_if_quiet(start + Duration::from_secs(42));
        assert!(spell.0.is_none());
    }
}
