//! The priority of threads that must not hold up others: those that run guests, and that of event streams.
//!
//! A guest that computes for long shares the processors with everything else. With the lowest priority it takes only what the other threads
//! leave. A thread without privileges cannot raise its priority again, so a thread whose priority was lowered must not be used for anything else.

use rustix::process::setpriority_process;

/// The lowest priority, as a nice value.
const LOWEST_NICE: i32 = 19;

/// Gives the calling thread the lowest priority. On Linux `setpriority` with the id of a thread means that thread, not the process.
pub fn lower_thread_priority() {
    if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), LOWEST_NICE) {
        tracing::debug!(%error, "the priority of a thread cannot be lowered");
    }
}
