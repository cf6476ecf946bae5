//! The priority of the thread that runs a guest.
//!
//! A guest that computes for long shares the processors with everything else; behind the others it takes only what they leave. A thread
//! without privileges cannot raise its priority again, so a thread that was lowered is not used for anything else.

use rustix::process::setpriority_process;

/// The least urgent.
const NICE: i32 = 19;

/// Puts the calling thread behind the others. On Linux the call means the thread, not the process, when it is given the thread's id.
pub(super) fn lower_thread_priority() {
    if let Err(error) = setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "a slow guest's priority could not be lowered");
    }
}
