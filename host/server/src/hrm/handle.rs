//! The handle to the HRM: it redacts on the caller's thread, then has the arbiter serve the request there, or puts it into a queue of the arbiter's thread.
//!
//! There are two queues. Proposals that reduce risk (closing, cancelling), halts, quarantines and what ends them wait in the urgent one, which is emptied first:
//! when the host is so busy that it refuses proposals, there is still room for them. No proposer can fill more than its share of either queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;

use ark_model::action::{Action, Family};
use ark_model::action_types::ActionTypes;
use ark_model::check::FieldError;
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::Name;
use ark_model::instrument::{InstrumentAliases, InstrumentKey};
use ark_model::meters::HrmMeters;
use ark_model::usage::QuotaHolder;
use ark_runtime::is_thread_priority_lowered;
use ark_store::{List, PolicyRecord, Store, Unit};

use super::arbiter::{Arbiter, Turns, ViolationCounts};
use super::config::HrmConfig;
use super::error::{HrmError, RecordFailure};
use super::guards::Guards;
use super::ledger::is_same_entry;
use super::policies_in_force::PoliciesInForce;
use super::redaction::redact_text;
use super::request::{
    Attestation, AttestationReceipt, BatchAnswer, ExecutionReceipt, ExecutionReport, HrmReply,
    HrmRequest, InvocationCommit, IssuedOrder, OrderReceipt, PolicySwap, Proposal, ProposalAnswer,
    ProposalBatch, QueuePlace, RedactedProposal, Resolution, ResolutionAnswer, WaitingCounts,
};

/// The handle to the HRM. Cheap to clone. The thread ends on [`Hrm::close`].
///
/// No method that takes a `reply` waits for the result. The reply is called once the result is durable, on the thread of the store's writer, or with a
/// refusal on whichever thread serves the request, the caller's too. So it must be quick, and must not wait for another request; see [`crate::reply`].
#[derive(Clone)]
pub struct Hrm {
    arbiter: Arc<Turns<Arbiter>>,
    requests: Sender<HrmRequest>,
    urgent: Sender<HrmRequest>,
    waiting_counts: WaitingCounts,
    proposer_share: usize,
    guards: Arc<Guards>,
    announcing: Arc<AtomicBool>,
    violations: ViolationCounts,
    action_types: Arc<ArcSwap<ActionTypes>>,
    meters: Arc<HrmMeters>,
    aliases: InstrumentAliases,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Hrm {
    /// Records the identities of the policies, loads the ledger and starts the thread.
    ///
    /// # Errors
    /// [`HrmError::NotRecorded`] when the store cannot be read or written, or the thread cannot be started.
    pub fn start(
        config: HrmConfig,
        in_force: &PoliciesInForce,
        guards: Arc<Guards>,
        store: &Store,
    ) -> Result<Self, HrmError> {
        let policies = in_force
            .list_identities()
            .map(|identity| {
                Ok(PolicyRecord {
                    digest: identity.digest,
                    metadata_json: serde_json::to_string(&identity.metadata)?,
                })
            })
            .collect::<Result<_, HrmError>>()?;
        store
            .commit(Unit {
                may_use_reserve: true,
                policies,
                ..Unit::default()
            })
            .map_err(RecordFailure::Commit)?;
        // Slow reads of others must not hold up decisions.
        let store = store
            .with_own_reader()
            .map_err(|error| RecordFailure::Open(Arc::new(error)))?;
        let meters = Arc::clone(&config.meters);
        let aliases = config.aliases.clone();
        in_force.report_in_force(&meters);
        let proposer_share = (config.queue / 4).max(1);
        let (requests, inbox) = crossbeam_channel::bounded(config.queue);
        let (urgent, urgent_inbox) = crossbeam_channel::bounded(proposer_share);
        let announcing = Arc::new(AtomicBool::new(false));
        let violations = ViolationCounts::default();
        let action_types = Arc::new(ArcSwap::from_pointee(config.action_types.clone()));
        let arbiter = Arbiter::new(
            config,
            in_force,
            Arc::clone(&guards),
            store,
            Arc::clone(&action_types),
            Arc::clone(&announcing),
            Arc::clone(&violations),
        )?;
        let arbiter = Arc::new(Turns::new(arbiter));
        let shared = Arc::clone(&arbiter);
        let thread = std::thread::Builder::new()
            .name("ark-hrm".to_owned())
            .spawn(move || {
                shared.serve_queues((&urgent_inbox, &inbox), Arbiter::serve_queued, |arbiter| {
                    arbiter.record_orders_again();
                });
                for request in urgent_inbox.try_iter().chain(inbox.try_iter()) {
                    request.reject_with(HrmError::Closed);
                }
            })
            .map_err(|error| RecordFailure::Thread(Arc::new(error)))?;
        Ok(Self {
            arbiter,
            requests,
            urgent,
            waiting_counts: WaitingCounts::default(),
            proposer_share,
            guards,
            announcing,
            violations,
            action_types,
            meters,
            aliases,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Turns the announcement of decisions and executions as signals (`ark.decision`, `ark.execution`) on or off. It costs a row each, so it is on
    /// only while an agent subscribes.
    pub fn set_announcing(&self, on: bool) {
        self.announcing.store(on, Ordering::Release);
    }

    /// Replaces the declared action types, for everything judged from then on.
    pub fn set_action_types(&self, declared: ActionTypes) {
        self.action_types.store(Arc::new(declared));
    }

    /// Returns the action types that the operator declares.
    #[must_use]
    pub fn action_types(&self) -> ActionTypes {
        ActionTypes::clone(&self.action_types.load())
    }

    /// Gives an action the form that its type is declared with.
    ///
    /// # Errors
    /// As [`ActionTypes::resolve`].
    pub fn resolve_action(&self, action: &mut Action) -> Result<(), FieldError> {
        self.action_types.load().resolve(action)
    }

    /// Gives the action the form that its type is declared with, and redacts the proposal. An action that does not fit the declaration cannot be
    /// judged, so it is refused.
    fn redact_proposal(&self, mut proposal: Proposal) -> RedactedProposal {
        let resolved = self.resolve_action(&mut proposal.action);
        let refusal = proposal.refusal.take().or_else(|| {
            let error = resolved.err()?;
            // An error quotes the request.
            Some(redact_text(&format!(
                "the action cannot be judged: {error}"
            )))
        });
        RedactedProposal::new(proposal, refusal, &self.aliases)
    }

    /// Returns whether an agent subscribes to what the host announces.
    #[must_use]
    pub fn is_announcing(&self) -> bool {
        self.announcing.load(Ordering::Acquire)
    }

    /// Returns, by agent, the number of decisions that violated rules since the last call.
    #[must_use]
    pub fn take_violations(&self) -> HashMap<Name, u32> {
        std::mem::take(&mut *self.violations.lock())
    }

    /// Returns whether this decision put a message into the outbox.
    #[must_use]
    pub fn sends_message(&self, decision: &Decision) -> bool {
        match decision.action.parameters.family() {
            Family::Message => decision.outcome == Outcome::Approved,
            _ => self.is_announcing(),
        }
    }

    /// Judges a proposal and records the decision.
    pub fn propose_action(&self, proposal: Proposal, reply: HrmReply<ProposalAnswer>) {
        // A key is compared first: a repetition gets the first answer in quarantine too.
        if proposal.idempotency.is_none() && self.guards.is_quarantined(&proposal.agent) {
            return reply(Err(HrmError::Quarantined(proposal.agent)));
        }
        let share = self.proposer_share;
        let Some(place) = QueuePlace::reserve(&self.waiting_counts, &proposal.agent, share) else {
            self.meters.queue_rejections.increment();
            return reply(Err(HrmError::Busy));
        };
        let mut redacted = self.redact_proposal(proposal);
        let queue = if redacted.proposal.action.reduces_risk() {
            &self.urgent
        } else {
            &self.requests
        };
        redacted.queue_place = Some(place);
        self.serve_or_enqueue(queue, HrmRequest::Propose(Box::new(redacted), reply));
    }

    /// Judges a proposal as if it came now. Nothing is recorded or reserved.
    pub fn preview_action(&self, proposal: Proposal, reply: HrmReply<Arc<Decision>>) {
        let redacted = self.redact_proposal(proposal);
        self.enqueue_request(
            &self.requests,
            HrmRequest::Preview(Box::new(redacted), reply),
        );
    }

    /// Judges the actions of an invocation and commits its effects, all or none.
    pub fn commit_invocation(
        &self,
        mut commit: InvocationCommit,
        reply: HrmReply<Vec<Arc<Decision>>>,
    ) {
        let redacted = std::mem::take(&mut commit.actions)
            .into_iter()
            .map(|item| {
                let proposal = Proposal {
                    agent: commit.agent.clone(),
                    submitter: commit.agent.to_string(),
                    charged_to: QuotaHolder::Agent(commit.agent.clone()),
                    trace_id: commit.signal.trace_id,
                    action: item.action,
                    refusal: item.refusal,
                    causal_depth: commit.signal.causal_depth,
                    idempotency: None,
                    deadline: None,
                };
                self.redact_proposal(proposal)
            })
            .collect();
        self.serve_or_enqueue(
            &self.requests,
            HrmRequest::CommitInvocation(Box::new(commit), redacted, reply),
        );
    }

    /// Judges several proposals and commits their decisions, all or none.
    pub fn propose_batch(&self, mut batch: ProposalBatch, reply: HrmReply<BatchAnswer>) {
        let redacted = std::mem::take(&mut batch.proposals)
            .into_iter()
            .map(|proposal| self.redact_proposal(proposal))
            .collect();
        self.enqueue_request(
            &self.requests,
            HrmRequest::ProposeBatch(Box::new(batch), redacted, reply),
        );
    }

    /// Records an execution report.
    pub fn report_execution(&self, report: ExecutionReport, reply: HrmReply<ExecutionReceipt>) {
        self.enqueue_request(
            &self.requests,
            HrmRequest::RecordExecution(Box::new(report), reply),
        );
    }

    /// Approves or rejects a held action.
    pub fn resolve_approval(&self, mut resolution: Resolution, reply: HrmReply<ResolutionAnswer>) {
        resolution.comment = redact_text(&resolution.comment);
        self.enqueue_request(
            &self.requests,
            HrmRequest::ResolveApproval(Box::new(resolution), reply),
        );
    }

    /// Expires the approvals that nobody resolved in time. To be called regularly.
    pub fn expire_approvals(&self) {
        self.enqueue_request(&self.requests, HrmRequest::ExpireApprovals);
    }

    /// Returns the key of the instrument that a symbol names.
    #[must_use]
    pub fn find_instrument(&self, symbol: &str) -> InstrumentKey {
        self.aliases.find_key(symbol)
    }

    /// Returns the keys, as they are without aliases, of all spellings that name the same instrument as a symbol.
    #[must_use]
    pub fn list_spellings(&self, symbol: &str) -> Vec<InstrumentKey> {
        self.aliases.list_spellings(symbol)
    }

    /// Whether two keys of a list address one entry: the same text, or in a list of instruments two spellings of one symbol.
    #[must_use]
    pub fn is_same_entry(&self, list: List, one: &str, other: &str) -> bool {
        is_same_entry(&self.aliases, list, one, other)
    }

    /// Records what an operator attests. It is a fact for everything judged from then on. Waits for room in the urgent queue.
    pub fn record_attestation(
        &self,
        attestation: Attestation,
        reply: HrmReply<AttestationReceipt>,
    ) {
        self.send_urgent(HrmRequest::RecordAttestation(Box::new(attestation), reply));
    }

    /// Replaces the operator policies, for everything judged from then on. When the change cannot be made durable, the previous ones come back. Waits for
    /// room in the urgent queue.
    pub fn swap_policies(&self, swap: PolicySwap, reply: HrmReply<()>) {
        self.send_urgent(HrmRequest::SwapPolicies(Box::new(swap), reply));
    }

    /// Carries out an order. It is in force for everything judged from then on, before it is durable. Waits for room in the urgent queue.
    pub fn carry_out_order(&self, order: IssuedOrder, reply: HrmReply<OrderReceipt>) {
        self.send_urgent(HrmRequest::CarryOutOrder(Box::new(order), reply));
    }

    /// Sends an operator's request. It waits for room instead of being refused: a flood of proposals must not keep out an order.
    fn send_urgent(&self, request: HrmRequest) {
        if let Err(error) = self.urgent.send(request) {
            error.into_inner().reject_with(HrmError::Closed);
        }
    }

    /// Serves a request at once, on this thread, if nothing waits and it is quick to serve; queues it otherwise.
    fn serve_or_enqueue(&self, queue: &Sender<HrmRequest>, request: HrmRequest) {
        // A thread of low priority would hold the arbiter for long while others wait for it.
        let unserved = if is_thread_priority_lowered() {
            Some(request)
        } else {
            self.arbiter.serve_if_idle(
                request,
                || self.urgent.is_empty() && self.requests.is_empty(),
                Arbiter::is_quick_to_serve,
                Arbiter::serve_request,
            )
        };
        if let Some(request) = unserved {
            self.enqueue_request(queue, request);
        }
    }

    fn enqueue_request(&self, queue: &Sender<HrmRequest>, request: HrmRequest) {
        match queue.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => {
                self.meters.queue_rejections.increment();
                request.reject_with(HrmError::Busy);
            }
            Err(TrySendError::Disconnected(request)) => request.reject_with(HrmError::Closed),
        }
    }

    /// Answers what is queued, then ends the thread.
    pub fn close(&self) {
        let _ = self.requests.send(HrmRequest::Stop);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the HRM's thread ended in a panic");
        }
    }
}
