//! The data directory in an exchange: what is kept of it, judged again, and restored.
//!
//! Invariants: a database that a new version migrates is kept first; a token that a restore makes is on disk before the restore is committed.
//!
//! Reading order: [`database`] (snapshots, migration, restore), [`replay`] (what the new version judges again), [`expected_pause`] (how long no
//! host will be there for a migration), [`token`] (what a restore makes).
//!
//! Must not know: which host serves, how one is stopped and started.

pub(crate) mod database;
pub(crate) mod expected_pause;
pub(crate) mod replay;
pub(crate) mod token;
