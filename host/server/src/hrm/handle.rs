//! The handle to the HRM: redacts on the caller's thread, then queues.
//!
//! There are two queues. What reduces risk (closing, cancelling) and the operators' orders wait in their own, which is emptied first: when
//! the host is so busy that it turns proposals away, those still find room. No proposer can fill more than its share of either.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Sender, TrySendError};

use ark_model::action::{Family, Parameters};
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::{DecisionId, Digest, Millis, Name};
use ark_model::meters::HrmMeters;
use ark_store::{PolicyRecord, Store, Unit};

use super::arbiter::Arbiter;
use super::chain::PolicyChain;
use super::guards::Guards;
use super::ledger::FactQuery;
use super::proposal::{
    Attestation, AttestationReceipt, Batch, BatchAnswer, ExecutionReceipt, ExecutionReport,
    HrmConfig, HrmError, InvocationCommit, IssuedOrder, OrderReceipt, PolicySwap, Proposal,
    ProposalAnswer, Resolution, ResolutionAnswer,
};
use super::redaction::{Findings, redact_action, redact_text};

pub(super) type Reply<T> = Box<dyn FnOnce(Result<T, HrmError>) + Send>;

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

/// A proposal after redaction: no secret passes this point.
pub(super) struct RedactedProposal {
    pub(super) proposal: Proposal,
    pub(super) findings: Findings,
    pub(super) data_subject: Option<String>,
    pub(super) identity: Digest,
    pub(super) refusal: Option<String>,
    /// Somebody approved this very action.
    pub(super) approval: Option<ApprovedAction>,
    /// When it was handed over.
    pub(super) accepted_at: Instant,
    /// Its place among its proposer's, until it is decided.
    pub(super) queue_place: Option<QueuePlace>,
}

/// The approval under which an action is judged again.
pub(super) struct ApprovedAction {
    /// The decision that held it, and when.
    pub(super) held_id: DecisionId,
    pub(super) held_at: Millis,
    /// Who approved it now, and before.
    pub(super) by: String,
    pub(super) earlier_approvers: Vec<String>,
    /// Digest of the data subject's name before redaction.
    pub(super) subject_digest: Option<Digest>,
}

/// How many decisions broke rules, by proposer.
pub(super) type ViolationCounts = Arc<Mutex<HashMap<Name, u32>>>;

/// How many proposals of each proposer wait.
type WaitingCounts = Arc<Mutex<HashMap<Name, usize>>>;

/// One waiting proposal's place.
pub(super) struct QueuePlace {
    waiting: WaitingCounts,
    proposer: Name,
}

impl QueuePlace {
    /// Takes a place, unless the proposer has `most` already.
    fn reserve(waiting: &WaitingCounts, proposer: &Name, most: usize) -> Option<Self> {
        let mut counts = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(proposer) {
            Some(count) if *count >= most => return None,
            Some(count) => *count += 1,
            None => {
                counts.insert(proposer.clone(), 1);
            }
        }
        Some(Self {
            waiting: Arc::clone(waiting),
            proposer: proposer.clone(),
        })
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut counts = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.proposer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.proposer);
            }
        }
    }
}

impl RedactedProposal {
    fn new(mut proposal: Proposal, refusal: Option<String>) -> Self {
        let accepted = Instant::now();
        let data_subject = match &proposal.action.parameters {
            Parameters::Data(data) => data.subject.clone(),
            _ => None,
        };
        let (action, findings) = redact_action(proposal.action);
        proposal.action = action;
        // Serialising finite numbers and strings cannot fail; an empty text would only make actions look identical, which is stricter.
        let canonical = serde_json::to_vec(&proposal.action).unwrap_or_default();
        let identity = action_identity(&proposal.agent, &canonical);
        Self {
            proposal,
            findings,
            data_subject,
            identity,
            refusal,
            approval: None,
            accepted_at: accepted,
            queue_place: None,
        }
    }

    pub(super) fn fact_query(&self) -> FactQuery<'_> {
        FactQuery {
            agent: &self.proposal.agent,
            action: &self.proposal.action,
            identity: self.identity,
            findings: &self.findings,
            data_subject: self.data_subject.as_deref(),
            subject_digest: self
                .approval
                .as_ref()
                .and_then(|approved| approved.subject_digest),
            causal_depth: self.proposal.causal_depth,
        }
    }
}

pub(super) fn action_identity(agent: &Name, canonical_action: &[u8]) -> Digest {
    Digest::hash_parts([agent.as_str().as_bytes(), b"\0", canonical_action])
}

/// The handle to the HRM. Cheap to clone; the thread ends on [`Hrm::close`].
#[derive(Clone)]
pub struct Hrm {
    requests: Sender<HrmRequest>,
    urgent: Sender<HrmRequest>,
    waiting_counts: WaitingCounts,
    proposer_share: usize,
    guards: Arc<Guards>,
    announcing: Arc<AtomicBool>,
    violations: ViolationCounts,
    meters: Arc<HrmMeters>,
    thread: Arc<std::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl Hrm {
    /// Loads the ledger and starts the thread.
    ///
    /// # Errors
    /// [`HrmError::NotRecorded`] when the store cannot be read, or the policies' identities not be written to it.
    pub fn start(
        config: HrmConfig,
        chain: &PolicyChain,
        guards: Arc<Guards>,
        store: Store,
    ) -> Result<Self, HrmError> {
        let policies = chain
            .list_identities()
            .map(|identity| {
                let metadata_json = serde_json::to_string(&identity.metadata)
                    .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
                Ok(PolicyRecord {
                    digest: identity.digest,
                    metadata_json,
                })
            })
            .collect::<Result<_, HrmError>>()?;
        store
            .commit(Unit {
                policies,
                ..Unit::default()
            })
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        let meters = Arc::clone(&config.meters);
        chain.report_in_force(&meters);
        let share = (config.queue / 4).max(1);
        let (requests, inbox) = crossbeam_channel::bounded(config.queue);
        let (urgent, first) = crossbeam_channel::bounded(share);
        let announce = Arc::new(AtomicBool::new(false));
        let violations = ViolationCounts::default();
        let arbiter = Arbiter::new(
            config,
            chain,
            Arc::clone(&guards),
            store,
            Arc::clone(&announce),
            Arc::clone(&violations),
        )?;
        let thread = std::thread::Builder::new()
            .name("ark-hrm".to_owned())
            .spawn(move || arbiter.run(&first, &inbox))
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        Ok(Self {
            requests,
            urgent,
            waiting_counts: WaitingCounts::default(),
            proposer_share: share,
            guards,
            announcing: announce,
            violations,
            meters,
            thread: Arc::new(std::sync::Mutex::new(Some(thread))),
        })
    }

    /// Whether decisions and executions are announced as signals (`ark.decision`, `ark.execution`): only worth a row when somebody
    /// listens.
    pub fn set_announcing(&self, on: bool) {
        self.announcing.store(on, Ordering::Release);
    }

    /// Whether somebody listens to what the host announces.
    #[must_use]
    pub fn is_announcing(&self) -> bool {
        self.announcing.load(Ordering::Acquire)
    }

    /// How many decisions broke rules since the last call, by proposer.
    #[must_use]
    pub fn take_violations(&self) -> HashMap<Name, u32> {
        std::mem::take(
            &mut *self
                .violations
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Whether this decision led to a message in the outbox.
    #[must_use]
    pub fn sends_message(&self, decision: &Decision) -> bool {
        match decision.action.parameters.family() {
            Family::Message => decision.outcome == Outcome::Approved,
            _ => self.announcing.load(Ordering::Acquire),
        }
    }

    /// Judges and records a proposal. `reply` is called once the decision is durable, on the writer's thread: it must be quick.
    pub fn propose_action(&self, proposal: Proposal, reply: Reply<ProposalAnswer>) {
        if self.guards.is_quarantined(&proposal.agent) {
            return reply(Err(HrmError::Quarantined(proposal.agent)));
        }
        let Some(place) =
            QueuePlace::reserve(&self.waiting_counts, &proposal.agent, self.proposer_share)
        else {
            self.meters.queue_rejections.increment();
            return reply(Err(HrmError::Busy));
        };
        let urgent = proposal.action.reduces_risk();
        let mut redacted = RedactedProposal::new(proposal, None);
        redacted.queue_place = Some(place);
        let queue = if urgent { &self.urgent } else { &self.requests };
        self.enqueue_request(queue, HrmRequest::Propose(Box::new(redacted), reply));
    }

    /// Judges a proposal as if it came now; records and reserves nothing.
    pub fn preview_action(
        &self,
        proposal: Proposal,
        refusal: Option<String>,
        reply: Reply<Arc<Decision>>,
    ) {
        self.enqueue_request(
            &self.requests,
            HrmRequest::Preview(Box::new(RedactedProposal::new(proposal, refusal)), reply),
        );
    }

    /// Judges an invocation's actions and commits everything it wants to have committed.
    pub fn commit_invocation(
        &self,
        settlement: InvocationCommit,
        reply: Reply<Vec<Arc<Decision>>>,
    ) {
        let redacted = settlement
            .actions
            .iter()
            .map(|item| {
                let proposal = Proposal {
                    agent: settlement.agent.clone(),
                    submitter: settlement.agent.to_string(),
                    trace_id: settlement.signal.trace_id,
                    action: item.action.clone(),
                    causal_depth: settlement.signal.causal_depth,
                    idempotency: None,
                    deadline: None,
                };
                RedactedProposal::new(proposal, item.refusal.clone())
            })
            .collect();
        self.enqueue_request(
            &self.requests,
            HrmRequest::CommitInvocation(Box::new(settlement), redacted, reply),
        );
    }

    /// Books an execution report.
    pub fn report_execution(&self, report: ExecutionReport, reply: Reply<ExecutionReceipt>) {
        self.enqueue_request(
            &self.requests,
            HrmRequest::RecordExecution(Box::new(report), reply),
        );
    }

    /// Judges several proposals and commits them together, all or none.
    pub fn propose_batch(&self, mut batch: Batch, reply: Reply<BatchAnswer>) {
        let redacted = std::mem::take(&mut batch.proposals)
            .into_iter()
            .map(|proposal| RedactedProposal::new(proposal, None))
            .collect();
        self.enqueue_request(
            &self.requests,
            HrmRequest::ProposeBatch(Box::new(batch), redacted, reply),
        );
    }

    /// Approves or rejects what is held. `reply` is called once it is durable.
    pub fn resolve_approval(&self, mut resolution: Resolution, reply: Reply<ResolutionAnswer>) {
        resolution.comment = redact_text(&resolution.comment);
        self.enqueue_request(
            &self.requests,
            HrmRequest::ResolveApproval(Box::new(resolution), reply),
        );
    }

    /// Takes in what an operator attests. `reply` is called once it is durable.
    pub fn record_attestation(&self, attestation: Attestation, reply: Reply<AttestationReceipt>) {
        let request = HrmRequest::RecordAttestation(Box::new(attestation), reply);
        // A new restriction must not be lost to a flood of proposals.
        if let Err(error) = self.urgent.send(request) {
            error.into_inner().reject_with(HrmError::Closed);
        }
    }

    /// Exchanges the operator policies, for everything judged from then on. `reply` is called once that is durable; if it cannot be made so,
    /// nothing has changed.
    pub fn swap_policies(&self, swap: PolicySwap, reply: Reply<()>) {
        // As with an order: a policy that tightens must not be lost to a flood of proposals.
        if let Err(error) = self
            .urgent
            .send(HrmRequest::SwapPolicies(Box::new(swap), reply))
        {
            error.into_inner().reject_with(HrmError::Closed);
        }
    }

    /// Settles the approvals whose time is over. Called from time to time.
    pub fn expire_approvals(&self) {
        self.enqueue_request(&self.requests, HrmRequest::ExpireApprovals);
    }

    /// Carries out an order. It is in force for everything judged from then on; `reply` is called once it is durable too.
    pub fn carry_out_order(&self, instruction: IssuedOrder, reply: Reply<OrderReceipt>) {
        // An order waits for its place: it must not be lost to a flood of proposals.
        if let Err(error) = self
            .urgent
            .send(HrmRequest::CarryOutOrder(Box::new(instruction), reply))
        {
            error.into_inner().reject_with(HrmError::Closed);
        }
    }

    fn enqueue_request(&self, queue: &Sender<HrmRequest>, request: HrmRequest) {
        let Err(error) = queue.try_send(request) else {
            return;
        };
        match error {
            TrySendError::Full(request) => {
                self.meters.queue_rejections.increment();
                request.reject_with(HrmError::Busy);
            }
            TrySendError::Disconnected(request) => request.reject_with(HrmError::Closed),
        }
    }

    /// Decides what is queued, then ends the thread.
    pub fn close(&self) {
        let _ = self.requests.send(HrmRequest::Stop);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the HRM thread ended in a panic");
        }
    }
}

impl HrmRequest {
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
