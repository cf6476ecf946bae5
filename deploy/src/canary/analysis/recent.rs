//! What was counted before the parts of a step that are judged beside the whole: shares are judged of what is not long ago, samples are those of the time
//! that the step takes now.
//!
//! Invariants: no healthy time before, however long, hides in a share what comes after it; decisions of before a pause, or of before a kill of the
//! command, are no samples.
//!
//! Must not know: how long a step lasts, when a part of it is long ago.

use super::counts::Counts;

/// What was counted before a part of a step. The part grows, and is one or two spans long where it is moved on after each.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// `None`: what the next check counts.
    first: Option<Counts>,
    /// What this is after the next move.
    next: Option<Counts>,
    is_moved: bool,
}

impl Part {
    const fn begin(first: Option<Counts>) -> Self {
        Self {
            first,
            next: first,
            is_moved: false,
        }
    }

    const fn move_on(&mut self, last: Option<Counts>) {
        if last.is_some() {
            self.first = self.next;
            self.next = last;
            self.is_moved = true;
        }
    }

    /// Takes what a check counts for the beginning, where that is not known.
    fn note_check(&mut self, counted: Option<Counts>) {
        self.first = self.first.or(counted);
        self.next = self.next.or(self.first);
    }
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(in crate::canary) struct RecentCounts {
    shares: Part,
    samples: Part,
    /// What the last check counted; `None`: it could not be made.
    last: Option<Counts>,
}

impl RecentCounts {
    /// A time that begins. `first`: what was counted before; `None`: what its first check counts.
    pub(in crate::canary) const fn begin(first: Option<Counts>) -> Self {
        Self {
            shares: Part::begin(first),
            samples: Part::begin(first),
            last: first,
        }
    }

    /// Begins the time anew, with what the last check counted.
    pub(in crate::canary) const fn begin_anew(&mut self) {
        *self = Self::begin(self.last);
    }

    /// Leaves out of what shares are judged of what was before the last such move, or before the time began.
    pub(in crate::canary) const fn move_shares(&mut self) {
        self.shares.move_on(self.last);
    }

    /// Likewise, of the samples.
    pub(in crate::canary) const fn move_samples(&mut self) {
        self.samples.move_on(self.last);
    }

    /// What the last check counted, or what was counted before the first one; `None`: it is not known.
    pub(in crate::canary) const fn find_last(&self) -> Option<Counts> {
        self.last
    }

    /// Whether the samples are not those of the whole time.
    pub(super) const fn has_moved_samples(&self) -> bool {
        self.samples.is_moved
    }

    /// Notes a check that could not be made.
    pub(super) const fn note_gap(&mut self) {
        self.last = None;
    }

    /// Notes what a check counts. `is_reset`: `HAProxy` counts from 0 since the check before. Returns what was counted before: of that which shares are
    /// judged of, and of the samples.
    pub(super) fn note_check(&mut self, now: &Counts, is_reset: bool) -> [Counts; 2] {
        let Self {
            shares,
            samples,
            last,
        } = self;
        let known = [
            &mut shares.first,
            &mut shares.next,
            &mut samples.first,
            &mut samples.next,
            last,
        ];
        for counts in known.into_iter().flatten() {
            if is_reset || counts.is_of_other_haproxy(now) {
                counts.forget_servers(now);
            }
        }
        // From a gap in the figures on, everything would seem to be new.
        let counted = now.judged.map(|_| *now);
        self.last = counted;
        [&mut self.shares, &mut self.samples].map(|part| {
            part.note_check(counted);
            part.first.unwrap_or(*now)
        })
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
        let anew: Act = RecentCounts::begin_anew;
        let moves: Act = |recent| {
            recent.move_shares();
            recent.move_samples();
        };
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
                let found = found.map(|counts| counts.judged);
                assert_eq!(found, [*expected; 2], "{number}: {judged:?}");
            }
        }
    }

    #[test]
    fn shares_and_samples_are_moved_on_apart() {
        let mut recent = RecentCounts::begin(Some(count_of(Some(1))));
        let check = |recent: &mut RecentCounts, judged| {
            let found = recent.note_check(&count_of(Some(judged)), false);
            found.map(|counts| counts.judged.unwrap_or(0))
        };
        recent.note_gap();
        recent.move_samples();
        assert!(!recent.has_moved_samples(), "nothing is known to move to");
        assert_eq!(check(&mut recent, 5), [1, 1]);
        recent.move_shares();
        recent.move_shares();
        assert!(!recent.has_moved_samples());
        assert_eq!(check(&mut recent, 6), [5, 1]);
        recent.move_samples();
        recent.move_samples();
        assert!(recent.has_moved_samples());
        assert_eq!(check(&mut recent, 7), [5, 6]);
        recent.begin_anew();
        assert!(!recent.has_moved_samples());
        assert_eq!(check(&mut recent, 8), [7, 7]);
    }
}
