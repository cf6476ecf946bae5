//! The arbiter: the one owner of the ledger and of the order in which requests are decided. One thread at a time uses it.
//!
//! Invariants:
//! * A request is answered after its commit is durable, never before.
//! * Proposals are judged in the order in which they are committed, and each is judged with the reservations of those before it.
//! * When a transaction fails, everything decided after it fails too, and the ledger is loaded again before the next judgement.
//!
//! Reading order: this file, [`turns`] (who uses the arbiter), [`state`] (what it owns), [`judgement`] (one decision), [`proposals`], then a file for each other
//! kind of request; [`idempotency`] and [`commit`] hold what all of them share.
//!
//! Must not know: HTTP, subscribers of topics, how agents run.

mod approvals;
mod attestations;
mod commit;
mod executions;
mod feedback;
mod held_actions;
mod idempotency;
mod judgement;
mod orders;
mod pending_swaps;
mod policy_swap;
mod proposals;
mod recent_keys;
mod state;
mod turns;
mod unrecorded_orders;

use std::ops::ControlFlow;
use std::sync::Arc;

use ark_model::ids::Millis;

use super::request::HrmRequest;
pub use executions::{LATE_FILL, OVERFILL, UNMATCHED_CLOSE};
pub use idempotency::{RefusedRequest, RequestScope};
pub(super) use state::{Arbiter, ViolationCounts};
pub(super) use turns::Turns;

impl Arbiter {
    /// Serves a request out of a queue, after the ledger was loaded again if a commit failed. Rejects it when that is not possible. Breaks at
    /// [`HrmRequest::Stop`].
    pub(super) fn serve_queued(&mut self, request: HrmRequest) -> ControlFlow<()> {
        if matches!(request, HrmRequest::Stop) {
            return ControlFlow::Break(());
        }
        match self.reload_if_stale() {
            Ok(()) => {
                self.record_orders_again();
                self.serve_request(request);
            }
            Err(error) => {
                tracing::error!(%error, "the ledger cannot be loaded: what needs it is denied");
                match request {
                    // A halt needs no ledger, and must not fail for want of one.
                    HrmRequest::CarryOutOrder(order, reply) if order.tightens() => {
                        self.carry_out_order(*order, reply);
                    }
                    request => request.reject_with(error),
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Serves a request with the ledger as it is.
    pub(super) fn serve_request(&mut self, request: HrmRequest) {
        match request {
            HrmRequest::Propose(redacted, reply) => self.judge_proposal(redacted, reply),
            HrmRequest::Preview(redacted, reply) => {
                let now = Millis::now();
                self.ledger.advance_to(now);
                let decision = self.decide_action(*redacted, now);
                reply(Ok(Arc::new(decision)));
            }
            HrmRequest::CommitInvocation(commit, redacted, reply) => {
                self.commit_invocation(*commit, redacted, reply);
            }
            HrmRequest::RecordExecution(report, reply) => self.record_execution(&report, reply),
            HrmRequest::CarryOutOrder(order, reply) => self.carry_out_order(*order, reply),
            HrmRequest::ProposeBatch(batch, redacted, reply) => {
                self.judge_batch(*batch, redacted, reply);
            }
            HrmRequest::ResolveApproval(resolution, reply) => {
                self.resolve_approval(&resolution, reply);
            }
            HrmRequest::ExpireApprovals => self.expire_approvals(Millis::now()),
            HrmRequest::RecordAttestation(attestation, reply) => {
                self.record_attestation(*attestation, reply);
            }
            HrmRequest::SwapPolicies(swap, reply) => self.swap_policies(*swap, reply),
            HrmRequest::Stop => {}
        }
    }
}
