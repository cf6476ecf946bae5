//! The HRM, the arbiter inside the host: redacts what is proposed, gathers the facts, asks the policies, combines their verdicts, reserves
//! what was approved and hands the decision to the store.
//!
//! Reading order: [`proposal`] (what goes in and out), [`handle`], [`arbiter`] (the thread), [`ledger`] (facts and reservations), [`chain`] (the policies), [`combine`]
//! (the outcome), [`record`] (its form in the audit log), [`redaction`], [`guards`].
//!
//! Must not know: HTTP, who subscribes to which topic, how agents run.

mod arbiter;
pub mod chain;
mod combine;
pub mod evidence;
pub mod guards;
mod handle;
mod ledger;
mod proposal;
pub mod record;
pub mod redaction;
pub mod replay;

pub use combine::combine;
pub use handle::Hrm;
pub use ledger::ExecutionStatus;
pub use proposal::{
    Answer, ExecutionReceipt, ExecutionReport, HrmConfig, HrmError, IdempotencyKey,
    InvocationAction, Proposal, Settlement,
};
pub use record::decision_of;
