//! The run of a rollback and its seven steps.
//!
//! Invariants: a step is in the journal before it is taken, and harmless to repeat.
//!
//! Reading order: [`run`] (the steps in their order, and `validation`), then a file for what each does: [`undone_canary`] (`canary`), [`replacement`]
//! (`backup`, `database`), [`stable_host`] (`start`, `health`), [`traffic`]; [`health`] of the host, [`recording`] at it.
//!
//! Must not know: how a rollback is begun, gone on with or given up.

mod health;
pub(super) mod recording;
mod replacement;
pub(super) mod run;
mod stable_host;
pub(super) mod traffic;
mod undone_canary;

pub use run::{Rollback, RollbackReport};
