//! The handle to the HRM: redacts on the caller's thread, then queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError};

use crate::model::action::{Family, Parameters};
use crate::model::decision::{Decision, Outcome};
use crate::model::ids::{Digest, Name};
use crate::store::{PolicyRecord, Store, Unit};

use super::arbiter::Arbiter;
use super::chain::Chain;
use super::guards::Guards;
use super::ledger::Subject;
use super::proposal::{
    Answer, ExecutionReceipt, ExecutionReport, HrmConfig, HrmError, Proposal, Settlement,
};
use super::redaction::{Findings, redact};

pub(super) type Reply<T> = Box<dyn FnOnce(Result<T, HrmError>) + Send>;

pub(super) enum Request {
    Propose(Box<Redacted>, Reply<Answer>),
    Preview(Box<Redacted>, Reply<Arc<Decision>>),
    Settle(Box<Settlement>, Vec<Redacted>, Reply<Vec<Arc<Decision>>>),
    Execution(Box<ExecutionReport>, Reply<ExecutionReceipt>),
    Stop,
}

/// A proposal after redaction: no secret passes this point.
pub(super) struct Redacted {
    pub(super) proposal: Proposal,
    pub(super) findings: Findings,
    pub(super) data_subject: Option<String>,
    pub(super) identity: Digest,
    pub(super) refusal: Option<String>,
}

impl Redacted {
    fn new(mut proposal: Proposal, refusal: Option<String>) -> Self {
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
        }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            agent: &self.proposal.agent,
            action: &self.proposal.action,
            identity: self.identity,
            findings: &self.findings,
            data_subject: self.data_subject.as_deref(),
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
    announce: Arc<AtomicBool>,
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
        let (requests, inbox) = crossbeam_channel::bounded(config.queue);
        let announce = Arc::new(AtomicBool::new(false));
        let arbiter = Arbiter::new(config, chain, guards, store, Arc::clone(&announce))?;
        let thread = std::thread::Builder::new()
            .name("ark-hrm".to_owned())
            .spawn(move || arbiter.run(&inbox))
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        Ok(Self {
            requests,
            announce,
            thread: Arc::new(std::sync::Mutex::new(Some(thread))),
        })
    }

    /// Whether decisions and executions are announced as signals (`ark.decision`, `ark.execution`): only worth a row when somebody
    /// listens.
    pub fn announce(&self, on: bool) {
        self.announce.store(on, Ordering::Release);
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
        self.send(Request::Propose(
            Box::new(Redacted::new(proposal, None)),
            reply,
        ));
    }

    /// Judges a proposal as if it came now; records and reserves nothing.
    pub fn preview(
        &self,
        proposal: Proposal,
        refusal: Option<String>,
        reply: Reply<Arc<Decision>>,
    ) {
        self.send(Request::Preview(
            Box::new(Redacted::new(proposal, refusal)),
            reply,
        ));
    }

    /// Judges an invocation's actions and commits everything it wants to have committed.
    pub fn settle(&self, settlement: Settlement, reply: Reply<Vec<Arc<Decision>>>) {
        let redacted = settlement
            .actions
            .iter()
            .map(|item| {
                let proposal = Proposal {
                    agent: settlement.agent.clone(),
                    trace_id: settlement.signal.trace_id,
                    action: item.action.clone(),
                    causal_depth: settlement.signal.causal_depth,
                    idempotency: None,
                };
                Redacted::new(proposal, item.refusal.clone())
            })
            .collect();
        self.send(Request::Settle(Box::new(settlement), redacted, reply));
    }

    /// Books an execution report.
    pub fn report_execution(&self, report: ExecutionReport, reply: Reply<ExecutionReceipt>) {
        self.send(Request::Execution(Box::new(report), reply));
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

    fn send(&self, request: Request) {
        if let Err(error) = self.requests.try_send(request) {
            let (request, error) = match error {
                TrySendError::Full(request) => (request, HrmError::Busy),
                TrySendError::Disconnected(request) => (request, HrmError::Closed),
            };
            request.fail(error);
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
            Self::Stop => {}
        }
    }
}
