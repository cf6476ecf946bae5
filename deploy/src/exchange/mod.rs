//! The exchange of one version of the host for another on its data directory: what canaries, upgrades and rollbacks share.
//!
//! Invariants: a command of the operator's that outlives the process that ran it holds the journal's lock until it has ended, so that no second
//! run begins beside it. A database that a new version migrates is kept first, as the old host left it.
//!
//! Reading order: [`commands`] (operators' commands, other versions of `ark`), [`control`] (how a host is stopped and started), [`database`] (snapshots, replay, migration), [`token`] (what a restore makes),
//! [`serving`] (which version serves), [`hosts`] (stop, start, ready), [`validation`], [`traffic`] (weights of `HAProxy`), [`record`] (steps that the host records).
//!
//! Must not know: journals' entries, arguments, how anything is printed.

pub(crate) mod commands;
mod control;
pub(crate) mod database;
mod error;
pub(crate) mod hosts;
pub(crate) mod record;
pub(crate) mod serving;
pub(crate) mod token;
pub(crate) mod traffic;
pub(crate) mod validation;

pub use control::HostControl;
pub use database::{Migration, find_migration};
pub use error::ExchangeError;
pub use validation::{HostClients, ValidationPlan};
