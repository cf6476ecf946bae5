//! What was counted before the part of a step by which it is judged beside the whole: since its time began, and, in a pause, which has no end, over the
//! last one or two spans of time.
//!
//! Invariants: no healthy time before, however long, hides in a share what comes after it; decisions of before a pause, or of before a kill of the
//! command, are none of the step's time.
//!
//! Must not know: how long a step or such a span lasts.

use super::counts::Counts;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(in crate::canary) struct RecentCounts {
    /// What was counted before; `None`: what the next check counts.
    first: Option<Counts>,
    /// What this is after the next move.
    next: Option<Counts>,
    /// What the last check counted; `None`: it could not be made.
    last: Option<Counts>,
    is_moved: bool,
}

impl RecentCounts {
    /// A time that begins. `first`: what was counted before; `None`: what its first check counts.
    pub(in crate::canary) const fn begin(first: Option<Counts>) -> Self {
        Self {
            first,
            next: first,
            last: first,
            is_moved: false,
        }
    }

    /// Begins the time anew, with what the last check counted.
    pub(in crate::canary) const fn begin_anew(&mut self) {
        *self = Self::begin(self.last);
    }

    /// Leaves out what was before the last move, or before the time began.
    pub(in crate::canary) const fn move_on(&mut self) {
        if self.last.is_some() {
            self.first = self.next;
            self.next = self.last;
            self.is_moved = true;
        }
    }

    /// What the last check counted, or what was counted before the first one; `None`: it is not known.
    pub(in crate::canary) const fn find_last(&self) -> Option<Counts> {
        self.last
    }

    /// Whether it has left something of the time out.
    pub(super) const fn is_moved(&self) -> bool {
        self.is_moved
    }

    /// Notes a check that could not be made.
    pub(super) const fn note_gap(&mut self) {
        self.last = None;
    }

    /// Notes what a check counts. `is_reset`: `HAProxy` counts from 0 since the check before. Returns what was counted before.
    pub(super) fn note_check(&mut self, now: &Counts, is_reset: bool) -> Counts {
        let known = [&mut self.first, &mut self.next, &mut self.last];
        for counts in known.into_iter().flatten() {
            if is_reset || counts.is_of_other_haproxy(now) {
                counts.forget_servers(now);
            }
        }
        // From a gap in the figures on, everything would seem to be new.
        self.last = now.judged.map(|_| *now);
        self.first = self.first.or(self.last);
        self.next = self.next.or(self.first);
        self.first.unwrap_or(*now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_of(judged: Option<u64>) -> Counts {
        Counts {
            judged,
            ..Counts::default()
        }
    }

    #[test]
    fn the_time_begins_anew_or_moves_on_and_never_from_a_gap() {
        type Act = fn(&mut RecentCounts);
        let (anew, moves): (Act, Act) = (RecentCounts::begin_anew, RecentCounts::move_on);
        let (gap, nothing): (Act, Act) = (RecentCounts::note_gap, |_| {});
        // What is done before a check, what that counts, and from what on it is judged.
        type Check = (Act, Option<u64>, Option<u64>);
        let cases: [(Option<u64>, &[Check]); 6] = [
            (
                Some(1),
                &[(nothing, Some(5), Some(1)), (nothing, Some(9), Some(1))],
            ),
            // A step that is taken up.
            (
                None,
                &[
                    (nothing, None, None),
                    (nothing, Some(5), Some(5)),
                    (nothing, Some(9), Some(5)),
                ],
            ),
            (
                Some(1),
                &[
                    (nothing, Some(5), Some(1)),
                    (anew, Some(9), Some(5)),
                    (nothing, Some(11), Some(5)),
                ],
            ),
            // The last check could not be made, or had no figures.
            (
                Some(1),
                &[
                    (nothing, Some(5), Some(1)),
                    (gap, Some(9), Some(1)),
                    (anew, Some(11), Some(9)),
                ],
            ),
            (
                Some(1),
                &[
                    (nothing, None, Some(1)),
                    (anew, Some(9), Some(9)),
                    (nothing, Some(11), Some(9)),
                ],
            ),
            // One or two moves long.
            (
                Some(1),
                &[
                    (nothing, Some(5), Some(1)),
                    (moves, Some(6), Some(1)),
                    (moves, Some(7), Some(5)),
                    (nothing, Some(8), Some(5)),
                    (moves, Some(9), Some(6)),
                ],
            ),
        ];
        for (number, (first, checks)) in cases.into_iter().enumerate() {
            let mut recent = RecentCounts::begin(first.map(|judged| count_of(Some(judged))));
            for (act, judged, expected) in checks {
                act(&mut recent);
                let found = recent.note_check(&count_of(*judged), false);
                assert_eq!(found.judged, *expected, "{number}: {judged:?}");
            }
        }
    }

    #[test]
    fn only_what_was_moved_leaves_something_out() {
        let mut recent = RecentCounts::begin(Some(count_of(Some(1))));
        recent.note_gap();
        recent.move_on();
        assert!(!recent.is_moved(), "nothing is known to move to");
        recent.note_check(&count_of(Some(5)), false);
        recent.move_on();
        assert!(recent.is_moved());
        recent.begin_anew();
        assert!(!recent.is_moved());
    }
}
