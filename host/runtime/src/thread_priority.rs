//! The priority of threads that must not hold up others: those that run guests, and that of event streams.
//!
//! A guest that computes for long shares the processors with everything else. With the lowest priority it takes only what the other threads
//! leave. What must go on while they are all busy, slower, has a priority in between. A thread without privileges cannot raise its priority again, so a thread whose priority was lowered must not be used for anything else.
//! In particular it must not hold what others wait for.

use std::cell::Cell;

use rustix::process::setpriority_process;

/// The lowest priority, as a nice value: for guests.
pub(crate) const LOWEST_NICE: i32 = 19;

thread_local! {
    static IS_LOWERED: Cell<bool> = const { Cell::new(false) };
}

/// Gives the calling thread a lower priority, `nice` from 1 to 19. On Linux `setpriority` with the id of a thread means that thread, not the process.
pub fn lower_thread_priority(nice: i32) {
    IS_LOWERED.set(true);
    if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), nice) {
        tracing::debug!(%error, "the priority of a thread cannot be lowered");
    }
}

/// Whether the priority of the calling thread was lowered by [`lower_thread_priority`].
#[must_use]
pub fn is_thread_priority_lowered() -> bool {
    IS_LOWERED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_itself_is_lowered_and_no_other() {
        let lowered = std::thread::spawn(|| {
            let before = is_thread_priority_lowered();
            lower_thread_priority(1);
            (before, is_thread_priority_lowered())
        });
        assert_eq!(lowered.join().unwrap(), (false, true));
        assert!(!is_thread_priority_lowered());
    }
}
