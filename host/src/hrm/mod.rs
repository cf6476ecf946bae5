//! The HRM, the arbiter inside the host: redacts what is proposed, gathers the facts, asks the policies, combines their verdicts, reserves
//! what was approved and hands the decision to the store.
//!
//! Reading order: [`arbiter`] (the thread and its handle), [`ledger`] (facts and reservations), [`chain`] (the policies), [`combine`]
//! (the outcome), [`record`] (its form in the audit log), [`redaction`], [`guards`].
//!
//! Must not know: HTTP, who subscribes to which topic, how agents run.

mod arbiter;
pub mod chain;
mod combine;
pub mod guards;
mod ledger;
pub mod record;
pub mod redaction;
pub mod replay;

pub use arbiter::{
    Answer, ExecutionReceipt, ExecutionReport, Hrm, HrmConfig, HrmError, IdempotencyKey,
    InvocationAction, Proposal, Settlement, decision_of,
};
pub use combine::combine;
pub use ledger::ExecutionStatus;
