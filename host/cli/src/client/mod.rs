//! Commands that talk to a running host over its HTTP API.

pub(crate) mod account;
pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod connection;
mod fields;
pub(crate) mod health;
pub(crate) mod lists;
pub(crate) mod policies;
mod progress;
pub(crate) mod redis;
mod remedies;
pub(crate) mod request;
pub(crate) mod signals;
pub(crate) mod state;
pub(crate) mod tokens;
mod upload;
pub(crate) mod watchdog;
pub(crate) mod webhooks;
