//! The HRM's thread: one owner of the ledger and of the order in which things are decided.
//!
//! Invariants:
//! * A decision is answered after its commit is durable, never before.
//! * Proposals are judged in the order in which they are committed, and each sees the reservations of those before it.
//! * When a commit fails, everything decided on top of it fails too, and the ledger is loaded anew before the next judgement.
//!
//! Must not know: HTTP, topics' subscribers, how agents run.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::model::action::{Action, Family, Parameters};
use crate::model::control::{Halt, Order, Quarantine};
use crate::model::decision::{Decision, Outcome};
use crate::model::facts::Facts;
use crate::model::ids::{DecisionId, Digest, Fraction, Millis, Name, SignalId, TraceId};
use crate::model::verdict::{Rule, RuleAnswer, RuleResult};
use crate::store::{
    AuditEntry, AuditKind, CommitError, ControlChange, DeliveryDone, DeliveryResult,
    IdempotencyRecord, LedgerChange, OutboxMessage, Position, PositionStatus, Store, Unit,
};

use super::chain::{Chain, Judge};
use super::combine::combine;
use super::guards::Guards;
use super::handle::{Redacted, Reply, Request, Violations, identity_of};
use super::ledger::{Fill, Ledger};
use super::metering::{self, Moments};
use super::proposal::{
    Answer, ExecutionReceipt, ExecutionReport, HrmConfig, HrmError, IdempotencyKey, Instruction,
    OrderReceipt, Settlement,
};
use super::record;

/// What the thread owns.
pub(super) struct Arbiter {
    judge: Judge,
    config: HrmConfig,
    guards: Arc<Guards>,
    store: Store,
    ledger: Ledger,
    keys: SeenKeys,
    /// Set by a failed commit: the ledger holds what the database does not.
    stale: Arc<AtomicBool>,
    announce: Arc<AtomicBool>,
    violations: Violations,
}

impl Arbiter {
    /// Loads the ledger.
    ///
    /// # Errors
    /// [`HrmError::NotRecorded`] when the store cannot be read.
    pub(super) fn new(
        config: HrmConfig,
        chain: &Chain,
        guards: Arc<Guards>,
        store: Store,
        announce: Arc<AtomicBool>,
        violations: Violations,
    ) -> Result<Self, HrmError> {
        Ok(Self {
            judge: chain.judge(),
            ledger: load(&store)?,
            config,
            guards,
            store,
            keys: SeenKeys::default(),
            stale: Arc::new(AtomicBool::new(false)),
            announce,
            violations,
        })
    }

    /// Decides what comes, until it is told to stop.
    pub(super) fn run(mut self, urgent: &Receiver<Request>, inbox: &Receiver<Request>) {
        while let Some(request) = next(urgent, inbox) {
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
                Request::Instruct(instruction, reply) => self.instruct(&instruction, reply),
                Request::Stop => break,
            }
        }
        for request in urgent.try_iter().chain(inbox.try_iter()) {
            request.fail(HrmError::Closed);
        }
    }

    /// Carries out an order. What tightens is in force from here on, whether or not it can be recorded; what loosens only once it is.
    fn instruct(&mut self, instruction: &Instruction, reply: Reply<OrderReceipt>) {
        let now = Millis::now();
        let (change, standing) = match self.change(instruction, now) {
            Ok(change) => change,
            Err(error) => return reply(Err(error)),
        };
        // What is in force already is recorded once more: the first order may not have come to disk.
        let receipt = OrderReceipt {
            changed: standing.is_none(),
            at: standing.unwrap_or(now),
        };
        match &change {
            ControlChange::Halt(halt) => self.guards.begin_halt(halt.clone()),
            ControlChange::Quarantine(quarantine) => {
                self.guards.begin_quarantine(quarantine.clone());
            }
            ControlChange::Resume | ControlChange::Restore(_) => {}
        }
        tracing::warn!(
            order = instruction.order.as_str(),
            agent = instruction.order.agent().map(Name::as_str),
            by = instruction.by,
            reason = instruction.reason,
            "ordered"
        );
        let trace_id = TraceId::fresh();
        let alert = super::orders::alert(instruction, now);
        let mut unit = Unit {
            control: vec![change.clone()],
            audit: vec![super::orders::entry(instruction, trace_id, now)],
            ..Unit::default()
        };
        if self.announce.load(Ordering::Acquire) {
            unit.outbox
                .push(super::orders::announcement(&alert, trace_id));
        }
        unit.alerts.push(alert);
        let guards = Arc::clone(&self.guards);
        let meters = Arc::clone(&self.config.meters);
        self.submit(unit, reply, move |_| {
            if let ControlChange::Quarantine(quarantine) = &change
                && receipt.changed
            {
                metering::quarantined(&meters, quarantine);
            }
            match change {
                ControlChange::Resume => guards.end_halt(),
                ControlChange::Restore(agent) => guards.end_quarantine(&agent),
                ControlChange::Halt(_) | ControlChange::Quarantine(_) => {}
            }
            receipt
        });
    }

    /// What an order changes; the second part: it is in force already, since then.
    fn change(
        &self,
        instruction: &Instruction,
        now: Millis,
    ) -> Result<(ControlChange, Option<Millis>), HrmError> {
        let Instruction { order, reason, by } = instruction;
        Ok(match order {
            Order::Halt => {
                let halt = Halt {
                    reason: reason.clone(),
                    by: by.clone(),
                    at_ms: now,
                };
                (
                    ControlChange::Halt(halt),
                    self.guards.halt().map(|halt| halt.at_ms),
                )
            }
            Order::Resume if !self.guards.pin_holds() => {
                let problem =
                    "the Graveyard's pin is broken: put the pinned module back, then resume";
                return Err(HrmError::NotInForce(problem.to_owned()));
            }
            Order::Resume if !self.guards.halted() => {
                return Err(HrmError::NotInForce("nothing is halted".to_owned()));
            }
            Order::Resume => (ControlChange::Resume, None),
            Order::Quarantine { agent, cause } => {
                let quarantine = Quarantine {
                    agent: agent.clone(),
                    cause: *cause,
                    reason: reason.clone(),
                    by: by.clone(),
                    at_ms: now,
                };
                let standing = self
                    .guards
                    .quarantine(agent)
                    .map(|quarantine| quarantine.at_ms);
                (ControlChange::Quarantine(quarantine), standing)
            }
            Order::Restore { agent } if !self.guards.is_quarantined(agent) => {
                return Err(HrmError::NotInForce(format!(
                    "{agent} is not in quarantine"
                )));
            }
            Order::Restore { agent } => (ControlChange::Restore(agent.clone()), None),
        })
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
        let taken = Instant::now();
        if self.guards.is_quarantined(&redacted.proposal.agent) {
            return reply(Err(HrmError::Quarantined(redacted.proposal.agent)));
        }
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
        let moments = Moments {
            accepted: redacted.accepted,
            taken,
            submitted: Instant::now(),
        };
        let durable = self.durable(moments, None);
        self.submit(unit, reply, move |_| {
            durable(std::slice::from_ref(&decision));
            Answer::Decided(decision)
        });
    }

    fn settle(
        &mut self,
        settlement: Settlement,
        redacted: &[Redacted],
        reply: Reply<Vec<Arc<Decision>>>,
    ) {
        if self.guards.is_quarantined(&settlement.agent) {
            return reply(Err(HrmError::Quarantined(settlement.agent)));
        }
        let taken = Instant::now();
        if taken >= settlement.deadline {
            return reply(Err(HrmError::DeadlineExceeded));
        }
        let now = Millis::now();
        let cause = settlement.signal.id;
        let mut unit = Unit {
            ledger: self.ledger.advance(now),
            chained: true,
            deadline: Some(settlement.deadline),
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
        let moments = Moments {
            accepted: redacted.first().map_or(taken, |item| item.accepted),
            taken,
            submitted: Instant::now(),
        };
        let durable = self.durable(moments, Some(cause));
        self.submit(unit, reply, move |_| {
            durable(&decisions);
            decisions
        });
    }

    /// What is done with decisions once they are durable.
    fn durable(
        &self,
        moments: Moments,
        cause: Option<SignalId>,
    ) -> impl FnOnce(&[Arc<Decision>]) + Send + 'static {
        let meters = Arc::clone(&self.config.meters);
        let announced = self.announce.load(Ordering::Acquire);
        move |decisions| metering::durable(&meters, decisions, moments, cause, announced)
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
        let violates = |(_, answer): (&Rule, &RuleAnswer)| answer.answer == RuleResult::Violation;
        if decision.outcome == Outcome::Denied && decision.fired().any(violates) {
            let mut violations = self
                .violations
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *violations.entry(decision.agent.clone()).or_default() += 1;
        }
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
        let started = Instant::now();
        let mut facts = self.ledger.facts(redacted.subject(), now);
        facts.halt_active = self.guards.halted();
        facts.pin_holds = self.guards.pin_holds();
        facts.watchdog_beating = self.guards.watchdog_beating(now);
        facts.audit_writable = self.store.audit_writable();
        let asked = Instant::now();
        let verdicts = self.judge.verdicts(&redacted.proposal.action, &facts);
        self.config.meters.policy.since(asked);
        let (mut outcome, mut compliance_score) = combine(&verdicts);
        if redacted.refusal.is_some() {
            outcome = Outcome::Denied;
            compliance_score = 0.0;
        }
        self.config.meters.evaluation.since(started);
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
        let meters = Arc::clone(&self.config.meters);
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
                            CommitError::DeadlineExceeded => HrmError::DeadlineExceeded,
                            error => {
                                meters.not_recorded.one();
                                HrmError::NotRecorded(error.to_string())
                            }
                        })
                    }
                });
            }),
        );
    }
}

/// The next request: urgent ones first. `None` when nobody can send any more.
fn next(urgent: &Receiver<Request>, inbox: &Receiver<Request>) -> Option<Request> {
    crossbeam_channel::select_biased! {
        recv(urgent) -> request => request.ok(),
        recv(inbox) -> request => request.ok(),
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
