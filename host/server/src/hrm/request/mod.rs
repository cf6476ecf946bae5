//! The messages to the arbiter: what can be asked of the HRM and what it answers.
//!
//! One file a kind of request. They are plain values: nothing here judges, stores or waits.

mod action_digests;
mod approval;
mod attestation;
mod execution;
mod idempotency;
mod invocation;
mod order;
mod proposal;
mod queue_place;
mod redacted;

use std::sync::Arc;

use ark_model::action::Family;
use ark_model::decision::Decision;
use ark_store::Unit;

use super::error::HrmError;
use super::policies_in_force::SlotInForce;

pub(super) use action_digests::{action_digest, repetition_key};
pub use approval::{Resolution, ResolutionAnswer, ResolutionReceipt};
pub use attestation::{Attestation, AttestationReceipt, AttestedFact};
pub use execution::{ExecutionReceipt, ExecutionReport};
pub use idempotency::IdempotencyKey;
pub use invocation::{InvocationAction, InvocationCommit};
pub use order::{IssuedOrder, OrderReceipt, alert_message};
pub use proposal::{BatchAnswer, Proposal, ProposalAnswer, ProposalBatch};
pub(super) use queue_place::{QueuePlace, WaitingCounts};
pub(super) use redacted::{ApprovedAction, RedactedProposal};

/// The most bytes of texts that a small request has.
const SMALL_TEXT_BYTES: usize = 8 * 1024;
/// The most proposals that a small request has.
const FEW_PROPOSALS: usize = 4;

/// Receives the HRM's answer to a request.
pub(super) type HrmReply<T> = crate::reply::Reply<T, HrmError>;

/// A change of the operator policies in force.
pub struct PolicySwap {
    /// All operator policies from now on, in the order they are evaluated.
    pub slots: Vec<Arc<SlotInForce>>,
    /// What is committed with the swap: the change and its audit row. Nothing in it can be refused.
    pub unit: Unit,
}

/// A request to the arbiter, with the reply it is owed.
pub(super) enum HrmRequest {
    Propose(Box<RedactedProposal>, HrmReply<ProposalAnswer>),
    Preview(Box<RedactedProposal>, HrmReply<Arc<Decision>>),
    CommitInvocation(
        Box<InvocationCommit>,
        Vec<RedactedProposal>,
        HrmReply<Vec<Arc<Decision>>>,
    ),
    RecordExecution(Box<ExecutionReport>, HrmReply<ExecutionReceipt>),
    CarryOutOrder(Box<IssuedOrder>, HrmReply<OrderReceipt>),
    ProposeBatch(
        Box<ProposalBatch>,
        Vec<RedactedProposal>,
        HrmReply<BatchAnswer>,
    ),
    ResolveApproval(Box<Resolution>, HrmReply<ResolutionAnswer>),
    RecordAttestation(Box<Attestation>, HrmReply<AttestationReceipt>),
    SwapPolicies(Box<PolicySwap>, HrmReply<()>),
    ExpireApprovals,
    Stop,
}

impl HrmRequest {
    /// Whether it is judged in little time, without reading the database. A proposal with an idempotency key has that compared there first, and so have
    /// most other kinds something to read or much to do. A preview may come from within a guest's call, whose stack has no room for a second guest's.
    pub(super) fn is_small(&self) -> bool {
        match self {
            Self::Propose(redacted, _) => {
                redacted.proposal.idempotency.is_none()
                    && are_small(std::slice::from_ref(&**redacted))
            }
            Self::CommitInvocation(_, proposals, _) => are_small(proposals),
            _ => false,
        }
    }

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

/// Whether few proposals with few bytes of texts are judged, and none of a family that is compared with much: a message with all instruments that
/// its words may name, a close with all open orders of the agent.
fn are_small(proposals: &[RedactedProposal]) -> bool {
    let is_compared = |redacted: &RedactedProposal| {
        matches!(
            redacted.proposal.action.parameters.family(),
            Family::Message | Family::ClosePosition
        )
    };
    let text_bytes = proposals.iter().map(|redacted| redacted.text_bytes);
    proposals.len() <= FEW_PROPOSALS
        && text_bytes.sum::<usize>() <= SMALL_TEXT_BYTES
        && !proposals.iter().any(is_compared)
}

#[cfg(test)]
mod tests;
