//! Halts, quarantines and what the watchdog sees.

pub(crate) mod orders;
pub(crate) mod watchdog;
