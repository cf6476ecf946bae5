//! Agents: components of the world `ark:agent/agent`, invoked in a fresh instance for every signal.

mod bindings;
mod call_error;
mod failure;
mod host_calls;
mod invocation_context;
mod invoke;
mod log;
mod report;
mod wasi;

pub use invoke::Agent;
pub use log::{LogLevel, LogLine};
pub use report::{Effects, InvocationFailure, InvocationReport};
