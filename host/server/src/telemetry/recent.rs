//! Recent durations: their quantiles over the last five minutes and the last hour, and how many were too slow since the start.
//!
//! Durations are kept in slots of [`SLOT_LENGTH`] for five minutes and in slots of a minute for an hour, as histograms of two significant
//! digits. That bounds the memory, however many durations are recorded. A slot without a duration holds no histogram.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use ark_model::meters::Counter;

/// The length of a slot: how often [`RecentDurations::rotate_slot`] must be called.
pub const SLOT_LENGTH: Duration = Duration::from_secs(5);
/// How many slots make the short window of five minutes.
const SHORT_WINDOW_SLOTS: usize = 60;
/// How many slots make a minute.
const SLOTS_PER_MINUTE: usize = 12;
/// How many minutes make the long window of an hour.
const LONG_WINDOW_MINUTES: usize = 60;
/// The shortest and the longest duration that are told apart, in nanoseconds: 100 ns and a minute. Others are kept at these bounds.
const BOUNDS_NANOS: (u64, u64) = (100, 60_000_000_000);

/// A window over which quantiles are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Five minutes.
    Short,
    /// An hour.
    Long,
}

impl Window {
    /// Both windows.
    pub const ALL: [Self; 2] = [Self::Short, Self::Long];

    /// Returns its length.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::Short => Duration::from_mins(5),
            Self::Long => Duration::from_hours(1),
        }
    }

    /// Returns its name as a label of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "5m",
            Self::Long => "1h",
        }
    }
}

type SlotHistogram = Option<Histogram<u32>>;

/// Recent durations.
pub struct RecentDurations {
    /// Longer durations count as too slow.
    target: Duration,
    current: Mutex<SlotHistogram>,
    slots: Mutex<Slots>,
    /// How many durations were recorded since the start.
    pub total: Counter,
    /// How many of them were longer than the target.
    pub slow: Counter,
    /// The sum of all durations since the start, in nanoseconds.
    nanos: Counter,
}

#[derive(Default)]
struct Slots {
    fine: VecDeque<SlotHistogram>,
    coarse: VecDeque<SlotHistogram>,
    /// The durations of the minute that is not over, and how many slots it has.
    minute: SlotHistogram,
    filled: usize,
}

impl std::fmt::Debug for RecentDurations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecentDurations")
            .field("target", &self.target)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl RecentDurations {
    /// Returns windows without a duration. Durations longer than `target` count as too slow.
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

    /// Records a duration.
    pub fn record_duration(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.total.increment();
        self.nanos.add(nanos);
        if duration > self.target {
            self.slow.increment();
        }
        let mut current = self.current.lock();
        if current.is_none() {
            *current = new_histogram();
        }
        if let Some(histogram) = current.as_mut() {
            histogram.saturating_record(nanos.clamp(BOUNDS_NANOS.0, BOUNDS_NANOS.1));
        }
    }

    /// Ends the present slot and begins the next one.
    pub fn rotate_slot(&self) {
        let slot = self.current.lock().take();
        let mut slots = self.slots.lock();
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

    /// Returns quantiles over a window; `None` when it holds no duration.
    #[must_use]
    pub fn quantiles<const N: usize>(
        &self,
        window: Window,
        quantiles: [f64; N],
    ) -> Option<[Duration; N]> {
        let mut all = None;
        merge_into(&mut all, self.current.lock().as_ref());
        let slots = self.slots.lock();
        let (slots_of_window, unfinished) = match window {
            Window::Short => (&slots.fine, None),
            Window::Long => (&slots.coarse, slots.minute.as_ref()),
        };
        merge_into(&mut all, unfinished);
        for slot in slots_of_window {
            merge_into(&mut all, slot.as_ref());
        }
        drop(slots);
        let all = all?;
        Some(quantiles.map(|quantile| Duration::from_nanos(all.value_at_quantile(quantile))))
    }

    /// Returns the sum of all durations since the start.
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
        // Both have the same bounds, so no value can be out of range.
        Some(into) => {
            let _ = into.add(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: Duration, expected: Duration) {
        let ratio = found.as_secs_f64() / expected.as_secs_f64();
        assert!(
            (0.98..1.02).contains(&ratio),
            "{found:?} is not {expected:?}"
        );
    }

    #[test]
    fn quantiles_are_those_of_the_window_and_older_durations_are_forgotten() {
        let recent = RecentDurations::new(Duration::from_millis(400));
        assert_eq!(recent.quantiles(Window::Short, [0.5]), None);
        for millis in 1..=100 {
            recent.record_duration(Duration::from_millis(millis * 10));
        }
        assert_eq!((recent.total.get(), recent.slow.get()), (100, 60));
        let [median, p95] = recent.quantiles(Window::Short, [0.5, 0.95]).unwrap();
        assert_close(median, Duration::from_millis(500));
        assert_close(p95, Duration::from_millis(950));
        // 59 slots later it still counts, one more and it is out of the short window but not of the long one.
        (0..SHORT_WINDOW_SLOTS).for_each(|_| recent.rotate_slot());
        assert!(recent.quantiles(Window::Short, [0.5]).is_some());
        recent.rotate_slot();
        assert_eq!(recent.quantiles(Window::Short, [0.5]), None);
        let [p95] = recent.quantiles(Window::Long, [0.95]).unwrap();
        assert_close(p95, Duration::from_millis(950));
        (0..=LONG_WINDOW_MINUTES * SLOTS_PER_MINUTE).for_each(|_| recent.rotate_slot());
        assert_eq!(recent.quantiles(Window::Long, [0.5]), None);
        assert_eq!(recent.total.get(), 100);
    }

    #[test]
    fn durations_beyond_the_bounds_are_kept_at_the_bounds() {
        let recent = RecentDurations::new(Duration::from_millis(1));
        recent.record_duration(Duration::ZERO);
        recent.record_duration(Duration::from_hours(10));
        let [least, most] = recent.quantiles(Window::Long, [0.0, 1.0]).unwrap();
        assert!(least < Duration::from_micros(1));
        assert_close(most, Duration::from_mins(1));
    }
}
