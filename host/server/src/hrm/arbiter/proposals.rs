//! Judging proposals and committing their decisions: one, a batch, or those of an invocation.

use std::sync::Arc;
use std::time::Instant;

use crate::hrm::error::{HrmError, RecordFailure};
use crate::hrm::request::{
    BatchAnswer, HrmReply, InvocationCommit, Proposal, ProposalAnswer, ProposalBatch,
    RedactedProposal,
};
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::{Millis, Name};
use ark_store::{CommitDeadline, CommitError, DeliveryCompletion, DeliveryResult, StorageError};

use super::idempotency::{batch_scope, format_ids, parse_id, parse_ids, proposal_scope};
use super::state::Arbiter;

impl Arbiter {
    /// Judges a proposal and commits the decision.
    pub(super) fn judge_proposal(
        &mut self,
        mut redacted: Box<RedactedProposal>,
        reply: HrmReply<ProposalAnswer>,
    ) {
        let started = Instant::now();
        let key = redacted.proposal.idempotency.take();
        let Proposal {
            agent, submitter, ..
        } = &redacted.proposal;
        let scope = proposal_scope(&self.store, agent, submitter, key.as_ref());
        let repeated = |answer: &str| parse_id(answer).map(ProposalAnswer::Repeated);
        let deadline = redacted.proposal.deadline.take();
        let Some(reply) = self.check_idempotency(&scope, key.as_ref(), reply, repeated) else {
            claim_answered(deadline.as_ref());
            return;
        };
        let allowed = self
            .check_quarantine([&redacted.proposal.agent])
            .and_then(|()| check_deadline(deadline.as_ref()));
        if let Err(error) = allowed {
            return reply(Err(error));
        }
        let now = Millis::now();
        let reduces_risk = redacted.proposal.action.reduces_risk();
        if let Err(error) = self.check_room(std::slice::from_ref(&*redacted), now) {
            return reply(Err(error));
        }
        let mut unit = self.begin_unit(now);
        unit.deadline = deadline;
        unit.may_use_reserve = reduces_risk;
        unit.charged_to = Some(redacted.proposal.charged_to.clone());
        let times = (redacted.accepted_at, started);
        let decision = match self.decide_and_stage(*redacted, now, &mut unit) {
            Ok(decision) => decision,
            Err(error) => return reply(Err(error)),
        };
        self.stage_answer(&scope, key, || decision.id.to_string(), &mut unit);
        self.submit_decisions(unit, [decision], times, None, reply, |[decision]| {
            ProposalAnswer::Decided(decision)
        });
    }

    /// Judges the proposals of a batch and commits their decisions together.
    pub(super) fn judge_batch(
        &mut self,
        batch: ProposalBatch,
        proposals: Vec<RedactedProposal>,
        reply: HrmReply<BatchAnswer>,
    ) {
        let started = Instant::now();
        let scope = batch_scope(&batch.by);
        let key = batch.idempotency;
        let repeated = |answer: &str| parse_ids(answer).map(BatchAnswer::Repeated);
        let Some(reply) = self.check_idempotency(&scope, key.as_ref(), reply, repeated) else {
            claim_answered(batch.deadline.as_ref());
            return;
        };
        let agents = proposals.iter().map(|redacted| &redacted.proposal.agent);
        let allowed = self
            .check_quarantine(agents)
            .and_then(|()| check_deadline(batch.deadline.as_ref()));
        if let Err(error) = allowed {
            return reply(Err(error));
        }
        let now = Millis::now();
        if let Err(error) = self.check_room(&proposals, now) {
            return reply(Err(error));
        }
        let mut unit = self.begin_unit(now);
        unit.deadline = batch.deadline;
        unit.may_use_reserve = reduce_risk(&proposals);
        unit.charged_to = proposals
            .first()
            .map(|redacted| redacted.proposal.charged_to.clone());
        let times = (first_accepted(&proposals, started), started);
        let decisions = match self.decide_all(proposals, now, &mut unit) {
            Ok(decisions) => decisions,
            Err(error) => return reply(Err(error)),
        };
        let answer = || format_ids(decisions.iter().map(|decision| &decision.id));
        self.stage_answer(&scope, key, answer, &mut unit);
        self.submit_decisions(unit, decisions, times, None, reply, BatchAnswer::Decided);
    }

    /// Judges the actions of an invocation and commits its effects with the completion of its delivery.
    pub(super) fn commit_invocation(
        &mut self,
        commit: InvocationCommit,
        proposals: Vec<RedactedProposal>,
        reply: HrmReply<Vec<Arc<Decision>>>,
    ) {
        let started = Instant::now();
        let deadline = CommitDeadline::at(commit.deadline);
        let allowed = self
            .check_quarantine([&commit.agent])
            .and_then(|()| check_deadline(Some(&deadline)));
        if let Err(error) = allowed {
            return reply(Err(error));
        }
        let now = Millis::now();
        let writes = commit.state.len() + commit.memories.len() + commit.truths.len();
        let room = if writes == 0 {
            self.check_room(&proposals, now)
        } else {
            self.check_room(&[], now)
        };
        if let Err(error) = room {
            return reply(Err(error));
        }
        let mut unit = self.begin_unit(now);
        unit.deadline = Some(deadline);
        unit.may_use_reserve = writes == 0 && reduce_risk(&proposals);
        unit.delivery = Some(DeliveryCompletion {
            signal: commit.signal.id,
            agent: commit.agent.clone(),
            result: DeliveryResult::Done,
            at: now,
        });
        unit.state = commit.state;
        unit.memories = commit.memories;
        unit.truths = commit.truths;
        unit.agent = Some(commit.agent);
        unit.trace_id = Some(commit.signal.trace_id);
        #[cfg(feature = "faults")]
        if crate::faults::has_fault(crate::faults::Fault::LosesTraces) {
            unit.trace_id = Some(ark_model::ids::TraceId::fresh());
        }
        unit.at = now;
        let times = (first_accepted(&proposals, started), started);
        let decisions = match self.decide_all(proposals, now, &mut unit) {
            Ok(decisions) => decisions,
            Err(error) => return reply(Err(error)),
        };
        let cause = Some((commit.signal.id, commit.deployment));
        self.submit_decisions(unit, decisions, times, cause, reply, |decisions| decisions);
    }

    /// Refuses what the database's reserve is not for when nothing else is left: everything but actions that reduce risk and are not denied.
    ///
    /// Checked before anything is judged: a unit that the writer refuses would have the ledger loaded again. A denied action is not recorded then, so
    /// that nobody can use the reserve up with actions that come to nothing.
    fn check_room(&mut self, proposals: &[RedactedProposal], now: Millis) -> Result<(), HrmError> {
        if !self.store.is_reserve_only() {
            return Ok(());
        }
        self.ledger.advance_to(now);
        let may_use = reduce_risk(proposals)
            && proposals
                .iter()
                .all(|redacted| self.judge_action(redacted, now).outcome != Outcome::Denied);
        if may_use {
            return Ok(());
        }
        let full = CommitError::Storage(StorageError::ReserveOnly);
        Err(RecordFailure::Commit(full).into())
    }

    /// Refuses the proposals of an agent in quarantine.
    fn check_quarantine<'a>(
        &self,
        agents: impl IntoIterator<Item = &'a Name>,
    ) -> Result<(), HrmError> {
        let mut quarantined = agents
            .into_iter()
            .filter(|agent| self.guards.is_quarantined(agent));
        match quarantined.next() {
            Some(agent) => Err(HrmError::Quarantined(agent.clone())),
            None => Ok(()),
        }
    }
}

/// Whether there are proposals and each of them reduces risk.
fn reduce_risk(proposals: &[RedactedProposal]) -> bool {
    !proposals.is_empty()
        && proposals
            .iter()
            .all(|redacted| redacted.proposal.action.reduces_risk())
}

/// Claims the deadline of a repetition: its first request may be committed already, so the edge must not answer that nothing counts.
fn claim_answered(deadline: Option<&CommitDeadline>) {
    if let Some(deadline) = deadline {
        let _ = deadline.claim();
    }
}

fn check_deadline(deadline: Option<&CommitDeadline>) -> Result<(), HrmError> {
    match deadline {
        Some(deadline) if deadline.is_over() => Err(HrmError::DeadlineExceeded),
        _ => Ok(()),
    }
}

/// When the first of the proposals was handed to the HRM. An invocation without proposals has only the start of its judgement.
fn first_accepted(proposals: &[RedactedProposal], started: Instant) -> Instant {
    proposals
        .first()
        .map_or(started, |redacted| redacted.accepted_at)
}
