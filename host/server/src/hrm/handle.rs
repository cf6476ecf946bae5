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
use super::chain::Chain;
use super::guards::Guards;
use super::ledger::Subject;
use super::proposal::{
    Answer, Attestation, AttestationReceipt, Batch, BatchAnswer, ExecutionReceipt, ExecutionReport,
    HrmConfig, HrmError, Instruction, OrderReceipt, PolicySwap, Proposal, Resolution, Resolved,
    Settlement,
};
use super::redaction::{Findings, redact, redact_text};

pub(super) type Reply<T> = Box<dyn FnOnce(Result<T, HrmError>) + Send>;

pub(super) enum Request {
    Propose(Box<Redacted>, Reply<Answer>),
    Preview(Box<Redacted>, Reply<Arc<Decision>>),
    Settle(Box<Settlement>, Vec<Redacted>, Reply<Vec<Arc<Decision>>>),
    Execution(Box<ExecutionReport>, Reply<ExecutionReceipt>),
    Instruct(Box<Instruction>, Reply<OrderReceipt>),
    Batch(Box<Batch>, Vec<Redacted>, Reply<BatchAnswer>),
    Resolve(Box<Resolution>, Reply<Resolved>),
    Attest(Box<Attestation>, Reply<AttestationReceipt>),
    Swap(Box<PolicySwap>, Reply<()>),
    Expire,
    Stop,
}

/// A proposal after redaction: no secret passes this point.
pub(super) struct Redacted {
    pub(super) proposal: Proposal,
    pub(super) findings: Findings,
    pub(super) data_subject: Option<String>,
    pub(super) identity: Digest,
    pub(super) refusal: Option<String>,
    /// Somebody approved this very action.
    pub(super) approved: Option<Approved>,
    /// When it was handed over.
    pub(super) accepted: Instant,
    /// Its place among its proposer's, until it is decided.
    pub(super) place: Option<Place>,
}

/// The approval under which an action is judged again.
pub(super) struct Approved {
    /// The decision that held it, and when.
    pub(super) held: DecisionId,
    pub(super) held_at: Millis,
    /// Who approved it now, and before.
    pub(super) by: String,
    pub(super) earlier: Vec<String>,
    /// Digest of the data subject's name before redaction.
    pub(super) subject: Option<Digest>,
}

/// How many decisions broke rules, by proposer.
pub(super) type Violations = Arc<Mutex<HashMap<Name, u32>>>;

/// How many proposals of each proposer wait.
type Waiting = Arc<Mutex<HashMap<Name, usize>>>;

/// One waiting proposal's place.
pub(super) struct Place {
    waiting: Waiting,
    proposer: Name,
}

impl Place {
    /// Takes a place, unless the proposer has `most` already.
    fn take(waiting: &Waiting, proposer: &Name, most: usize) -> Option<Self> {
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

impl Drop for Place {
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

impl Redacted {
    fn new(mut proposal: Proposal, refusal: Option<String>) -> Self {
        let accepted = Instant::now();
        let data_subject = match &proposal.action.parameters {
            Parameters::Data(data) => data.subject.clone(),
            _ => None,
        };
        let (action, findings) = redact(proposal.action);
        proposal.action = action;
        // Serialising finite numbers and strings cannot fail; an empty text would only make actions look identical, which is stricter.
        let canonical = serde_json::to_vec(&proposal.action).unwrap_or_default();
        let identity = identity_of(&proposal.agent, &canonical);
        Self {
            proposal,
            findings,
            data_subject,
            identity,
            refusal,
            approved: None,
            accepted,
            place: None,
        }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            agent: &self.proposal.agent,
            action: &self.proposal.action,
            identity: self.identity,
            findings: &self.findings,
            data_subject: self.data_subject.as_deref(),
            subject_digest: self.approved.as_ref().and_then(|approved| approved.subject),
            causal_depth: self.proposal.causal_depth,
        }
    }
}

pub(super) fn identity_of(agent: &Name, canonical_action: &[u8]) -> Digest {
    Digest::of_parts([agent.as_str().as_bytes(), b"\0", canonical_action])
}

/// The handle to the HRM. Cheap to clone; the thread ends on [`Hrm::close`].
#[derive(Clone)]
pub struct Hrm {
    requests: Sender<Request>,
    urgent: Sender<Request>,
    waiting: Waiting,
    share: usize,
    guards: Arc<Guards>,
    announce: Arc<AtomicBool>,
    violations: Violations,
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
        chain: &Chain,
        guards: Arc<Guards>,
        store: Store,
    ) -> Result<Self, HrmError> {
        let policies = chain
            .identities()
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
        chain.tell(&meters);
        let share = (config.queue / 4).max(1);
        let (requests, inbox) = crossbeam_channel::bounded(config.queue);
        let (urgent, first) = crossbeam_channel::bounded(share);
        let announce = Arc::new(AtomicBool::new(false));
        let violations = Violations::default();
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
            waiting: Waiting::default(),
            share,
            guards,
            announce,
            violations,
            meters,
            thread: Arc::new(std::sync::Mutex::new(Some(thread))),
        })
    }

    /// Whether decisions and executions are announced as signals (`ark.decision`, `ark.execution`): only worth a row when somebody
    /// listens.
    pub fn announce(&self, on: bool) {
        self.announce.store(on, Ordering::Release);
    }

    /// Whether somebody listens to what the host announces.
    #[must_use]
    pub fn announces(&self) -> bool {
        self.announce.load(Ordering::Acquire)
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
    pub fn sends_on(&self, decision: &Decision) -> bool {
        match decision.action.parameters.family() {
            Family::Message => decision.outcome == Outcome::Approved,
            _ => self.announce.load(Ordering::Acquire),
        }
    }

    /// Judges and records a proposal. `reply` is called once the decision is durable, on the writer's thread: it must be quick.
    pub fn propose(&self, proposal: Proposal, reply: Reply<Answer>) {
        if self.guards.is_quarantined(&proposal.agent) {
            return reply(Err(HrmError::Quarantined(proposal.agent)));
        }
        let Some(place) = Place::take(&self.waiting, &proposal.agent, self.share) else {
            self.meters.turned_away.one();
            return reply(Err(HrmError::Busy));
        };
        let urgent = proposal.action.reduces_risk();
        let mut redacted = Redacted::new(proposal, None);
        redacted.place = Some(place);
        let queue = if urgent { &self.urgent } else { &self.requests };
        self.send(queue, Request::Propose(Box::new(redacted), reply));
    }

    /// Judges a proposal as if it came now; records and reserves nothing.
    pub fn preview(
        &self,
        proposal: Proposal,
        refusal: Option<String>,
        reply: Reply<Arc<Decision>>,
    ) {
        self.send(
            &self.requests,
            Request::Preview(Box::new(Redacted::new(proposal, refusal)), reply),
        );
    }

    /// Judges an invocation's actions and commits everything it wants to have committed.
    pub fn settle(&self, settlement: Settlement, reply: Reply<Vec<Arc<Decision>>>) {
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
                Redacted::new(proposal, item.refusal.clone())
            })
            .collect();
        self.send(
            &self.requests,
            Request::Settle(Box::new(settlement), redacted, reply),
        );
    }

    /// Books an execution report.
    pub fn report_execution(&self, report: ExecutionReport, reply: Reply<ExecutionReceipt>) {
        self.send(&self.requests, Request::Execution(Box::new(report), reply));
    }

    /// Judges several proposals and commits them together, all or none.
    pub fn propose_batch(&self, mut batch: Batch, reply: Reply<BatchAnswer>) {
        let redacted = std::mem::take(&mut batch.proposals)
            .into_iter()
            .map(|proposal| Redacted::new(proposal, None))
            .collect();
        self.send(
            &self.requests,
            Request::Batch(Box::new(batch), redacted, reply),
        );
    }

    /// Approves or rejects what is held. `reply` is called once it is durable.
    pub fn resolve(&self, mut resolution: Resolution, reply: Reply<Resolved>) {
        resolution.comment = redact_text(&resolution.comment);
        self.send(
            &self.requests,
            Request::Resolve(Box::new(resolution), reply),
        );
    }

    /// Takes in what an operator attests. `reply` is called once it is durable.
    pub fn attest(&self, attestation: Attestation, reply: Reply<AttestationReceipt>) {
        let request = Request::Attest(Box::new(attestation), reply);
        // A new restriction must not be lost to a flood of proposals.
        if let Err(error) = self.urgent.send(request) {
            error.into_inner().fail(HrmError::Closed);
        }
    }

    /// Exchanges the operator policies, for everything judged from then on. `reply` is called once that is durable; if it cannot be made so,
    /// nothing has changed.
    pub fn swap_policies(&self, swap: PolicySwap, reply: Reply<()>) {
        // As with an order: a policy that tightens must not be lost to a flood of proposals.
        if let Err(error) = self.urgent.send(Request::Swap(Box::new(swap), reply)) {
            error.into_inner().fail(HrmError::Closed);
        }
    }

    /// Settles the approvals whose time is over. Called from time to time.
    pub fn expire_approvals(&self) {
        self.send(&self.requests, Request::Expire);
    }

    /// Carries out an order. It is in force for everything judged from then on; `reply` is called once it is durable too.
    pub fn instruct(&self, instruction: Instruction, reply: Reply<OrderReceipt>) {
        // An order waits for its place: it must not be lost to a flood of proposals.
        if let Err(error) = self
            .urgent
            .send(Request::Instruct(Box::new(instruction), reply))
        {
            error.into_inner().fail(HrmError::Closed);
        }
    }

    fn send(&self, queue: &Sender<Request>, request: Request) {
        let Err(error) = queue.try_send(request) else {
            return;
        };
        match error {
            TrySendError::Full(request) => {
                self.meters.turned_away.one();
                request.fail(HrmError::Busy);
            }
            TrySendError::Disconnected(request) => request.fail(HrmError::Closed),
        }
    }

    /// Decides what is queued, then ends the thread.
    pub fn close(&self) {
        let _ = self.requests.send(Request::Stop);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the HRM thread ended in a panic");
        }
    }
}

impl Request {
    pub(super) fn fail(self, error: HrmError) {
        match self {
            Self::Propose(_, reply) => reply(Err(error)),
            Self::Preview(_, reply) => reply(Err(error)),
            Self::Settle(_, _, reply) => reply(Err(error)),
            Self::Execution(_, reply) => reply(Err(error)),
            Self::Instruct(_, reply) => reply(Err(error)),
            Self::Batch(_, _, reply) => reply(Err(error)),
            Self::Resolve(_, reply) => reply(Err(error)),
            Self::Attest(_, reply) => reply(Err(error)),
            Self::Swap(_, reply) => reply(Err(error)),
            Self::Expire | Self::Stop => {}
        }
    }
}
