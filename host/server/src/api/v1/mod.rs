//! The calls, one file a resource, with its requests and answers.

pub mod actions;
pub(crate) mod agents;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod failed_signals;
pub(crate) mod health;
pub(crate) mod ledger;
mod legacy_digests;
mod names;
pub(crate) mod operations;
pub(crate) mod policies;
pub(crate) mod session_log;
pub(crate) mod signals;
pub(crate) mod state;
pub(crate) mod tokens;
mod uploads;
