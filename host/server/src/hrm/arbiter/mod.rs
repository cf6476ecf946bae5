//! The HRM's thread: one owner of the ledger and of the order in which things are decided.
//!
//! Invariants:
//! * A decision is answered after its commit is durable, never before.
//! * Proposals are judged in the order in which they are committed, and each sees the reservations of those before it.
//! * When a commit fails, everything decided on top of it fails too, and the ledger is loaded anew before the next judgement.
//!
//! Must not know: HTTP, topics' subscribers, how agents run.

mod approvals;
mod attesting;
mod executions;
mod keys;
mod orders;
mod swapping;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crossbeam_channel::Receiver;

use ark_model::action::{Action, Family, Parameters};
use ark_model::decision::{ApprovalGiven, Decision, Outcome};
use ark_model::facts::{ApprovalFact, Facts};
use ark_model::ids::{DecisionId, Digest, Millis, SignalId};
use ark_model::meters::Deployment;
use ark_model::verdict::{Rule, RuleAnswer, RuleResult};
use ark_store::{
    AuditEntry, AuditKind, CommitError, DeliveryCompletion, DeliveryResult, IdempotencyRecord,
    OutboxMessage, Store, Unit,
};

use super::chain::{PolicyChain, PolicyJudge};
use super::combine::combine_verdicts;
use super::guards::Guards;
use super::handle::{HrmRequest, RedactedProposal, Reply, ViolationCounts, action_identity};
use super::ledger::{IDENTICAL_WINDOW, Ledger};
use super::metering::{self, DecisionTimes};
use super::proposal::{
    Batch, BatchAnswer, HrmConfig, HrmError, IdempotencyKey, InvocationCommit, ProposalAnswer,
};
use super::record;
use approvals::HeldActions;
use keys::RecentKeys;
use swapping::PendingSwaps;

/// What the thread owns.
pub(super) struct Arbiter {
    judge: PolicyJudge,
    config: HrmConfig,
    guards: Arc<Guards>,
    store: Store,
    ledger: Ledger,
    recent_keys: RecentKeys,
    /// Set by a failed commit: the ledger holds what the database does not.
    ledger_is_stale: Arc<AtomicBool>,
    announcing: Arc<AtomicBool>,
    violations: ViolationCounts,
    held_actions: HeldActions,
    pending_swaps: PendingSwaps,
}

impl Arbiter {
    /// Loads the ledger.
    ///
    /// # Errors
    /// [`HrmError::NotRecorded`] when the store cannot be read.
    pub(super) fn new(
        config: HrmConfig,
        chain: &PolicyChain,
        guards: Arc<Guards>,
        store: Store,
        announce: Arc<AtomicBool>,
        violations: ViolationCounts,
    ) -> Result<Self, HrmError> {
        let held = HeldActions::load_open(&store)?;
        Ok(Self {
            judge: chain.new_judge(),
            ledger: load_ledger(&store)?,
            config,
            guards,
            store,
            recent_keys: RecentKeys::default(),
            ledger_is_stale: Arc::new(AtomicBool::new(false)),
            announcing: announce,
            violations,
            held_actions: held,
            pending_swaps: PendingSwaps::default(),
        })
    }

    /// Decides what comes, until it is told to stop.
    pub(super) fn run(mut self, urgent: &Receiver<HrmRequest>, inbox: &Receiver<HrmRequest>) {
        while let Some(request) = next_request(urgent, inbox) {
            if self.ledger_is_stale.load(Ordering::Acquire)
                && let Err(error) = self.reload_from_store()
            {
                tracing::error!(%error, "the ledger cannot be loaded: denied");
                request.reject_with(error);
                continue;
            }
            match request {
                HrmRequest::Propose(redacted, reply) => self.judge_proposal(*redacted, reply),
                HrmRequest::Preview(redacted, reply) => {
                    let decision = self.decide_action(&redacted, Millis::now());
                    reply(Ok(Arc::new(decision)));
                }
                HrmRequest::CommitInvocation(settlement, redacted, reply) => {
                    self.commit_invocation(*settlement, &redacted, reply);
                }
                HrmRequest::RecordExecution(report, reply) => self.record_execution(&report, reply),
                HrmRequest::CarryOutOrder(instruction, reply) => {
                    self.carry_out_order(*instruction, reply)
                }
                HrmRequest::ProposeBatch(batch, redacted, reply) => {
                    self.judge_batch(*batch, &redacted, reply)
                }
                HrmRequest::ResolveApproval(resolution, reply) => {
                    self.resolve_approval(*resolution, reply)
                }
                HrmRequest::ExpireApprovals => self.expire_approvals(Millis::now()),
                HrmRequest::RecordAttestation(attestation, reply) => {
                    self.record_attestation(*attestation, reply)
                }
                HrmRequest::SwapPolicies(swap, reply) => self.swap_policies(*swap, reply),
                HrmRequest::Stop => break,
            }
        }
        for request in urgent.try_iter().chain(inbox.try_iter()) {
            request.reject_with(HrmError::Closed);
        }
    }

    /// Throws the ledger away and loads what is on disk. Everything submitted before is settled first: units that stood on the failed
    /// one fail with it.
    fn reload_from_store(&mut self) -> Result<(), HrmError> {
        self.store
            .recover_writer()
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        self.ledger = load_ledger(&self.store)?;
        self.held_actions = HeldActions::load_open(&self.store)?;
        self.recent_keys = RecentKeys::default();
        self.revert_failed_swaps();
        self.ledger_is_stale.store(false, Ordering::Release);
        tracing::warn!("a commit had failed: the ledger was loaded anew");
        Ok(())
    }

    fn judge_proposal(&mut self, redacted: RedactedProposal, reply: Reply<ProposalAnswer>) {
        let taken = Instant::now();
        if self.guards.is_quarantined(&redacted.proposal.agent) {
            return reply(Err(HrmError::Quarantined(redacted.proposal.agent)));
        }
        let key = redacted.proposal.idempotency.as_ref();
        let scope = redacted.proposal.agent.as_str();
        let Some(reply) = self.check_idempotency(scope, key, reply, |answer| {
            parse_stored_id(answer).map(ProposalAnswer::Repeated)
        }) else {
            return;
        };
        let deadline = redacted.proposal.deadline;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return reply(Err(HrmError::DeadlineExceeded));
        }
        let now = Millis::now();
        let mut unit = Unit {
            ledger: self.ledger.advance_to(now),
            chained: true,
            deadline,
            ..Unit::default()
        };
        let decision = match self.decide_and_stage(&redacted, now, &mut unit) {
            Ok(decision) => Arc::new(decision),
            Err(error) => return reply(Err(error)),
        };
        if let Some(key) = redacted.proposal.idempotency {
            let scope = redacted.proposal.agent.as_str();
            self.stage_answer(scope, key, decision.id.to_string(), &mut unit);
        }
        let moments = DecisionTimes {
            accepted: redacted.accepted_at,
            judging_started: taken,
            submitted: Instant::now(),
        };
        let durable = self.meter_on_commit(moments, None);
        self.submit_unit(unit, reply, move |_| {
            durable(std::slice::from_ref(&decision));
            ProposalAnswer::Decided(decision)
        });
    }

    /// Judges several proposals, one after the other, and commits them together.
    fn judge_batch(
        &mut self,
        batch: Batch,
        redacted: &[RedactedProposal],
        reply: Reply<BatchAnswer>,
    ) {
        let taken = Instant::now();
        if let Some(item) = redacted
            .iter()
            .find(|item| self.guards.is_quarantined(&item.proposal.agent))
        {
            return reply(Err(HrmError::Quarantined(item.proposal.agent.clone())));
        }
        let scope = format!("batch:{}", batch.by);
        let seen = |answer: &str| {
            let ids: Result<Vec<_>, HrmError> = answer.split(',').map(parse_stored_id).collect();
            ids.map(BatchAnswer::Repeated)
        };
        let Some(reply) = self.check_idempotency(&scope, batch.idempotency.as_ref(), reply, seen)
        else {
            return;
        };
        let deadline = batch.deadline;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return reply(Err(HrmError::DeadlineExceeded));
        }
        let now = Millis::now();
        let mut unit = Unit {
            ledger: self.ledger.advance_to(now),
            chained: true,
            deadline,
            ..Unit::default()
        };
        let mut decisions = Vec::with_capacity(redacted.len());
        for item in redacted {
            match self.decide_and_stage(item, now, &mut unit) {
                Ok(decision) => decisions.push(Arc::new(decision)),
                Err(error) => {
                    self.ledger_is_stale.store(true, Ordering::Release);
                    return reply(Err(error));
                }
            }
        }
        if let Some(key) = batch.idempotency {
            let ids: Vec<String> = decisions.iter().map(|one| one.id.to_string()).collect();
            self.stage_answer(&scope, key, ids.join(","), &mut unit);
        }
        let moments = DecisionTimes {
            accepted: redacted.first().map_or(taken, |item| item.accepted_at),
            judging_started: taken,
            submitted: Instant::now(),
        };
        let durable = self.meter_on_commit(moments, None);
        self.submit_unit(unit, reply, move |_| {
            durable(&decisions);
            BatchAnswer::Decided(decisions)
        });
    }

    fn commit_invocation(
        &mut self,
        settlement: InvocationCommit,
        redacted: &[RedactedProposal],
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
            ledger: self.ledger.advance_to(now),
            chained: true,
            deadline: Some(settlement.deadline),
            delivery: Some(DeliveryCompletion {
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
            match self.decide_and_stage(item, now, &mut unit) {
                Ok(decision) => decisions.push(Arc::new(decision)),
                Err(error) => {
                    // Those before it in this invocation are noted in the ledger but will never be committed.
                    self.ledger_is_stale.store(true, Ordering::Release);
                    return reply(Err(error));
                }
            }
        }
        let moments = DecisionTimes {
            accepted: redacted.first().map_or(taken, |item| item.accepted_at),
            judging_started: taken,
            submitted: Instant::now(),
        };
        let durable = self.meter_on_commit(moments, Some((cause, settlement.deployment)));
        self.submit_unit(unit, reply, move |_| {
            durable(&decisions);
            decisions
        });
    }

    /// What is done with decisions once they are durable.
    fn meter_on_commit(
        &self,
        moments: DecisionTimes,
        cause: Option<(SignalId, Deployment)>,
    ) -> impl FnOnce(&[Arc<Decision>]) + Send + 'static {
        let meters = Arc::clone(&self.config.meters);
        let announced = self.announcing.load(Ordering::Acquire);
        move |decisions| metering::record_committed(&meters, decisions, moments, cause, announced)
    }

    /// Decides, notes the decision in the ledger and adds what must be committed with it to the unit.
    fn decide_and_stage(
        &mut self,
        redacted: &RedactedProposal,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<Decision, HrmError> {
        let decision = self.decide_action(redacted, now);
        if decision.outcome == Outcome::Held {
            self.hold_action(&decision, redacted, unit);
        }
        let body = record::encode_decision(&decision)
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        let ttl = self.config.reservation_ttl;
        unit.ledger.extend(self.ledger.record_decision(
            decision.id,
            redacted.fact_query(),
            decision.outcome,
            now,
            ttl,
        ));
        unit.audit.push(AuditEntry {
            kind: AuditKind::Decision,
            id: decision.id.into(),
            trace_id: Some(decision.trace_id),
            agent: Some(decision.agent.clone()),
            action_type: Some(decision.action.action_type.clone()),
            outcome: Some(decision.outcome),
            at: now,
            body,
        });
        self.stage_messages(&decision, unit);
        let violates = |(_, answer): (&Rule, &RuleAnswer)| answer.answer == RuleResult::Violation;
        if decision.outcome == Outcome::Denied && decision.fired_rules().any(violates) {
            let mut violations = self
                .violations
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *violations.entry(decision.agent.clone()).or_default() += 1;
        }
        Ok(decision)
    }

    /// Approved messages become signals; decisions over other actions are announced to whoever listens.
    fn stage_messages(&self, decision: &Decision, unit: &mut Unit) {
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
                    && self.announcing.load(Ordering::Acquire) =>
            {
                unit.outbox.push(OutboxMessage {
                    topic: "ark.decision".to_owned(),
                    to: None,
                    payload_json: decision_payload(decision).to_string(),
                    trace_id: decision.trace_id,
                    sender: None,
                    causal_depth,
                    at: decision.decided_at,
                });
            }
            _ => {}
        }
    }

    fn decide_action(&mut self, redacted: &RedactedProposal, now: Millis) -> Decision {
        let started = Instant::now();
        let mut facts = self.ledger.gather_facts(redacted.fact_query(), now);
        if let Some(approved) = &redacted.approval {
            facts.approval = ApprovalFact::Human;
            // The held action itself is no repetition of itself.
            if now.seconds_since(approved.held_at) < IDENTICAL_WINDOW.as_secs_f64() {
                facts.identical_actions = facts.identical_actions.saturating_sub(1);
            }
        }
        facts.halt_active = self.guards.is_halted();
        facts.pin_holds = self.guards.pin_holds();
        facts.watchdog_beating = self.guards.watchdog_beating(now);
        facts.audit_writable = self.store.audit_writable();
        let asked = Instant::now();
        let verdicts = self
            .judge
            .collect_verdicts(&redacted.proposal.action, &facts);
        self.config.meters.policy.record_since(asked);
        let (mut outcome, mut compliance_score) = combine_verdicts(&verdicts);
        let mut refusal = redacted.refusal.clone();
        if outcome == Outcome::Held
            && refusal.is_none()
            && !self
                .held_actions
                .has_room(&redacted.proposal.agent, self.config.approvals)
        {
            refusal = Some("too many of its actions wait for an approval already".to_owned());
        }
        if refusal.is_some() {
            outcome = Outcome::Denied;
            compliance_score = 0.0;
        }
        let action = &redacted.proposal.action;
        let refused = refusal.is_some();
        let shadows = self
            .judge
            .collect_shadow_verdicts(action, &facts, &verdicts, refused);
        self.config.meters.evaluation.record_since(started);
        Decision {
            id: DecisionId::fresh(),
            trace_id: redacted.proposal.trace_id,
            agent: redacted.proposal.agent.clone(),
            submitter: Some(&redacted.proposal.submitter)
                .filter(|submitter| **submitter != redacted.proposal.agent.as_str())
                .cloned(),
            decided_at: now,
            action: redacted.proposal.action.clone(),
            facts,
            verdicts,
            shadows,
            refusal,
            approval: redacted.approval.as_ref().map(|approved| ApprovalGiven {
                held: approved.held_id,
                by: approved.by.clone(),
            }),
            outcome,
            compliance_score,
        }
    }

    /// Notes the answer to a request with a key, in memory and in the unit that is committed with it.
    fn stage_answer(&mut self, scope: &str, key: IdempotencyKey, answer: String, unit: &mut Unit) {
        self.recent_keys
            .insert_answer(scope, &key.key, key.request_digest, answer.clone());
        unit.idempotency = Some(IdempotencyRecord {
            scope: scope.to_owned(),
            key: key.key,
            request: key.request_digest,
            answer,
        });
    }

    /// Gives the reply back when the request is the first with its key, or has none; otherwise it is answered as the first was.
    fn check_idempotency<T: Send + 'static>(
        &self,
        scope: &str,
        key: Option<&IdempotencyKey>,
        reply: Reply<T>,
        read: impl FnOnce(&str) -> Result<T, HrmError>,
    ) -> Option<Reply<T>> {
        let Some(key) = key else {
            return Some(reply);
        };
        match self.find_answer(scope, key) {
            Ok(None) => return Some(reply),
            Ok(Some((request, _))) if request != key.request_digest => {
                reply(Err(HrmError::KeyReused))
            }
            // The first answer may not be durable yet; a barrier behind it is.
            Ok(Some((_, answer))) => {
                let answer = read(&answer);
                self.store
                    .call_after_pending(Box::new(move || reply(answer)));
            }
            Err(error) => reply(Err(error)),
        }
        None
    }

    /// The request that a key came with first, and the answer to it.
    fn find_answer(
        &self,
        scope: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<(Digest, String)>, HrmError> {
        if let Some(seen) = self.recent_keys.get_answer(scope, &key.key) {
            return Ok(Some(seen));
        }
        let record = self
            .store
            .idempotency_record(scope, &key.key)
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        Ok(record.map(|record| (record.request, record.answer)))
    }

    fn submit_unit<T: Send + 'static>(
        &self,
        unit: Unit,
        reply: Reply<T>,
        answer: impl FnOnce(ark_store::Receipt) -> T + Send + 'static,
    ) {
        let stale = Arc::clone(&self.ledger_is_stale);
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
                            CommitError::DeliveryNotPending { .. } => {
                                HrmError::DeliveryAlreadyCompleted
                            }
                            CommitError::NotFound(item) => HrmError::NotFound(item.to_string()),
                            CommitError::DeadlineExceeded => HrmError::DeadlineExceeded,
                            error => {
                                meters.not_recorded.increment();
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
fn next_request(urgent: &Receiver<HrmRequest>, inbox: &Receiver<HrmRequest>) -> Option<HrmRequest> {
    crossbeam_channel::select_biased! {
        recv(urgent) -> request => request.ok(),
        recv(inbox) -> request => request.ok(),
    }
}

fn load_ledger(store: &Store) -> Result<Ledger, HrmError> {
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
            let action = parse_recorded_action(&row.body).map_err(|error| unreadable(&error))?;
            let canonical = serde_json::to_vec(&action).map_err(|error| unreadable(&error))?;
            recent.push((row.at, action_identity(agent, &canonical)));
        }
    }
    Ok(Ledger::from_rows(rows, recent, now))
}

fn parse_stored_id(answer: &str) -> Result<DecisionId, HrmError> {
    answer
        .parse()
        .map_err(|_| HrmError::NotRecorded("the stored answer has a malformed id".to_owned()))
}

fn parse_stored_answer<T: serde::de::DeserializeOwned>(answer: &str) -> Result<T, HrmError> {
    serde_json::from_str(answer)
        .map_err(|_| HrmError::NotRecorded("the stored answer is malformed".to_owned()))
}

fn parse_recorded_action(body: &str) -> Result<Action, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct OnlyAction {
        action: Action,
    }
    serde_json::from_str::<OnlyAction>(body).map(|body| body.action)
}

fn parse_recorded_facts(body: &str) -> Option<Facts> {
    #[derive(serde::Deserialize)]
    struct OnlyFacts {
        facts: Facts,
    }
    serde_json::from_str::<OnlyFacts>(body)
        .ok()
        .map(|body| body.facts)
}

/// The payload of an `ark.decision` signal.
fn decision_payload(decision: &Decision) -> serde_json::Value {
    let fired: Vec<&str> = decision
        .fired_rules()
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
