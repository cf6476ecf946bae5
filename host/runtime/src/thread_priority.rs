//! The priority of threads that must not hold up others: those that run guests, and that of event streams.
//!
//! A guest that computes for long shares the processors with everything else. With the lowest priority it takes only what the other threads
//! leave. What must go on while they are all busy, slower, has a priority in between. A thread without privileges cannot raise its priority again, so a thread whose priority was lowered must not be used for anything else.
//! In particular it must not hold what others wait for.

use rustix::process::setpriority_process;

/// The lowest priority, as a nice value: for guests.
pub(crate) const LOWEST_NICE: i32 = 19;

/// Gives the calling thread a lower priority, `nice` from 1 to 19. On Linux `setpriority` with the id of a thread means that thread, not the process.
pub fn lower_thread_priority(nice: i32) {
    if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), nice) {
        tracing::debug!(%error, "the priority of a thread cannot be lowered");
    }
}
