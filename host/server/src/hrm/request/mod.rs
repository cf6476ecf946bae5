//! The messages to the arbiter's thread: what can be asked of the HRM and what it answers.
//!
//! One file a kind of request. They are plain values: nothing here judges, stores or waits.

mod approval;
mod attestation;
mod execution;
mod idempotency;
mod identity;
mod invocation;
mod order;
mod proposal;
mod queue_place;
mod redacted;

use std::sync::Arc;

use ark_model::decision::Decision;
use ark_store::Unit;

use super::chain::ChainSlot;
use super::error::HrmError;

pub use approval::{Resolution, ResolutionAnswer, ResolutionReceipt};
pub use attestation::{Attestation, AttestationReceipt, AttestedFact};
pub use execution::{ExecutionReceipt, ExecutionReport, ExecutionStatus};
pub use idempotency::IdempotencyKey;
pub(super) use identity::{action_digest, repetition_identity};
pub use invocation::{InvocationAction, InvocationCommit};
pub use order::{IssuedOrder, OrderReceipt, alert_message};
pub use proposal::{Batch, BatchAnswer, Proposal, ProposalAnswer};
pub(super) use queue_place::{QueuePlace, WaitingCounts};
pub(super) use redacted::{ApprovedAction, RedactedProposal};

/// Receives the HRM's answer to a request.
pub(super) type Reply<T> = crate::reply::Reply<T, HrmError>;

/// A change of the operator policies in force.
pub struct PolicySwap {
    /// All operator policies from now on, in the order they are evaluated.
    pub slots: Vec<Arc<ChainSlot>>,
    /// What is committed with the swap: the change and its audit row. Nothing in it can be refused.
    pub unit: Unit,
}

/// A request in a queue of the arbiter's thread, with the reply it is owed.
pub(super) enum HrmRequest {
    Propose(Box<RedactedProposal>, Reply<ProposalAnswer>),
    Preview(Box<RedactedProposal>, Reply<Arc<Decision>>),
    CommitInvocation(
        Box<InvocationCommit>,
        Vec<RedactedProposal>,
        Reply<Vec<Arc<Decision>>>,
    ),
    RecordExecution(Box<ExecutionReport>, Reply<ExecutionReceipt>),
    CarryOutOrder(Box<IssuedOrder>, Reply<OrderReceipt>),
    ProposeBatch(Box<Batch>, Vec<RedactedProposal>, Reply<BatchAnswer>),
    ResolveApproval(Box<Resolution>, Reply<ResolutionAnswer>),
    RecordAttestation(Box<Attestation>, Reply<AttestationReceipt>),
    SwapPolicies(Box<PolicySwap>, Reply<()>),
    ExpireApprovals,
    Stop,
}

impl HrmRequest {
    /// Answers the request with an error.
    pub(super) fn reject_with(self, error: HrmError) {
        match self {
            Self::Propose(_, reply) => reply(Err(error)),
            Self::Preview(_, reply) => reply(Err(error)),
            Self::CommitInvocation(_, _, reply) => reply(Err(error)),
            Self::RecordExecution(_, reply) => reply(Err(error)),
            Self::CarryOutOrder(_, reply) => reply(Err(error)),
            Self::ProposeBatch(_, _, reply) => reply(Err(error)),
            Self::ResolveApproval(_, reply) => reply(Err(error)),
            Self::RecordAttestation(_, reply) => reply(Err(error)),
            Self::SwapPolicies(_, reply) => reply(Err(error)),
            Self::ExpireApprovals | Self::Stop => {}
        }
    }
}
