//! Holding actions and resolving their approvals.
//!
//! Invariants: an approval counts once, for exactly the action that was held, and only after that action was judged again with the approval as a fact;
//! the actors who proposed or approved the action before cannot approve it; an approval that nobody resolves in time expires.

use std::time::Instant;

use serde_json::json;

use crate::hrm::error::{HrmError, RecordFailure};
use crate::hrm::record::{decode_action, decode_facts};
use crate::hrm::redaction::Findings;
use crate::hrm::request::{
    ApprovedAction, HrmReply, Proposal, RedactedProposal, Resolution, ResolutionAnswer,
    ResolutionReceipt, action_digest, repetition_key,
};
use ark_model::action::Parameters;
use ark_model::decision::Decision;
use ark_model::ids::{AuditId, DecisionId, Digest, Millis};
use ark_model::usage::QuotaHolder;
use ark_store::{Approval, ApprovalChange, ApprovalStatus, AuditEntry, AuditKind, Store, Unit};

use super::held_actions::OpenApproval;
use super::idempotency::{format_receipt, parse_receipt};
use super::state::Arbiter;

/// The actor recorded for an approval that expired.
const EXPIRY_ACTOR: &str = "ark";

impl Arbiter {
    /// Opens an approval for a held action. `given` is the approval under which it was judged, `data_subject` the subject's name before redaction.
    pub(super) fn hold_action(
        &mut self,
        decision: &Decision,
        given: Option<&ApprovedAction>,
        data_subject: Option<&str>,
        repetition_key: Digest,
        unit: &mut Unit,
    ) {
        let ttl = u64::try_from(self.config.approval_ttl.as_millis()).unwrap_or(u64::MAX);
        let mut earlier = Vec::new();
        if let Some(approval) = given {
            earlier.clone_from(&approval.earlier_approvers);
            earlier.push(approval.by.clone());
        }
        let subject = data_subject.map(|subject| Digest::hash_bytes(subject.as_bytes()));
        let known_subject = given.and_then(|approval| approval.subject_digest);
        // A decision names no submitter where the agent proposed itself.
        let submitter = decision.submitter.clone();
        let approval = Approval {
            id: decision.id,
            agent: decision.agent.clone(),
            submitter: submitter.unwrap_or_else(|| decision.agent.to_string()),
            trace_id: decision.trace_id,
            action_type: decision.action.action_type.clone(),
            action_hash: action_digest(&decision.agent, &decision.action),
            subject_hash: subject.or(known_subject),
            earlier,
            reasons: decision.reasons(),
            status: ApprovalStatus::Open,
            created_at_ms: decision.decided_at,
            expires_at_ms: Millis(decision.decided_at.0.saturating_add(ttl)),
            settled_at_ms: None,
            settled_by: None,
            comment: None,
            decision_id: None,
        };
        self.held_actions
            .insert_approval(&approval, Some(repetition_key));
        unit.approvals
            .push(ApprovalChange::Open(Box::new(approval)));
    }

    /// Expires the approvals that nobody resolved in time, and commits the orders that ended meanwhile: no proposal after a quiet time pays for them.
    pub(super) fn expire_approvals(&mut self, now: Millis) {
        let mut unit = self.begin_unit(now);
        while let Some((id, held)) = self.held_actions.pop_expired(now) {
            let expiry = Resolution {
                id,
                approve: false,
                by: EXPIRY_ACTOR.to_owned(),
                comment: "nobody approved it in time".to_owned(),
                idempotency: None,
            };
            stage_resolution(
                &mut unit,
                &held,
                &expiry,
                ApprovalStatus::Expired,
                None,
                now,
            );
        }
        let expired = unit.approvals.len();
        let ended = unit.ledger.len();
        if expired == 0 && ended == 0 {
            return;
        }
        let reply: HrmReply<()> = Box::new(move |result| match result {
            Ok(()) if expired == 0 => tracing::debug!(ended, "orders ended without a report"),
            Ok(()) => tracing::info!(expired, ended, "approvals expired"),
            Err(error) => {
                tracing::error!(%error, "the expiry of approvals and orders was not recorded");
            }
        });
        self.submit_unit(unit, reply, || ());
    }

    /// Approves or rejects a held action. An approved action is judged again.
    pub(super) fn resolve_approval(
        &mut self,
        resolution: &Resolution,
        reply: HrmReply<ResolutionAnswer>,
    ) {
        let started = Instant::now();
        let scope = format!("approval:{}", resolution.by);
        let key = resolution.idempotency.clone();
        let repeated = |answer: &str| {
            parse_receipt(answer).map(|receipt| ResolutionAnswer {
                receipt,
                decision: None,
                replayed: true,
            })
        };
        let Some(reply) = self.check_idempotency(&scope, key.as_ref(), reply, repeated) else {
            return;
        };
        let now = Millis::now();
        self.expire_approvals(now);
        let Some(held) = self.held_actions.get_action(resolution.id).cloned() else {
            let (store, id) = (self.store.clone(), resolution.id);
            // The commit that resolved it may still be pending: the reason is read after it.
            return self
                .store
                .call_after_pending(Box::new(move || reply(Err(resolution_error(&store, id)))));
        };
        let approved = match self.load_approved_action(resolution, &held) {
            Ok(approved) => approved,
            Err(error) => return reply(Err(error)),
        };
        let mut unit = self.begin_unit(now);
        self.held_actions.remove_action(resolution.id);
        let decisions = match self.decide_all(approved, now, &mut unit) {
            Ok(decisions) => decisions,
            Err(error) => return reply(Err(error)),
        };
        let status = if resolution.approve {
            ApprovalStatus::Approved
        } else {
            ApprovalStatus::Rejected
        };
        let decision_id = decisions.first().map(|decision| decision.id);
        stage_resolution(&mut unit, &held, resolution, status, decision_id, now);
        let receipt = ResolutionReceipt {
            id: resolution.id,
            status,
            decision_id,
            trace_id: held.trace_id,
            at: now,
        };
        self.stage_answer(&scope, key, || format_receipt(&receipt), &mut unit);
        let times = (started, started);
        self.submit_decisions(unit, decisions, times, None, reply, move |decisions| {
            ResolutionAnswer {
                receipt,
                decision: decisions.into_iter().next(),
                replayed: false,
            }
        });
    }

    /// Returns the held action to be judged again, or `None` for a rejection.
    ///
    /// # Errors
    /// The actor may not approve it, its agent is in quarantine, or its audit row cannot be read.
    fn load_approved_action(
        &self,
        resolution: &Resolution,
        held: &OpenApproval,
    ) -> Result<Option<RedactedProposal>, HrmError> {
        let Resolution { id, by, .. } = resolution;
        if !resolution.approve {
            return Ok(None);
        }
        let is_proposer = *by == held.submitter || by == held.agent.as_str();
        if is_proposer || held.earlier_approvers.contains(by) {
            return Err(HrmError::NotIndependent {
                id: *id,
                by: by.clone(),
            });
        }
        if self.guards.is_quarantined(&held.agent) {
            return Err(HrmError::Quarantined(held.agent.clone()));
        }
        let row = self
            .store
            .audit_entry(&id.to_string())?
            .filter(|row| row.kind == AuditKind::Decision)
            .ok_or(HrmError::UnknownApproval(*id))?;
        let action = decode_action(&row.body)?;
        if action_digest(&held.agent, &action) != held.action_digest {
            return Err(RecordFailure::HeldActionMismatch.into());
        }
        let facts = decode_facts(&row.body).map_err(|_| RecordFailure::MissingFacts)?;
        let aliases = &self.config.aliases;
        let instrument = action.symbol().map(|symbol| aliases.find_key(symbol));
        let data_subject = match &action.parameters {
            Parameters::Data(data) => data.subject.clone(),
            _ => None,
        };
        // After a restart, what was recorded of it stands for it, as in the ledger.
        let repetition_key = held
            .repetition_key
            .unwrap_or_else(|| repetition_key(&held.agent, &action, instrument.as_ref()));
        Ok(Some(RedactedProposal {
            proposal: Proposal {
                agent: held.agent.clone(),
                submitter: held.submitter.clone(),
                charged_to: QuotaHolder::Agent(held.agent.clone()),
                trace_id: held.trace_id,
                action,
                refusal: None,
                causal_depth: facts.causal_depth,
                idempotency: None,
                deadline: None,
            },
            instrument,
            // The recorded action is redacted. What redaction found in it is known from its facts only.
            findings: Findings {
                personal_data: facts.personal_data,
                credentials: facts.credentials,
            },
            text_bytes: 0,
            data_subject,
            repetition_key,
            refusal: None,
            approval: Some(ApprovedAction {
                held_id: *id,
                held_at: row.at,
                by: by.clone(),
                earlier_approvers: held.earlier_approvers.clone(),
                subject_digest: held.subject_digest,
            }),
            accepted_at: Instant::now(),
            queue_place: None,
        }))
    }
}

/// Returns why an approval that is not open cannot be resolved.
fn resolution_error(store: &Store, id: DecisionId) -> HrmError {
    match store.approval(id) {
        Ok(Some(row)) => HrmError::ApprovalAlreadyResolved {
            id,
            status: row.status,
            by: row.settled_by,
            at: row.settled_at_ms,
            decision_id: row.decision_id,
        },
        Ok(None) => HrmError::UnknownApproval(id),
        Err(error) => error.into(),
    }
}

/// Adds the resolution of an approval and its audit row to a unit.
fn stage_resolution(
    unit: &mut Unit,
    held: &OpenApproval,
    resolution: &Resolution,
    status: ApprovalStatus,
    decision_id: Option<DecisionId>,
    now: Millis,
) {
    let Resolution {
        id, by, comment, ..
    } = resolution;
    unit.approvals.push(ApprovalChange::Resolve {
        id: *id,
        status,
        by: by.clone(),
        comment: comment.clone(),
        decision_id,
        at: now,
    });
    unit.audit.push(AuditEntry {
        kind: AuditKind::Approval,
        id: AuditId::fresh(),
        trace_id: Some(held.trace_id),
        agent: Some(held.agent.clone()),
        action_type: Some(held.action_type.clone()),
        outcome: None,
        at: now,
        body: json!({
            "approval_id": id,
            "action_hash": held.action_digest,
            "status": status,
            "by": by,
            "comment": comment,
            "decision_id": decision_id,
        })
        .to_string(),
        subject: None,
    });
}
