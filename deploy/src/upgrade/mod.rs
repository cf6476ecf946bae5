//! `ark upgrade`: a new version takes the data of the host on this machine over, or the old one has it back.
//!
//! The new version checks the machine and judges the recorded decisions of a snapshot again before anything is stopped. Then the host is
//! exchanged while a front, or the socket of systemd, keeps what arrives, and the new one is validated. What fails after the old host was
//! stopped goes back by the steps of [`crate::rollback`].
//!
//! Invariants: every step is in the journal before it is taken; a run that was killed is gone on with by its journal. No decision of the new
//! version is given up without a number of them that may be set aside. An upgrade goes on with the version with which it was begun, known by its
//! digest.
//!
//! Must not know: arguments, how anything is printed.

mod back_plan;
mod error;
mod given;
mod journal;
mod machine;
mod rehearsal;
mod run;
#[cfg(test)]
mod tests;
mod way_back;

pub use error::UpgradeError;
pub use journal::{UpgradePlan, UpgradeStep, UpgradeVerb};
pub use rehearsal::rehearse_upgrade;
pub use run::{Upgrade, UpgradeReport};
