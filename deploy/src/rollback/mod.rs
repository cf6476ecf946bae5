//! `ark rollback`: back to the stable version, in seven steps, each in the journal before it is taken and harmless to repeat.
//!
//! Invariants: the newer version's decisions stay in the ledger wherever the stable version can open its database. Where it cannot, nothing is
//! done without a number of decisions that may be set aside, and the database that is replaced is kept. A rollback that was killed is gone on
//! with by its journal, whatever is asked of the next run.
//!
//! Reading order: [`plan`], [`journal`] (entries, history), [`begin`] (or taken up), [`run`] (the steps), then these: [`undone_canary`], [`replacement`] of the
//! database as [`database`] decides (kept or restored, and why), [`stable_host`], [`health`], [`traffic`]; [`recording`] at the host, [`give_up`].
//!
//! Must not know: arguments, how anything is printed.

mod begin;
mod database;
mod error;
mod give_up;
mod given;
mod health;
mod journal;
mod plan;
mod recording;
mod rehearsal;
mod replacement;
mod run;
mod stable_host;
#[cfg(test)]
mod tests;
mod tokens;
mod traffic;
mod undone_canary;

pub use database::{AcceptedLoss, DatabaseChoice};
pub use error::RollbackError;
pub(crate) use give_up::{give_up_for_upgrade, may_give_up};
pub use journal::{PastRollback, PastStep, RollbackStep, SetAside, read_history};
pub use plan::{RollbackPlan, TrafficPlan};
pub use rehearsal::rehearse_rollback;
pub(crate) use rehearsal::{describe_rollback, read_way_back};
pub use run::{Rollback, RollbackReport};
