//! The classification of wasmtime's errors.

use ark_model::check::{clip_for_error, clip_to};
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::limiter::LimitReached;
use crate::limits::Limits;

use super::report::InvocationFailure;

/// The start of wasmtime's message when the lists and strings that cross between guest and host are too large together. wasmtime has no type for
/// this error.
const TOO_MUCH_DATA: &str = "too much data is being copied between the host and the guest";
/// The start of wasmtime's message when a component has more core instances than its store may hold. wasmtime has no type for this error.
const TOO_MANY_INSTANCES: &str = "resource limit exceeded: instance count";
/// The most characters of a backtrace that are kept. Its function names are the guest's.
const MAX_BACKTRACE_CHARS: usize = 4096;

/// Returns the failure that ended an invocation under these limits.
pub(super) fn classify_error(error: &wasmtime::Error, limits: &Limits) -> InvocationFailure {
    if let Some(reached) = error.downcast_ref::<LimitReached>() {
        return match reached.limit {
            "deadline" => InvocationFailure::DeadlineExceeded(limits.deadline),
            limit => InvocationFailure::LimitReached(limit),
        };
    }
    if let Some(error) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return InvocationFailure::NoRoom(error.to_string());
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return InvocationFailure::LimitReached("resources");
    }
    let cause = error.root_cause().to_string();
    if cause.starts_with(TOO_MANY_INSTANCES) {
        return InvocationFailure::LimitReached("instances");
    }
    if cause.starts_with(TOO_MUCH_DATA) {
        return InvocationFailure::LimitReached("host_call_bytes");
    }
    let message = match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => return InvocationFailure::OutOfFuel(limits.fuel),
        Some(Trap::Interrupt) => return InvocationFailure::DeadlineExceeded(limits.deadline),
        Some(Trap::StackOverflow) => return InvocationFailure::LimitReached("stack"),
        Some(trap) => trap.to_string(),
        None => clip_for_error(&cause),
    };
    let backtrace = error
        .downcast_ref::<WasmBacktrace>()
        .map(|frames| clip_to(&frames.to_string(), MAX_BACKTRACE_CHARS))
        .unwrap_or_default();
    InvocationFailure::Trap { message, backtrace }
}
