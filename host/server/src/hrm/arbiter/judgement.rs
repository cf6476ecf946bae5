//! One decision: facts, verdicts, outcome, and what is committed with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::hrm::combine::combine_verdicts;
use crate::hrm::error::HrmError;
use crate::hrm::ledger::{FactQuery, IDENTICAL_WINDOW};
use crate::hrm::record::index_fields;
use crate::hrm::request::{ApprovedAction, Proposal, RedactedProposal};
use crate::hrm::topics::DECISION_TOPIC;
use ark_model::action::{Family, Parameters};
use ark_model::decision::{ApprovalGiven, Decision, Outcome, PolicyVerdict, ShadowVerdict};
use ark_model::facts::{ApprovalFact, Facts};
use ark_model::ids::{DecisionId, Millis};
use ark_store::{AuditEntry, AuditKind, OutboxMessage, Unit};

use super::state::Arbiter;

/// What the facts, the policies and the host itself make of a proposal.
pub(super) struct Judgement {
    facts: Facts,
    verdicts: Vec<PolicyVerdict>,
    shadows: Vec<ShadowVerdict>,
    /// Why the host itself denies the action.
    refusal: Option<String>,
    pub(super) outcome: Outcome,
    compliance_score: f64,
}

impl Judgement {
    /// Makes it the decision about the proposal that was judged at `now`.
    fn into_decision(
        self,
        proposal: Proposal,
        approval: Option<&ApprovedAction>,
        now: Millis,
    ) -> Decision {
        let is_own = proposal.submitter == proposal.agent.as_str();
        Decision {
            id: DecisionId::fresh(),
            trace_id: proposal.trace_id,
            agent: proposal.agent,
            submitter: (!is_own).then_some(proposal.submitter),
            decided_at: now,
            action: proposal.action,
            facts: self.facts,
            verdicts: self.verdicts,
            shadows: self.shadows,
            refusal: self.refusal,
            approval: approval.map(|approval| ApprovalGiven {
                held: approval.held_id,
                by: approval.by.clone(),
            }),
            outcome: self.outcome,
            compliance_score: self.compliance_score,
        }
    }
}

impl Arbiter {
    /// Decides proposals one after the other, each with the reservations of those before it.
    ///
    /// # Errors
    /// As [`Arbiter::decide_and_stage`]. The ledger then contains decisions that will not be committed, so it is loaded again.
    pub(super) fn decide_all(
        &mut self,
        proposals: impl IntoIterator<Item = RedactedProposal>,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<Vec<Arc<Decision>>, HrmError> {
        proposals
            .into_iter()
            .map(|redacted| self.decide_and_stage(redacted, now, unit))
            .collect()
    }

    /// Decides a proposal, records the decision in the ledger and adds what is committed with it to the unit.
    ///
    /// # Errors
    /// [`HrmError::NotRecorded`] when the decision cannot be encoded.
    pub(super) fn decide_and_stage(
        &mut self,
        redacted: RedactedProposal,
        now: Millis,
        unit: &mut Unit,
    ) -> Result<Arc<Decision>, HrmError> {
        let judgement = self.judge_action(&redacted, now);
        let RedactedProposal {
            proposal,
            instrument,
            findings,
            data_subject,
            repetition_key,
            approval,
            ..
        } = redacted;
        let decision = Arc::new(judgement.into_decision(proposal, approval.as_ref(), now));
        if decision.outcome == Outcome::Held {
            let subject = data_subject.as_deref();
            self.hold_action(&decision, approval.as_ref(), subject, repetition_key, unit);
        }
        let body = self
            .records
            .encode_decision(&decision)
            .inspect_err(|_| self.mark_ledger_stale())?;
        let query = FactQuery {
            agent: &decision.agent,
            action: &decision.action,
            instrument: instrument.as_ref(),
            repetition_key,
            findings: &findings,
            data_subject: data_subject.as_deref(),
            subject_digest: approval.and_then(|approval| approval.subject_digest),
            causal_depth: decision.facts.causal_depth,
        };
        let mut changes = self
            .ledger
            .record_decision(decision.id, query, decision.outcome, now);
        if unit.ledger.is_empty() {
            unit.ledger = changes;
        } else {
            unit.ledger.append(&mut changes);
        }
        unit.audit.push(AuditEntry {
            kind: AuditKind::Decision,
            id: decision.id.into(),
            trace_id: Some(decision.trace_id),
            agent: Some(decision.agent.clone()),
            action_type: Some(decision.action.action_type.clone()),
            outcome: Some(decision.outcome),
            at: now,
            body,
            subject: Some(Arc::new(index_fields(&decision))),
        });
        self.stage_messages(&decision, unit);
        if decision.outcome == Outcome::Denied && decision.violates_rules() {
            *self
                .violations
                .lock()
                .entry(decision.agent.clone())
                .or_default() += 1;
        }
        Ok(decision)
    }

    /// Decides a proposal as [`Arbiter::judge_action`] judges it.
    pub(super) fn decide_action(&mut self, redacted: RedactedProposal, now: Millis) -> Decision {
        let judgement = self.judge_action(&redacted, now);
        judgement.into_decision(redacted.proposal, redacted.approval.as_ref(), now)
    }

    /// Judges a proposal, with the ledger as it was moved on to `now`. Changes nothing but the warm instance of the Graveyard.
    pub(super) fn judge_action(&mut self, redacted: &RedactedProposal, now: Millis) -> Judgement {
        let started = Instant::now();
        let proposal = &redacted.proposal;
        let facts = self.gather_facts(redacted, now);
        let evaluation_started = Instant::now();
        let verdicts = self.judge.collect_verdicts(&proposal.action, &facts);
        self.config.meters.policy.record_since(evaluation_started);
        let (mut outcome, mut compliance_score) = combine_verdicts(&verdicts);
        let mut refusal = redacted
            .refusal
            .clone()
            .or_else(|| self.action_types.load().find_refusal(&proposal.action))
            .or_else(|| {
                self.ledger
                    .refuse_action(&proposal.agent, &proposal.action, now)
            });
        if outcome == Outcome::Held
            && refusal.is_none()
            && !self
                .held_actions
                .has_room(&proposal.agent, self.config.approvals)
        {
            refusal = Some("too many of its actions wait for an approval already".to_owned());
        }
        if refusal.is_some() {
            outcome = Outcome::Denied;
            compliance_score = 0.0;
        }
        let shadows = self.judge.collect_shadow_verdicts(
            &proposal.action,
            &facts,
            &verdicts,
            refusal.is_some(),
        );
        self.config.meters.evaluation.record_since(started);
        Judgement {
            facts,
            verdicts,
            shadows,
            refusal,
            outcome,
            compliance_score,
        }
    }

    /// Gathers the facts of the ledger and of the host itself.
    fn gather_facts(&self, redacted: &RedactedProposal, now: Millis) -> Facts {
        let mut facts = self.ledger.gather_facts(fact_query(redacted), now);
        if let Some(approval) = &redacted.approval {
            facts.approval = ApprovalFact::Human;
            // The held action was recorded as a recent one, and is no repetition of itself.
            if now.seconds_since(approval.held_at) < IDENTICAL_WINDOW.as_secs_f64() {
                facts.identical_actions = facts.identical_actions.saturating_sub(1);
            }
        }
        facts.halt_active = self.guards.is_halted();
        facts.pin_holds = self.guards.pin_holds();
        facts.watchdog_beating = self.guards.watchdog_beating(now);
        facts.audit_writable = self.store.audit_writable();
        facts
    }

    /// Adds the message of a decision to the outbox: an approved message itself, or the announcement of a decision on another action.
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
                    topic: DECISION_TOPIC.to_owned(),
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
}

fn fact_query(redacted: &RedactedProposal) -> FactQuery<'_> {
    FactQuery {
        agent: &redacted.proposal.agent,
        action: &redacted.proposal.action,
        instrument: redacted.instrument.as_ref(),
        repetition_key: redacted.repetition_key,
        findings: &redacted.findings,
        data_subject: redacted.data_subject.as_deref(),
        subject_digest: redacted
            .approval
            .as_ref()
            .and_then(|approval| approval.subject_digest),
        causal_depth: redacted.proposal.causal_depth,
    }
}

/// The payload of the signal that announces a decision.
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
