//! The HRM, the arbiter inside the host: redacts what is proposed, gathers the facts, asks the policies, combines their verdicts, reserves
//! what was approved and hands the decision to the store.
//!
//! Reading order: [`proposal`] (what goes in and out), [`handle`], [`arbiter`] (the thread), [`ledger`] (facts and reservations), [`lists`], [`chain`] (the policies), [`combine`]
//! (the outcome), [`record`] (its form in the audit log), [`orders`] (halts and quarantines), [`library`] (what judged, for judging again), [`redaction`], [`guards`],
//! [`services`] (what agents' host calls are answered from).
//!
//! Must not know: HTTP, who subscribes to which topic, how agents run.

mod arbiter;
pub mod chain;
mod combine;
pub mod diff;
pub mod evidence;
pub mod guards;
mod handle;
mod ledger;
pub mod library;
mod lists;
mod metering;
mod orders;
mod proposal;
pub mod record;
pub mod redaction;
pub mod replay;
mod services;

pub use combine::combine_verdicts;
pub use handle::Hrm;
pub use ledger::ExecutionStatus;
pub use orders::{ALERT_TOPIC, alert_message};
pub use proposal::{
    Attestation, AttestationReceipt, AttestedFact, Batch, BatchAnswer, ExecutionReceipt,
    ExecutionReport, HrmConfig, HrmError, IdempotencyKey, InvocationAction, InvocationCommit,
    IssuedOrder, OrderReceipt, PolicySwap, Proposal, ProposalAnswer, Resolution, ResolutionAnswer,
    ResolutionReceipt,
};
pub use record::decode_decision_row;
pub use services::{LiveServices, manifest_refusal};
