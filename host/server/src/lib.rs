//! The ARK host: runs agents nobody has to trust.
//!
//! Read [`app`] first: it turns a [`config::Config`] into running parts. `ARCHITECTURE.md` says what each part is for and what it must not
//! know.

pub mod agents;
pub mod api;
pub mod app;
mod background;
pub mod changes;
pub mod config;
#[cfg(feature = "faults")]
pub mod faults;
pub mod front;
pub mod hrm;
mod listen;
pub mod outgoing_events;
pub mod policies;
pub mod quotas;
pub mod readiness;
pub mod redis;
pub mod reply;
pub mod router;
pub mod telemetry;
pub mod watchdog;
pub mod webhooks;

/// The version of this program, as it says it. The newer one that the tests build says another.
pub const VERSION: &str = if cfg!(feature = "faults") {
    concat!(env!("CARGO_PKG_VERSION"), "+next")
} else {
    env!("CARGO_PKG_VERSION")
};
