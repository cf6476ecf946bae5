//! Deployments, halts, quarantines and what the watchdog sees.

pub(crate) mod alert_line;
pub(crate) mod deployments;
pub(crate) mod orders;
mod redis;
pub(crate) mod watchdog;
pub(crate) mod webhooks;
