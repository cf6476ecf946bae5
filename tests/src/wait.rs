//! Waiting for what a host does in its own time.

use std::time::{Duration, Instant};

/// How long a test waits for something that must come. Nothing is measured by it: it only ends a test that would never end, so it is far
/// above what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_mins(5);
/// The pause between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `look` finds something, and returns it.
///
/// # Panics
/// It finds nothing within [`PATIENCE`]; the message names `what`.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a condition holds.
///
/// # Panics
/// It does not hold within [`PATIENCE`]; the message names `what`.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}
