//! The watchdog: probes, quarantines, halts, capsules, and orders of a fleet.

mod fleet;
mod neighbours;
mod quotas;
mod watching;
