//! The watchdog: probes, quarantines, halts, capsules, and orders of a fleet.

mod capsules;
mod fleet;
mod halts;
mod neighbours;
mod overload;
mod quotas;
mod watching;
