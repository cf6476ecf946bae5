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
use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use ark_store::{Approval, ApprovalChange, ApprovalStatus, AuditEntry, AuditKind, Store, Unit};

use super::super::handle::{Approved, Redacted, Reply, identity_of};
use super::super::metering::Moments;
use super::super::proposal::{HrmError, Proposal, Resolution, ResolutionReceipt, Resolved};
use super::super::redaction::Findings;
use super::{Arbiter, action_of, facts_of};

/// Who settles what has expired.
const EXPIRED_BY: &str = "ark";

/// Which actions wait. A cache of the approvals' table, in step with it.
#[derive(Default)]
pub(super) struct Held {
    open: BTreeMap<DecisionId, Waiting>,
    expiries: BTreeSet<(Millis, DecisionId)>,
    counts: HashMap<Name, usize>,
}

/// What must be known of an action that waits.
#[derive(Clone)]
struct Waiting {
    agent: Name,
    submitter: String,
    trace_id: TraceId,
    action_type: String,
    identity: Digest,
    subject: Option<Digest>,
    earlier: Vec<String>,
    expires_at: Millis,
}

impl Held {
    pub(super) fn load(store: &Store) -> Result<Self, HrmError> {
        let mut held = Self::default();
        let open = store
            .open_approvals()
            .map_err(|error| HrmError::NotRecorded(error.to_string()))?;
        for approval in open {
            held.add(&approval);
        }
        Ok(held)
    }

    /// Whether another action of this proposer may wait: one may take up a tenth of all places.
    pub(super) fn has_room(&self, agent: &Name, places: usize) -> bool {
        let own = self.counts.get(agent).copied().unwrap_or(0);
        self.open.len() < places && own < (places / 10).max(1)
    }

    fn add(&mut self, approval: &Approval) {
        let waiting = Waiting {
            agent: approval.agent.clone(),
            submitter: approval.submitter.clone(),
            trace_id: approval.trace_id,
            action_type: approval.action_type.clone(),
            identity: approval.action_hash,
            subject: approval.subject_hash,
            earlier: approval.earlier.clone(),
            expires_at: approval.expires_at_ms,
        };
        *self.counts.entry(approval.agent.clone()).or_default() += 1;
        self.expiries.insert((waiting.expires_at, approval.id));
        self.open.insert(approval.id, waiting);
    }

    fn remove(&mut self, id: DecisionId) -> Option<Waiting> {
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
    pub(super) fn hold(&mut self, decision: &Decision, redacted: &Redacted, unit: &mut Unit) {
        let ttl = u64::try_from(self.config.approval_ttl.as_millis()).unwrap_or(u64::MAX);
        let mut earlier = Vec::new();
        if let Some(approved) = &redacted.approved {
            earlier.clone_from(&approved.earlier);
            earlier.push(approved.by.clone());
        }
        let subject = redacted
            .data_subject
            .as_deref()
            .map(|subject| Digest::of(subject.as_bytes()));
        let approval = Approval {
            id: decision.id,
            agent: decision.agent.clone(),
            submitter: redacted.proposal.submitter.clone(),
            trace_id: decision.trace_id,
            action_type: decision.action.action_type.clone(),
            action_hash: redacted.identity,
            subject_hash: subject.or(redacted
                .approved
                .as_ref()
                .and_then(|approved| approved.subject)),
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
        self.held.add(&approval);
        unit.approvals
            .push(ApprovalChange::Open(Box::new(approval)));
    }

    /// Settles what nobody approved in time.
    pub(super) fn expire(&mut self, now: Millis) {
        let mut unit = Unit {
            chained: true,
            ..Unit::default()
        };
        self.expire_into(now, &mut unit);
        if unit.approvals.is_empty() {
            return;
        }
        let expired = unit.approvals.len();
        let reply: Reply<()> = Box::new(move |result| match result {
            Ok(()) => tracing::info!(expired, "approvals expired"),
            Err(error) => tracing::error!(%error, "the expiry of approvals could not be recorded"),
        });
        self.submit(unit, reply, |_| ());
    }

    fn expire_into(&mut self, now: Millis, unit: &mut Unit) {
        while let Some((expires, id)) = self.held.expiries.first().copied() {
            if expires > now {
                break;
            }
            let Some(waiting) = self.held.remove(id) else {
                self.held.expiries.remove(&(expires, id));
                continue;
            };
            let resolution = Resolution {
                id,
                approve: false,
                by: EXPIRED_BY.to_owned(),
                comment: "nobody approved it in time".to_owned(),
                idempotency: None,
            };
            settle(
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
    pub(super) fn resolve(&mut self, resolution: Resolution, reply: Reply<Resolved>) {
        let scope = format!("approval:{}", resolution.by);
        let seen = |answer: &str| {
            super::kept(answer).map(|receipt| Resolved {
                receipt,
                decision: None,
                replayed: true,
            })
        };
        let Some(reply) = self.first(&scope, resolution.idempotency.as_ref(), reply, seen) else {
            return;
        };
        let now = Millis::now();
        self.expire(now);
        let Some(waiting) = self.held.open.get(&resolution.id).cloned() else {
            let (store, id) = (self.store.clone(), resolution.id);
            // What settled it may still be on its way to the disk: behind it the answer is known.
            return self
                .store
                .barrier(Box::new(move || reply(Err(settled(&store, id)))));
        };
        if let Err(error) = self.may_settle(&resolution, &waiting) {
            return reply(Err(error));
        }
        let mut unit = Unit {
            ledger: self.ledger.advance(now),
            chained: true,
            ..Unit::default()
        };
        let again = if resolution.approve {
            match self.again(&resolution, &waiting) {
                Ok(again) => Some(again),
                Err(error) => return reply(Err(error)),
            }
        } else {
            None
        };
        self.held.remove(resolution.id);
        let status = if resolution.approve {
            ApprovalStatus::Approved
        } else {
            ApprovalStatus::Rejected
        };
        let taken = Instant::now();
        let decision = match again.map(|again| self.take(&again, now, &mut unit)) {
            None => None,
            Some(Ok(decision)) => Some(Arc::new(decision)),
            Some(Err(error)) => {
                self.stale.store(true, std::sync::atomic::Ordering::Release);
                return reply(Err(error));
            }
        };
        let decided = decision.as_ref().map(|decision| decision.id);
        settle(&mut unit, &waiting, &resolution, status, decided, now);
        let receipt = ResolutionReceipt {
            id: resolution.id,
            status,
            decision_id: decided,
            trace_id: waiting.trace_id,
            at: now,
        };
        if let Some(key) = resolution.idempotency {
            let answer = serde_json::to_string(&receipt).unwrap_or_default();
            self.remember(&scope, key, answer, &mut unit);
        }
        let moments = Moments {
            accepted: taken,
            taken,
            submitted: Instant::now(),
        };
        let durable = self.durable(moments, None);
        self.submit(unit, reply, move |_| {
            durable(decision.as_slice());
            Resolved {
                receipt,
                decision,
                replayed: false,
            }
        });
    }

    /// Whether this person may settle it, now.
    fn may_settle(&self, resolution: &Resolution, waiting: &Waiting) -> Result<(), HrmError> {
        let Resolution {
            id, approve, by, ..
        } = resolution;
        if !approve {
            return Ok(());
        }
        let own = *by == waiting.submitter || by == waiting.agent.as_str();
        if own || waiting.earlier.contains(by) {
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
    fn again(&self, resolution: &Resolution, waiting: &Waiting) -> Result<Redacted, HrmError> {
        let unreadable = |error: &dyn std::fmt::Display| HrmError::NotRecorded(error.to_string());
        let row = self
            .store
            .audit_entry(&resolution.id.to_string())
            .map_err(|error| unreadable(&error))?
            .filter(|row| row.kind == AuditKind::Decision)
            .ok_or(HrmError::UnknownApproval(resolution.id))?;
        let action = action_of(&row.body).map_err(|error| unreadable(&error))?;
        let canonical = serde_json::to_vec(&action).map_err(|error| unreadable(&error))?;
        if identity_of(&waiting.agent, &canonical) != waiting.identity {
            return Err(unreadable(
                &"the recorded action is not the one that was held",
            ));
        }
        let facts = facts_of(&row.body)
            .ok_or_else(|| unreadable(&"the record of the held action has no facts"))?;
        let data_subject = match &action.parameters {
            Parameters::Data(data) => data.subject.clone(),
            _ => None,
        };
        Ok(Redacted {
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
            approved: Some(Approved {
                held: resolution.id,
                held_at: row.at,
                by: resolution.by.clone(),
                earlier: waiting.earlier.clone(),
                subject: waiting.subject,
            }),
            accepted: Instant::now(),
            place: None,
        })
    }
}

/// Why an approval that does not wait cannot be settled.
fn settled(store: &Store, id: DecisionId) -> HrmError {
    match store.approval(id) {
        Ok(Some(row)) => HrmError::ApprovalSettled {
            id,
            status: row.status.as_str(),
            by: row.settled_by,
        },
        Ok(None) => HrmError::UnknownApproval(id),
        Err(error) => HrmError::NotRecorded(error.to_string()),
    }
}

fn settle(
    unit: &mut Unit,
    waiting: &Waiting,
    resolution: &Resolution,
    status: ApprovalStatus,
    decision_id: Option<DecisionId>,
    now: Millis,
) {
    let Resolution {
        id, by, comment, ..
    } = resolution;
    unit.approvals.push(ApprovalChange::Settle {
        id: *id,
        status,
        by: by.clone(),
        comment: comment.clone(),
        decision_id,
        at: now,
    });
    unit.audit.push(AuditEntry {
        kind: AuditKind::Approval,
        id: DecisionId::fresh().to_string(),
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
