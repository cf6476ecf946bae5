//! Durations of late: their quantiles over the last five minutes and the last hour, and how many were too slow since the start.
//!
//! Kept in slots of [`SLOT`] (five minutes of them) and of a minute (an hour of them), as histograms of two significant digits; memory is
//! bounded by that, whatever comes in. A slot without a value holds nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use ark_model::meters::Counter;

/// How often [`Recent::turn`] is to be called.
pub const SLOT_LENGTH: Duration = Duration::from_secs(5);
/// Slots of five minutes.
const SHORT_WINDOW_SLOTS: usize = 60;
/// Slots that make a minute.
const SLOTS_PER_MINUTE: usize = 12;
/// Minutes of an hour.
const LONG_WINDOW_MINUTES: usize = 60;
/// Nanoseconds: nothing finer than the first is told apart, nothing longer than the second.
const BOUNDS_NANOS: (u64, u64) = (100, 60_000_000_000);

/// A window over which quantiles are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Five minutes.
    Short,
    /// An hour.
    Long,
}

impl Window {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Short, Self::Long];

    /// Its length.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::Short => Duration::from_mins(5),
            Self::Long => Duration::from_hours(1),
        }
    }

    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "5m",
            Self::Long => "1h",
        }
    }
}

type SlotHistogram = Option<Histogram<u32>>;

/// Durations of late.
pub struct RecentDurations {
    /// What counts as too slow.
    target: Duration,
    current: Mutex<SlotHistogram>,
    slots: Mutex<Slots>,
    /// All since the start.
    pub total: Counter,
    /// Those longer than the target.
    pub slow: Counter,
    nanos: Counter,
}

#[derive(Default)]
struct Slots {
    fine: VecDeque<SlotHistogram>,
    coarse: VecDeque<SlotHistogram>,
    /// The minute that is not over, and how many slots it has.
    minute: SlotHistogram,
    filled: usize,
}

impl std::fmt::Debug for RecentDurations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent")
            .field("target", &self.target)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl RecentDurations {
    /// None yet. Longer than `target` is too slow.
    #[must_use]
    pub fn new(target: Duration) -> Self {
        Self {
            target,
            current: Mutex::default(),
            slots: Mutex::default(),
            total: Counter::default(),
            slow: Counter::default(),
            nanos: Counter::default(),
        }
    }

    /// Notes a duration.
    pub fn record_duration(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.total.increment();
        self.nanos.add(nanos);
        if duration > self.target {
            self.slow.increment();
        }
        let mut current = lock(&self.current);
        if current.is_none() {
            *current = new_histogram();
        }
        if let Some(histogram) = current.as_mut() {
            histogram.saturating_record(nanos.clamp(BOUNDS_NANOS.0, BOUNDS_NANOS.1));
        }
    }

    /// The time of a slot is over.
    pub fn rotate_slot(&self) {
        let slot = lock(&self.current).take();
        let mut slots = lock(&self.slots);
        merge_into(&mut slots.minute, slot.as_ref());
        slots.filled += 1;
        slots.fine.push_back(slot);
        if slots.fine.len() > SHORT_WINDOW_SLOTS {
            slots.fine.pop_front();
        }
        if slots.filled >= SLOTS_PER_MINUTE {
            slots.filled = 0;
            let minute = slots.minute.take();
            slots.coarse.push_back(minute);
            if slots.coarse.len() > LONG_WINDOW_MINUTES {
                slots.coarse.pop_front();
            }
        }
    }

    /// The quantiles over a window; `None` when it holds nothing.
    #[must_use]
    pub fn quantiles<const N: usize>(
        &self,
        window: Window,
        quantiles: [f64; N],
    ) -> Option<[Duration; N]> {
        let mut all = None;
        merge_into(&mut all, lock(&self.current).as_ref());
        let slots = lock(&self.slots);
        let (whole, rest) = match window {
            Window::Short => (&slots.fine, None),
            Window::Long => (&slots.coarse, slots.minute.as_ref()),
        };
        merge_into(&mut all, rest);
        for slot in whole {
            merge_into(&mut all, slot.as_ref());
        }
        drop(slots);
        let all = all?;
        Some(quantiles.map(|quantile| Duration::from_nanos(all.value_at_quantile(quantile))))
    }

    /// The sum of all durations since the start.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.get())
    }
}

fn new_histogram() -> SlotHistogram {
    Histogram::new_with_bounds(BOUNDS_NANOS.0, BOUNDS_NANOS.1, 2).ok()
}

fn merge_into(into: &mut SlotHistogram, from: Option<&Histogram<u32>>) {
    let Some(from) = from else {
        return;
    };
    match into {
        None => *into = Some(from.clone()),
        // Of the same bounds: nothing can be out of range.
        Some(into) => {
            let _ = into.add(from);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Duration, expected: Duration) {
        let ratio = found.as_secs_f64() / expected.as_secs_f64();
        assert!(
            (0.98..1.02).contains(&ratio),
            "{found:?} is not {expected:?}"
        );
    }

    #[test]
    fn quantiles_are_those_of_the_window_and_the_rest_is_forgotten() {
        let recent = RecentDurations::new(Duration::from_millis(400));
        assert_eq!(recent.quantiles(Window::Short, [0.5]), None);
        for millis in 1..=100 {
            recent.record_duration(Duration::from_millis(millis * 10));
        }
        assert_eq!((recent.total.get(), recent.slow.get()), (100, 60));
        let [median, p95] = recent.quantiles(Window::Short, [0.5, 0.95]).unwrap();
        close(median, Duration::from_millis(500));
        close(p95, Duration::from_millis(950));
        // 59 slots later it still counts, one more and it is out of the short window but not of the long one.
        (0..SHORT_WINDOW_SLOTS).for_each(|_| recent.rotate_slot());
        assert!(recent.quantiles(Window::Short, [0.5]).is_some());
        recent.rotate_slot();
        assert_eq!(recent.quantiles(Window::Short, [0.5]), None);
        let [p95] = recent.quantiles(Window::Long, [0.95]).unwrap();
        close(p95, Duration::from_millis(950));
        (0..=LONG_WINDOW_MINUTES * SLOTS_PER_MINUTE).for_each(|_| recent.rotate_slot());
        assert_eq!(recent.quantiles(Window::Long, [0.5]), None);
        assert_eq!(recent.total.get(), 100);
    }

    #[test]
    fn what_is_too_long_or_too_short_is_kept_at_the_bounds() {
        let recent = RecentDurations::new(Duration::from_millis(1));
        recent.record_duration(Duration::ZERO);
        recent.record_duration(Duration::from_hours(10));
        let [least, most] = recent.quantiles(Window::Long, [0.0, 1.0]).unwrap();
        assert!(least < Duration::from_micros(1));
        close(most, Duration::from_mins(1));
    }
}
