//! `ark rollback`: back to the stable version, in seven steps, each in the journal before it is taken and harmless to repeat.
//!
//! Invariants: the newer version's decisions stay in the ledger wherever the stable version can open its database. Where it cannot, nothing is
//! done without a number of decisions that may be set aside, and the database that is replaced is kept. A rollback that was killed is gone on
//! with by its journal, whatever is asked of the next run.
//!
//! Reading order: [`plan`], [`journal`] (entries, history), [`database`] (kept or restored, and why), [`telemetry`] (is it the host's), [`operator`] (how one is begun, gone on with,
//! rehearsed and given up), [`steps`] (the run). Imports go one way: from [`operator`] to [`steps`], and from both to the files beside this one.
//!
//! Must not know: arguments, how anything is printed.

mod database;
mod error;
mod journal;
mod operator;
mod plan;
mod steps;
mod telemetry;
#[cfg(test)]
mod tests;

pub use database::{AcceptedLoss, DatabaseChoice};
pub use error::RollbackError;
pub use journal::{PastRollback, PastStep, RollbackStep, SetAside, read_history};
pub use operator::rehearse_rollback;
pub(crate) use operator::{describe_rollback, give_up_for_upgrade, may_give_up, read_way_back};
pub use plan::{RollbackPlan, TrafficPlan};
pub use steps::{Rollback, RollbackReport};
