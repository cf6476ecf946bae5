//! `ark rollback`: back to the stable version, in seven steps, each in the journal before it is taken and harmless to repeat.
//!
//! Invariants: the newer version's decisions stay in the ledger wherever the stable version can open its database. Where it cannot, nothing is
//! done without a number of decisions that may be set aside, and the database that is replaced is kept. A rollback that was killed is gone on
//! with by its journal, whatever is asked of the next run.
//!
//! Reading order: [`plan`], [`journal`] (entries, history), [`database`] (kept or restored, and why), [`run`] (the steps), [`stable_host`], [`health`], [`traffic`],
//! [`token`] (made by a restore).
//!
//! Must not know: arguments, how anything is printed.

mod database;
mod error;
mod give_up;
mod given;
mod health;
mod journal;
mod plan;
mod rehearsal;
mod run;
mod stable_host;
#[cfg(test)]
mod tests;
mod tokens;
mod traffic;

pub use database::{AcceptedLoss, DatabaseChoice};
pub use error::RollbackError;
pub use journal::{PastRollback, PastStep, RollbackStep, SetAside, read_history};
pub use plan::{RollbackPlan, TrafficPlan};
pub use rehearsal::rehearse_rollback;
pub(crate) use rehearsal::{describe_rollback, read_way_back};
pub use run::{Rollback, RollbackReport};
pub(crate) use run::{give_up_for_upgrade, may_give_up};
