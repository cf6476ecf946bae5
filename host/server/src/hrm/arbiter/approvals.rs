//! What is held, and what becomes of it.
//!
//! Invariants: an approval counts once, for the very action that was held, and only after that action was judged again with the approval
//! as a fact; whoever proposed or approved it before cannot approve it; what nobody approved in time has expired.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use ark_model::action::Parameters;
use ark_model::decision::Decision;
use ark_model::ids::{AuditId, DecisionId, Digest, Millis, Name, TraceId};
use ark_store::{Approval, ApprovalChange, ApprovalStatus, AuditEntry, AuditKind, Store, Unit};

use super::super::handle::{ApprovedAction, RedactedProposal, Reply, action_identity};
use super::super::metering::DecisionTimes;
use super::super::proposal::{HrmError, Proposal, Resolution, ResolutionAnswer, ResolutionReceipt};
use super::super::redaction::Findings;
use super::{Arbiter, parse_recorded_action, parse_recorded_facts};

/// Who settles what has expired.
const EXPIRY_ACTOR: &str = "ark";

/// Which actions wait. A cache of the approvals' table, in step with it.
#[derive(Default)]
pub(super) struct HeldActions {
    open: BTreeMap<DecisionId, HeldAction>,
    expiries: BTreeSet<(Millis, DecisionId)>,
    counts: HashMap<Name, usize>,
}

/// What must be known of an action that waits.
#[derive(Clone)]
struct HeldAction {
    agent: Name,
    submitter: String,
    trace_id: TraceId,
    action_type: String,
    identity: Digest,
    subject_digest: Option<Digest>,
    earlier_approvers: Vec<String>,
    expires_at: Millis,
}

impl HeldActions {
    pub(super) fn load_open(store: &Store) -> Result<Self, HrmError> {
        let mut held = Self::default();
        let open = store
            .open_approvals()
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        for approval in open {
            held.insert_approval(&approval);
        }
        Ok(held)
    }

    /// Whether another action of this proposer may wait: one may take up a tenth of all places.
    pub(super) fn has_room(&self, agent: &Name, places: usize) -> bool {
        let own = self.counts.get(agent).copied().unwrap_or(0);
        self.open.len() < places && own < (places / 10).max(1)
    }

    fn insert_approval(&mut self, approval: &Approval) {
        let waiting = HeldAction {
            agent: approval.agent.clone(),
            submitter: approval.submitter.clone(),
            trace_id: approval.trace_id,
            action_type: approval.action_type.clone(),
            identity: approval.action_hash,
            subject_digest: approval.subject_hash,
            earlier_approvers: approval.earlier.clone(),
            expires_at: approval.expires_at_ms,
        };
        *self.counts.entry(approval.agent.clone()).or_default() += 1;
        self.expiries.insert((waiting.expires_at, approval.id));
        self.open.insert(approval.id, waiting);
    }

    fn remove_action(&mut self, id: DecisionId) -> Option<HeldAction> {
        let waiting = self.open.remove(&id)?;
        self.expiries.remove(&(waiting.expires_at, id));
        if let Some(count) = self.counts.get_mut(&waiting.agent) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&waiting.agent);
            }
        }
        Some(waiting)
    }
}

impl Arbiter {
    /// Lets a held action wait for an approval.
    pub(super) fn hold_action(
        &mut self,
        decision: &Decision,
        redacted: &RedactedProposal,
        unit: &mut Unit,
    ) {
        let ttl = u64::try_from(self.config.approval_ttl.as_millis()).unwrap_or(u64::MAX);
        let mut earlier = Vec::new();
        if let Some(approved) = &redacted.approval {
            earlier.clone_from(&approved.earlier_approvers);
            earlier.push(approved.by.clone());
        }
        let subject = redacted
            .data_subject
            .as_deref()
            .map(|subject| Digest::hash_bytes(subject.as_bytes()));
        let approval = Approval {
            id: decision.id,
            agent: decision.agent.clone(),
            submitter: redacted.proposal.submitter.clone(),
            trace_id: decision.trace_id,
            action_type: decision.action.action_type.clone(),
            action_hash: redacted.identity,
            subject_hash: subject.or(redacted
                .approval
                .as_ref()
                .and_then(|approved| approved.subject_digest)),
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
        self.held_actions.insert_approval(&approval);
        unit.approvals
            .push(ApprovalChange::Open(Box::new(approval)));
    }

    /// Settles what nobody approved in time.
    pub(super) fn expire_approvals(&mut self, now: Millis) {
        let mut unit = Unit {
            chained: true,
            ..Unit::default()
        };
        self.stage_expiries(now, &mut unit);
        if unit.approvals.is_empty() {
            return;
        }
        let expired = unit.approvals.len();
        let reply: Reply<()> = Box::new(move |result| match result {
            Ok(()) => tracing::info!(expired, "approvals expired"),
            Err(error) => tracing::error!(%error, "the expiry of approvals could not be recorded"),
        });
        self.submit_unit(unit, reply, |_| ());
    }

    fn stage_expiries(&mut self, now: Millis, unit: &mut Unit) {
        while let Some((expires, id)) = self.held_actions.expiries.first().copied() {
            if expires > now {
                break;
            }
            let Some(waiting) = self.held_actions.remove_action(id) else {
                self.held_actions.expiries.remove(&(expires, id));
                continue;
            };
            let resolution = Resolution {
                id,
                approve: false,
                by: EXPIRY_ACTOR.to_owned(),
                comment: "nobody approved it in time".to_owned(),
                idempotency: None,
            };
            stage_resolution(
                unit,
                &waiting,
                &resolution,
                ApprovalStatus::Expired,
                None,
                now,
            );
        }
    }

    /// Approves or rejects.
    pub(super) fn resolve_approval(
        &mut self,
        resolution: Resolution,
        reply: Reply<ResolutionAnswer>,
    ) {
        let scope = format!("approval:{}", resolution.by);
        let seen = |answer: &str| {
            super::parse_stored_answer(answer).map(|receipt| ResolutionAnswer {
                receipt,
                decision: None,
                replayed: true,
            })
        };
        let Some(reply) =
            self.check_idempotency(&scope, resolution.idempotency.as_ref(), reply, seen)
        else {
            return;
        };
        let now = Millis::now();
        self.expire_approvals(now);
        let Some(waiting) = self.held_actions.open.get(&resolution.id).cloned() else {
            let (store, id) = (self.store.clone(), resolution.id);
            // What settled it may still be on its way to the disk: behind it the answer is known.
            return self
                .store
                .call_after_pending(Box::new(move || reply(Err(resolution_error(&store, id)))));
        };
        if let Err(error) = self.check_resolver(&resolution, &waiting) {
            return reply(Err(error));
        }
        let mut unit = Unit {
            ledger: self.ledger.advance_to(now),
            chained: true,
            ..Unit::default()
        };
        let again = if resolution.approve {
            match self.load_held_action(&resolution, &waiting) {
                Ok(again) => Some(again),
                Err(error) => return reply(Err(error)),
            }
        } else {
            None
        };
        self.held_actions.remove_action(resolution.id);
        let status = if resolution.approve {
            ApprovalStatus::Approved
        } else {
            ApprovalStatus::Rejected
        };
        let taken = Instant::now();
        let decision = match again.map(|again| self.decide_and_stage(&again, now, &mut unit)) {
            None => None,
            Some(Ok(decision)) => Some(Arc::new(decision)),
            Some(Err(error)) => {
                self.ledger_is_stale
                    .store(true, std::sync::atomic::Ordering::Release);
                return reply(Err(error));
            }
        };
        let decided = decision.as_ref().map(|decision| decision.id);
        stage_resolution(&mut unit, &waiting, &resolution, status, decided, now);
        let receipt = ResolutionReceipt {
            id: resolution.id,
            status,
            decision_id: decided,
            trace_id: waiting.trace_id,
            at: now,
        };
        if let Some(key) = resolution.idempotency {
            let answer = serde_json::to_string(&receipt).unwrap_or_default();
            self.stage_answer(&scope, key, answer, &mut unit);
        }
        let moments = DecisionTimes {
            accepted: taken,
            judging_started: taken,
            submitted: Instant::now(),
        };
        let durable = self.meter_on_commit(moments, None);
        self.submit_unit(unit, reply, move |_| {
            durable(decision.as_slice());
            ResolutionAnswer {
                receipt,
                decision,
                replayed: false,
            }
        });
    }

    /// Whether this person may settle it, now.
    fn check_resolver(
        &self,
        resolution: &Resolution,
        waiting: &HeldAction,
    ) -> Result<(), HrmError> {
        let Resolution {
            id, approve, by, ..
        } = resolution;
        if !approve {
            return Ok(());
        }
        let own = *by == waiting.submitter || by == waiting.agent.as_str();
        if own || waiting.earlier_approvers.contains(by) {
            return Err(HrmError::NotIndependent {
                id: *id,
                by: by.clone(),
            });
        }
        if self.guards.is_quarantined(&waiting.agent) {
            return Err(HrmError::Quarantined(waiting.agent.clone()));
        }
        Ok(())
    }

    /// The held action as it was judged, to be judged again.
    fn load_held_action(
        &self,
        resolution: &Resolution,
        waiting: &HeldAction,
    ) -> Result<RedactedProposal, HrmError> {
        let unreadable = |error: &dyn std::fmt::Display| HrmError::NotRecorded(error.to_string());
        let row = self
            .store
            .audit_entry(&resolution.id.to_string())
            .map_err(|error| unreadable(&error))?
            .filter(|row| row.kind == AuditKind::Decision)
            .ok_or(HrmError::UnknownApproval(resolution.id))?;
        let action = parse_recorded_action(&row.body).map_err(|error| unreadable(&error))?;
        let canonical = serde_json::to_vec(&action).map_err(|error| unreadable(&error))?;
        if action_identity(&waiting.agent, &canonical) != waiting.identity {
            return Err(unreadable(
                &"the recorded action is not the one that was held",
            ));
        }
        let facts = parse_recorded_facts(&row.body)
            .ok_or_else(|| unreadable(&"the record of the held action has no facts"))?;
        let data_subject = match &action.parameters {
            Parameters::Data(data) => data.subject.clone(),
            _ => None,
        };
        Ok(RedactedProposal {
            proposal: Proposal {
                agent: waiting.agent.clone(),
                submitter: waiting.submitter.clone(),
                trace_id: waiting.trace_id,
                action,
                causal_depth: facts.causal_depth,
                idempotency: None,
                deadline: None,
            },
            // What redaction found then is gone from the action now.
            findings: Findings {
                personal_data: facts.personal_data,
                credentials: facts.credentials,
            },
            data_subject,
            identity: waiting.identity,
            refusal: None,
            approval: Some(ApprovedAction {
                held_id: resolution.id,
                held_at: row.at,
                by: resolution.by.clone(),
                earlier_approvers: waiting.earlier_approvers.clone(),
                subject_digest: waiting.subject_digest,
            }),
            accepted_at: Instant::now(),
            queue_place: None,
        })
    }
}

/// Why an approval that does not wait cannot be settled.
fn resolution_error(store: &Store, id: DecisionId) -> HrmError {
    match store.approval(id) {
        Ok(Some(row)) => HrmError::ApprovalAlreadyResolved {
            id,
            status: row.status.as_str(),
            by: row.settled_by,
        },
        Ok(None) => HrmError::UnknownApproval(id),
        Err(error) => HrmError::NotRecorded(error.to_string()),
    }
}

fn stage_resolution(
    unit: &mut Unit,
    waiting: &HeldAction,
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
        trace_id: Some(waiting.trace_id),
        agent: Some(waiting.agent.clone()),
        action_type: Some(waiting.action_type.clone()),
        outcome: None,
        at: now,
        body: json!({
            "approval_id": id,
            "action_hash": waiting.identity,
            "status": status,
            "by": by,
            "comment": comment,
            "decision_id": decision_id,
        })
        .to_string(),
    });
}
