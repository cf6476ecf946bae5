//! The HRM (hierarchical reasoning module), the arbiter inside the host: it redacts proposals, gathers facts, evaluates the policies, combines their
//! verdicts, reserves what was approved and hands the decision to the store.
//!
//! Reading order: [`request`] (what can be asked and what is answered), [`handle`] (redaction and the queues), [`arbiter`] (judgement), [`ledger`]
//! (facts and reservations), [`policies_in_force`], [`combine`] (the outcome), [`record`] (the form in the audit log), [`redaction`], [`guards`],
//! [`services`] (the host calls of agents), [`offline`] (replay, evidence, comparison of policy versions, judging again).
//!
//! Must not know: HTTP, which agent subscribes to which topic, how agents run.

mod arbiter;
mod combine;
mod config;
mod error;
pub mod guards;
mod handle;
mod ledger;
mod metering;
mod offline;
pub mod policies_in_force;
pub mod record;
pub mod redaction;
mod report_refusal;
mod request;
mod services;
mod topics;

pub use arbiter::{LATE_FILL, OVERFILL, RefusedRequest, RequestScope, UNMATCHED_CLOSE};
pub use combine::combine_verdicts;
pub use config::HrmConfig;
pub use error::{HrmError, RecordFailure};
pub use handle::Hrm;
pub use ledger::check_veto;
pub use offline::{diff, evidence, library, rejudge, replay};
pub use record::decode_decision_row;
pub use report_refusal::ReportRefusal;
pub use request::{
    Attestation, AttestationReceipt, AttestedFact, BatchAnswer, ExecutionReceipt, ExecutionReport,
    IdempotencyKey, InvocationAction, InvocationCommit, IssuedOrder, OrderReceipt, PolicySwap,
    Proposal, ProposalAnswer, ProposalBatch, Resolution, ResolutionAnswer, ResolutionReceipt,
    alert_message,
};
pub use services::{LiveServices, ServiceHandles, manifest_refusal};
pub use topics::{ALERT_TOPIC, DECISION_TOPIC, EXECUTION_TOPIC};
