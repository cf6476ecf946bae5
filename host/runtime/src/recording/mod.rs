//! What makes an invocation repeatable: everything it received from outside.
//!
//! With the component, the signal and its [`Recording`], an invocation can be run again anywhere and does the same. Every invocation is recorded,
//! since which of them fail is known only afterwards. A recording is bounded: beyond that, answers are dropped and counted, and a replay says that
//! it is not exact.

mod recorded;
mod tape;
mod taped;

pub use recorded::{HostCall, HostCallAnswer, RecordedCall, Recording};
pub(crate) use tape::Tape;
pub(crate) use taped::{TapedMonotonicClock, TapedServices, TapedWallClock};
