//! When a Redis answered last.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When a Redis answered last; never at first.
#[derive(Debug, Default)]
pub(in crate::redis) struct LastAnswer(Mutex<Option<Instant>>);

impl LastAnswer {
    pub(in crate::redis) fn note_now(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// How long ago that was; `None`: never.
    pub(in crate::redis) fn age(&self) -> Option<Duration> {
        self.0.lock().map(|at| at.elapsed())
    }
}
