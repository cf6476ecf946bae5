//! Heavy tests one at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other heavy test of this process runs; the next may begin when the guard is dropped.
///
/// With nextest each test has a process of its own, and the group `heavy` in `.config/nextest.toml` does this.
pub fn take_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed had its turn too.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
