//! The HRM's thread: one owner of the ledger and of the order in which things are decided.
//!
//! Invariants:
//! * A decision is answered after its commit is durable, never before.
//! * Proposals are judged in the order in which they are committed, and each sees the reservations of those before it.
//! * When a commit fails, everything decided on top of it fails too, and the ledger is loaded anew before the next judgement.
//!
//! Must not know: HTTP, topics' subscribers, how agents run.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::model::action::{Action, Family, Parameters};
use crate::model::decision::{Decision, Outcome};
use crate::model::facts::Facts;
use crate::model::ids::{DecisionId, Digest, Fraction, Millis, Name, TraceId};
use crate::model::signal::Signal;
use crate::model::state::{NewMemory, StateWrite, TruthWrite};
use crate::store::{
    AuditEntry, AuditKind, CommitError, DeliveryDone, DeliveryResult, IdempotencyRecord,
    LedgerChange, OutboxMessage, PolicyRecord, Position, PositionStatus, Store, Unit,
};

use super::chain::{Chain, Judge};
use super::combine::combine;
use super::guards::Guards;
use super::ledger::{ExecutionStatus, Fill, Ledger, Subject};
use super::record::{self, Columns};
use super::redaction::{Findings, redact};

/// How the HRM works.
#[derive(Debug, Clone)]
pub struct HrmConfig {
    /// How many proposals may wait; past it callers are told to come back.
    pub queue: usize,
    /// How long an approved trade holds its exposure without an execution report.
    pub reservation_ttl: Duration,
}

impl Default for HrmConfig {
    fn default() -> Self {
        Self {
            queue: 4096,
            reservation_ttl: Duration::from_mins(10),
        }
    }
}

/// Why there is no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HrmError {
    /// Too many proposals wait.
    #[error("too many proposals are waiting; try again in a second")]
    Busy,
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Closed,
    /// The decision could not be made durable, so it does not count: the action is denied.
    #[error("the decision could not be recorded, so the action is denied: {0}")]
    NotRecorded(String),
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request; use a fresh key")]
    KeyReused,
    /// The invocation's effects collide with what was committed meanwhile. It may be run again.
    #[error("the state changed meanwhile: {0}")]
    Conflict(String),
    /// The delivery was already settled: nothing was committed.
    #[error("the delivery is already settled")]
    AlreadySettled,
    /// There is no such decision.
    #[error("there is no decision {0}")]
    UnknownDecision(DecisionId),
    /// Nothing can be executed on that decision: why.
    #[error("nothing can be executed on this decision: {0}")]
    NotExecutable(String),
}

/// A key under which a proposal's first answer is given again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The key, scoped to the proposing agent.
    pub key: String,
    /// Digest of the request it came with.
    pub request: Digest,
}

/// A proposal from outside an invocation.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Who proposes.
    pub agent: Name,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// What: checked by [`crate::model::check`].
    pub action: Action,
    /// How many signals led to it.
    pub causal_depth: u32,
    /// Under which key it is answered once only.
    pub idempotency: Option<IdempotencyKey>,
}

/// The answer to a proposal.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It was decided now.
    Decided(Arc<Decision>),
    /// It was decided before, under the same key: that decision.
    Seen(DecisionId),
}

/// One action of an invocation.
#[derive(Debug, Clone)]
pub struct InvocationAction {
    /// What: checked by [`crate::model::check`].
    pub action: Action,
    /// Why the host itself denies it, e.g. that the manifest does not grant its type.
    pub refusal: Option<String>,
}

/// What an invocation wants to have committed, all or nothing.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Whose invocation.
    pub agent: Name,
    /// The signal it handled.
    pub signal: Signal,
    /// What it proposes.
    pub actions: Vec<InvocationAction>,
    /// Its state writes.
    pub state: Vec<StateWrite>,
    /// Its memories.
    pub memories: Vec<NewMemory>,
    /// Its truths.
    pub truths: Vec<TruthWrite>,
}

/// What an executor reports.
#[derive(Debug, Clone)]
pub struct ExecutionReport {
    /// The executor's id of the report: a report seen before is acknowledged and changes nothing.
    pub execution_id: String,
    /// The approved action it is about.
    pub decision_id: DecisionId,
    /// What became of it.
    pub status: ExecutionStatus,
    /// How much was carried out in all so far; `None`: all of it.
    pub filled: Option<Fraction>,
    /// At which price.
    pub price: Option<f64>,
    /// What it realised, as a fraction of capital; a loss is negative.
    pub realised: Option<f64>,
}

/// The answer to an execution report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionReceipt {
    /// Whether it was seen before (nothing was changed now).
    pub duplicate: bool,
    /// The trace of the decision.
    pub trace_id: TraceId,
}

type Reply<T> = Box<dyn FnOnce(Result<T, HrmError>) + Send>;

enum Request {
    Propose(Box<Redacted>, Reply<Answer>),
    Preview(Box<Redacted>, Reply<Arc<Decision>>),
    Settle(Box<Settlement>, Vec<Redacted>, Reply<Vec<Arc<Decision>>>),
    Execution(Box<ExecutionReport>, Reply<ExecutionReceipt>),
    Stop,
}

/// A proposal after redaction: no secret passes this point.
struct Redacted {
    proposal: Proposal,
    findings: Findings,
    data_subject: Option<String>,
    identity: Digest,
    refusal: Option<String>,
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

    fn subject(&self) -> Subject<'_> {
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

fn identity_of(agent: &Name, canonical_action: &[u8]) -> Digest {
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
        let ledger = load(&store)?;
        let (requests, inbox) = crossbeam_channel::bounded(config.queue);
        let announce = Arc::new(AtomicBool::new(false));
        let arbiter = Arbiter {
            judge: chain.judge(),
            config,
            guards,
            store,
            ledger,
            keys: SeenKeys::default(),
            stale: Arc::new(AtomicBool::new(false)),
            announce: Arc::clone(&announce),
        };
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
    fn fail(self, error: HrmError) {
        match self {
            Self::Propose(_, reply) => reply(Err(error)),
            Self::Preview(_, reply) => reply(Err(error)),
            Self::Settle(_, _, reply) => reply(Err(error)),
            Self::Execution(_, reply) => reply(Err(error)),
            Self::Stop => {}
        }
    }
}

struct Arbiter {
    judge: Judge,
    config: HrmConfig,
    guards: Arc<Guards>,
    store: Store,
    ledger: Ledger,
    keys: SeenKeys,
    /// Set by a failed commit: the ledger holds what the database does not.
    stale: Arc<AtomicBool>,
    announce: Arc<AtomicBool>,
}

impl Arbiter {
    fn run(mut self, inbox: &Receiver<Request>) {
        while let Ok(request) = inbox.recv() {
            if self.stale.load(Ordering::Acquire)
                && let Err(error) = self.reload()
            {
                tracing::error!(%error, "the ledger cannot be loaded: denied");
                request.fail(error);
                continue;
            }
            match request {
                Request::Propose(redacted, reply) => self.propose(*redacted, reply),
                Request::Preview(redacted, reply) => {
                    let decision = self.decide(&redacted, Millis::now());
                    reply(Ok(Arc::new(decision)));
                }
                Request::Settle(settlement, redacted, reply) => {
                    self.settle(*settlement, &redacted, reply);
                }
                Request::Execution(report, reply) => self.execution(&report, reply),
                Request::Stop => break,
            }
        }
        while let Ok(request) = inbox.try_recv() {
            request.fail(HrmError::Closed);
        }
    }

    /// Throws the ledger away and loads what is on disk. Everything submitted before is settled first: units that stood on the failed
    /// one fail with it.
    fn reload(&mut self) -> Result<(), HrmError> {
        self.store
            .recover()
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        self.ledger = load(&self.store)?;
        self.keys = SeenKeys::default();
        self.stale.store(false, Ordering::Release);
        tracing::warn!("a commit had failed: the ledger was loaded anew");
        Ok(())
    }

    fn propose(&mut self, redacted: Redacted, reply: Reply<Answer>) {
        if let Some(key) = &redacted.proposal.idempotency {
            let scope = redacted.proposal.agent.as_str();
            match self.seen(scope, key) {
                Ok(None) => {}
                Ok(Some((request, _))) if request != key.request => {
                    return reply(Err(HrmError::KeyReused));
                }
                // The first answer may not be durable yet; a barrier behind it is.
                Ok(Some((_, id))) => {
                    return self
                        .store
                        .barrier(Box::new(move || reply(Ok(Answer::Seen(id)))));
                }
                Err(error) => return reply(Err(error)),
            }
        }
        let now = Millis::now();
        let mut unit = Unit {
            ledger: self.ledger.advance(now),
            chained: true,
            ..Unit::default()
        };
        let decision = match self.take(&redacted, now, &mut unit) {
            Ok(decision) => Arc::new(decision),
            Err(error) => return reply(Err(error)),
        };
        if let Some(key) = redacted.proposal.idempotency {
            let scope = redacted.proposal.agent.as_str().to_owned();
            self.keys
                .insert((scope.clone(), key.key.clone()), (key.request, decision.id));
            unit.idempotency = Some(IdempotencyRecord {
                scope,
                key: key.key,
                request: key.request,
                answer_id: decision.id.to_string(),
            });
        }
        self.submit(unit, reply, move |_| Answer::Decided(decision));
    }

    fn settle(
        &mut self,
        settlement: Settlement,
        redacted: &[Redacted],
        reply: Reply<Vec<Arc<Decision>>>,
    ) {
        let now = Millis::now();
        let mut unit = Unit {
            ledger: self.ledger.advance(now),
            chained: true,
            delivery: Some(DeliveryDone {
                signal: settlement.signal.id,
                agent: settlement.agent.clone(),
                result: DeliveryResult::Done,
                at: now,
            }),
            state: settlement.state,
            memories: settlement.memories,
            truths: settlement.truths,
            agent: Some(settlement.agent),
            trace_id: Some(settlement.signal.trace_id),
            at: now,
            ..Unit::default()
        };
        let mut decisions = Vec::with_capacity(redacted.len());
        for item in redacted {
            match self.take(item, now, &mut unit) {
                Ok(decision) => decisions.push(Arc::new(decision)),
                Err(error) => {
                    // Those before it in this invocation are noted in the ledger but will never be committed.
                    self.stale.store(true, Ordering::Release);
                    return reply(Err(error));
                }
            }
        }
        self.submit(unit, reply, move |_| decisions);
    }

    fn execution(&mut self, report: &ExecutionReport, reply: Reply<ExecutionReceipt>) {
        let now = Millis::now();
        let mut unit = Unit {
            ledger: self.ledger.advance(now),
            chained: true,
            ..Unit::default()
        };
        match self.book(report, now, &mut unit) {
            Ok(receipt) if receipt.duplicate => {
                self.store.barrier(Box::new(move || reply(Ok(receipt))));
            }
            Ok(receipt) => self.submit(unit, reply, move |_| receipt),
            Err(error) => reply(Err(error)),
        }
    }

    fn book(
        &mut self,
        report: &ExecutionReport,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<ExecutionReceipt, HrmError> {
        const SCOPE: &str = "execution:";
        let unreadable = |error: &dyn std::fmt::Display| HrmError::NotRecorded(error.to_string());
        let decided = self
            .store
            .audit_entry(&report.decision_id.to_string())
            .map_err(|error| unreadable(&error))?
            .filter(|row| row.kind == AuditKind::Decision)
            .ok_or(HrmError::UnknownDecision(report.decision_id))?;
        let (Some(agent), Some(trace_id)) = (decided.agent.clone(), decided.trace_id) else {
            return Err(HrmError::UnknownDecision(report.decision_id));
        };
        let key = IdempotencyKey {
            key: report.execution_id.clone(),
            request: Digest::of(format!("{report:?}").as_bytes()),
        };
        match self.seen(SCOPE, &key)? {
            Some((request, _)) if request != key.request => return Err(HrmError::KeyReused),
            Some(_) => {
                return Ok(ExecutionReceipt {
                    duplicate: true,
                    trace_id,
                });
            }
            None => {}
        }
        if decided.outcome != Some(Outcome::Approved) {
            let outcome = decided.outcome.map_or("no decision", Outcome::as_str);
            return Err(HrmError::NotExecutable(format!("its outcome is {outcome}")));
        }
        let action = action_of(&decided.body).map_err(|error| unreadable(&error))?;
        let fill = Fill {
            status: report.status,
            filled: report.filled,
            realised: report.realised,
            at: now,
        };
        let symbol = match &action.parameters {
            Parameters::Trade(trade) => {
                let position = self
                    .ledger
                    .position(report.decision_id)
                    .cloned()
                    .unwrap_or_else(|| Position {
                        decision_id: report.decision_id,
                        agent: agent.clone(),
                        symbol: trade.symbol.clone(),
                        side: trade.side,
                        size: Fraction::new(trade.position_size_pct).unwrap_or(Fraction::ZERO),
                        leverage: trade.leverage,
                        status: PositionStatus::Released,
                        since: now,
                        expires_at: None,
                    });
                unit.ledger.extend(self.ledger.fill_trade(position, fill));
                trade.symbol.clone()
            }
            Parameters::ClosePosition(close) => {
                unit.ledger
                    .extend(self.ledger.fill_close(&agent, &close.symbol, fill));
                close.symbol.clone()
            }
            _ => {
                return Err(HrmError::NotExecutable(
                    "it is neither a trade nor a close_position".to_owned(),
                ));
            }
        };
        unit.ledger.push(LedgerChange::Execution {
            execution_id: report.execution_id.clone(),
            decision_id: report.decision_id,
            status: report.status.as_str().to_owned(),
            filled: report.filled,
            price: report.price,
            realised: report.realised,
            at: now,
        });
        let payload = serde_json::json!({
            "execution_id": report.execution_id,
            "decision_id": report.decision_id,
            "agent": agent,
            "symbol": symbol,
            "status": report.status.as_str(),
            "filled_size_pct": report.filled,
            "price": report.price,
            "realized_pnl_pct": report.realised,
            "at_ms": now,
        });
        let id = DecisionId::fresh();
        self.keys
            .insert((SCOPE.to_owned(), key.key.clone()), (key.request, id));
        unit.idempotency = Some(IdempotencyRecord {
            scope: SCOPE.to_owned(),
            key: key.key,
            request: key.request,
            answer_id: id.to_string(),
        });
        unit.audit.push(AuditEntry {
            kind: AuditKind::Execution,
            id: id.to_string(),
            trace_id: Some(trace_id),
            agent: Some(agent),
            action_type: Some(action.action_type),
            outcome: None,
            at: now,
            body: payload.to_string(),
        });
        if self.announce.load(Ordering::Acquire) {
            let causal_depth =
                facts_of(&decided.body).map_or(1, |facts| facts.causal_depth.saturating_add(1));
            unit.outbox.push(OutboxMessage {
                topic: "ark.execution".to_owned(),
                to: None,
                payload_json: payload.to_string(),
                trace_id,
                sender: None,
                causal_depth,
                at: now,
            });
        }
        Ok(ExecutionReceipt {
            duplicate: false,
            trace_id,
        })
    }

    /// Decides, notes the decision in the ledger and adds what must be committed with it to the unit.
    fn take(
        &mut self,
        redacted: &Redacted,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<Decision, HrmError> {
        let decision = self.decide(redacted, now);
        let body =
            record::encode(&decision).map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        let ttl = self.config.reservation_ttl;
        unit.ledger.extend(self.ledger.note(
            decision.id,
            redacted.subject(),
            decision.outcome,
            now,
            ttl,
        ));
        unit.audit.push(AuditEntry {
            kind: AuditKind::Decision,
            id: decision.id.to_string(),
            trace_id: Some(decision.trace_id),
            agent: Some(decision.agent.clone()),
            action_type: Some(decision.action.action_type.clone()),
            outcome: Some(decision.outcome),
            at: now,
            body,
        });
        self.send_on(&decision, unit);
        Ok(decision)
    }

    /// Approved messages become signals; decisions over other actions are announced to whoever listens.
    fn send_on(&self, decision: &Decision, unit: &mut Unit) {
        let causal_depth = decision.facts.causal_depth.saturating_add(1);
        match &decision.action.parameters {
            Parameters::Message(message) if decision.outcome == Outcome::Approved => {
                let topic = message
                    .topic
                    .clone()
                    .unwrap_or_else(|| decision.action.action_type.clone());
                let payload_json = message.payload_json.clone().unwrap_or_else(|| {
                    serde_json::Value::from(message.text.clone().unwrap_or_default()).to_string()
                });
                unit.outbox.push(OutboxMessage {
                    topic,
                    to: message.to.as_deref().and_then(|name| name.parse().ok()),
                    payload_json,
                    trace_id: decision.trace_id,
                    sender: Some(decision.agent.clone()),
                    causal_depth,
                    at: decision.decided_at,
                });
            }
            parameters
                if parameters.family() != Family::Message
                    && self.announce.load(Ordering::Acquire) =>
            {
                unit.outbox.push(OutboxMessage {
                    topic: "ark.decision".to_owned(),
                    to: None,
                    payload_json: announcement(decision).to_string(),
                    trace_id: decision.trace_id,
                    sender: None,
                    causal_depth,
                    at: decision.decided_at,
                });
            }
            _ => {}
        }
    }

    fn decide(&mut self, redacted: &Redacted, now: Millis) -> Decision {
        let mut facts = self.ledger.facts(redacted.subject(), now);
        facts.halt_active = self.guards.halted();
        facts.pin_holds = self.guards.pin_holds();
        facts.watchdog_beating = self.guards.watchdog_beating(now);
        facts.audit_writable = self.store.audit_writable();
        let verdicts = self.judge.verdicts(&redacted.proposal.action, &facts);
        let (mut outcome, mut compliance_score) = combine(&verdicts);
        if redacted.refusal.is_some() {
            outcome = Outcome::Denied;
            compliance_score = 0.0;
        }
        Decision {
            id: DecisionId::fresh(),
            trace_id: redacted.proposal.trace_id,
            agent: redacted.proposal.agent.clone(),
            decided_at: now,
            action: redacted.proposal.action.clone(),
            facts,
            verdicts,
            refusal: redacted.refusal.clone(),
            outcome,
            compliance_score,
        }
    }

    fn seen(
        &self,
        scope: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<(Digest, DecisionId)>, HrmError> {
        if let Some(seen) = self.keys.get(scope, &key.key) {
            return Ok(Some(seen));
        }
        let record = self
            .store
            .idempotent(scope, &key.key)
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        record
            .map(|record| match record.answer_id.parse() {
                Ok(id) => Ok((record.request, id)),
                Err(_) => Err(HrmError::NotRecorded(
                    "the stored answer has a malformed id".to_owned(),
                )),
            })
            .transpose()
    }

    fn submit<T: Send + 'static>(
        &self,
        unit: Unit,
        reply: Reply<T>,
        answer: impl FnOnce(crate::store::Receipt) -> T + Send + 'static,
    ) {
        let stale = Arc::clone(&self.stale);
        self.store.submit_wait(
            unit,
            Box::new(move |result| {
                reply(match result {
                    Ok(receipt) => Ok(answer(receipt)),
                    Err(error) => {
                        stale.store(true, Ordering::Release);
                        Err(match error {
                            CommitError::Conflict { .. } => HrmError::Conflict(error.to_string()),
                            CommitError::DeliveryNotPending { .. } => HrmError::AlreadySettled,
                            error => HrmError::NotRecorded(error.to_string()),
                        })
                    }
                });
            }),
        );
    }
}

/// The keys of late, so that a repetition is recognised before the first is durable. It holds more than can be under way at once.
#[derive(Default)]
struct SeenKeys {
    seen: HashMap<(String, String), (Digest, DecisionId)>,
    order: VecDeque<(String, String)>,
}

impl SeenKeys {
    const MOST: usize = 65_536;

    fn get(&self, scope: &str, key: &str) -> Option<(Digest, DecisionId)> {
        if self.seen.is_empty() {
            return None;
        }
        self.seen.get(&(scope.to_owned(), key.to_owned())).copied()
    }

    fn insert(&mut self, key: (String, String), answer: (Digest, DecisionId)) {
        if self.order.len() >= Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.seen.insert(key, answer);
    }
}

fn load(store: &Store) -> Result<Ledger, HrmError> {
    let now = Millis::now();
    let unreadable = |error: &dyn std::fmt::Display| HrmError::NotRecorded(error.to_string());
    let rows = store.load_ledger(now).map_err(|error| unreadable(&error))?;
    let since = Millis(now.0.saturating_sub(60_000));
    let mut recent = Vec::new();
    for row in store
        .audit_since(since, AuditKind::Decision)
        .map_err(|error| unreadable(&error))?
    {
        if let Some(agent) = &row.agent {
            let action = action_of(&row.body).map_err(|error| unreadable(&error))?;
            let canonical = serde_json::to_vec(&action).map_err(|error| unreadable(&error))?;
            recent.push((row.at, identity_of(agent, &canonical)));
        }
    }
    Ok(Ledger::load(rows, recent, now))
}

fn action_of(body: &str) -> Result<Action, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct OnlyAction {
        action: Action,
    }
    serde_json::from_str::<OnlyAction>(body).map(|body| body.action)
}

fn facts_of(body: &str) -> Option<Facts> {
    #[derive(serde::Deserialize)]
    struct OnlyFacts {
        facts: Facts,
    }
    serde_json::from_str::<OnlyFacts>(body)
        .ok()
        .map(|body| body.facts)
}

/// The payload of an `ark.decision` signal.
fn announcement(decision: &Decision) -> serde_json::Value {
    let fired: Vec<&str> = decision
        .fired()
        .map(|(rule, _)| rule.name.as_str())
        .collect();
    let mut payload = serde_json::json!({
        "decision_id": decision.id,
        "agent": decision.agent,
        "action_type": decision.action.action_type,
        "outcome": decision.outcome,
        "compliance_score": decision.compliance_score,
        "fired": fired,
        "decided_at_ms": decision.decided_at,
    });
    if let Some(symbol) = decision.action.symbol() {
        payload["symbol"] = symbol.into();
    }
    if let Parameters::Trade(trade) = &decision.action.parameters {
        payload["position_size_pct"] = trade.position_size_pct.into();
        payload["side"] = serde_json::json!(trade.side);
    }
    payload
}

/// Reads a decision back from its audit row.
///
/// # Errors
/// As [`record::decode`]; `None` when the row is no decision.
pub fn decision_of(
    row: &crate::store::AuditRow,
    policy: impl Fn(Digest) -> Option<Arc<crate::model::decision::PolicyIdentity>>,
) -> Result<Option<Decision>, record::RecordError> {
    let (AuditKind::Decision, Some(trace_id), Some(agent), Some(outcome), Ok(id)) = (
        row.kind,
        row.trace_id,
        row.agent.clone(),
        row.outcome,
        row.id.parse(),
    ) else {
        return Ok(None);
    };
    record::decode(
        Columns {
            id,
            trace_id,
            agent,
            decided_at: row.at,
            outcome,
        },
        &row.body,
        policy,
    )
    .map(Some)
}
