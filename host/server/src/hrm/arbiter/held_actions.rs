//! The held actions that wait for an approval.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::hrm::error::HrmError;
use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use ark_store::{Approval, Store};

/// The open approvals: a cache of the store's table, changed in step with it.
#[derive(Default)]
pub(super) struct HeldActions {
    open: BTreeMap<DecisionId, OpenApproval>,
    expiries: BTreeSet<(Millis, DecisionId)>,
    counts: HashMap<Name, usize>,
}

/// What is needed of a held action to resolve its approval.
#[derive(Clone)]
pub(super) struct OpenApproval {
    pub(super) agent: Name,
    pub(super) submitter: String,
    pub(super) trace_id: TraceId,
    pub(super) action_type: String,
    /// The digest to which the approval is bound.
    pub(super) action_digest: Digest,
    /// The key by which rule 22 counted it when it was held; `None` after a restart.
    pub(super) repetition_key: Option<Digest>,
    pub(super) subject_digest: Option<Digest>,
    pub(super) earlier_approvers: Vec<String>,
    expires_at: Millis,
}

impl HeldActions {
    /// Loads the open approvals.
    pub(super) fn load_open(store: &Store) -> Result<Self, HrmError> {
        let mut held = Self::default();
        for approval in store.open_approvals()? {
            held.insert_approval(&approval, None);
        }
        Ok(held)
    }

    /// Returns whether another action of this agent may be held: `limit` actions may wait in all, a tenth of them for one agent.
    pub(super) fn has_room(&self, agent: &Name, limit: usize) -> bool {
        let own = self.counts.get(agent).copied().unwrap_or(0);
        self.open.len() < limit && own < (limit / 10).max(1)
    }

    pub(super) fn get_action(&self, id: DecisionId) -> Option<&OpenApproval> {
        self.open.get(&id)
    }

    pub(super) fn insert_approval(&mut self, approval: &Approval, repetition_key: Option<Digest>) {
        let held = OpenApproval {
            agent: approval.agent.clone(),
            submitter: approval.submitter.clone(),
            trace_id: approval.trace_id,
            action_type: approval.action_type.clone(),
            action_digest: approval.action_hash,
            repetition_key,
            subject_digest: approval.subject_hash,
            earlier_approvers: approval.earlier.clone(),
            expires_at: approval.expires_at_ms,
        };
        *self.counts.entry(approval.agent.clone()).or_default() += 1;
        self.expiries.insert((held.expires_at, approval.id));
        self.open.insert(approval.id, held);
    }

    pub(super) fn remove_action(&mut self, id: DecisionId) -> Option<OpenApproval> {
        let held = self.open.remove(&id)?;
        self.expiries.remove(&(held.expires_at, id));
        if let Some(count) = self.counts.get_mut(&held.agent) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&held.agent);
            }
        }
        Some(held)
    }

    /// Removes an action that has expired at `now`, the one that expired first.
    pub(super) fn pop_expired(&mut self, now: Millis) -> Option<(DecisionId, OpenApproval)> {
        let (expires, id) = self.expiries.first().copied()?;
        if expires > now {
            return None;
        }
        Some((id, self.remove_action(id)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_store::ApprovalStatus;

    #[test]
    fn an_approval_expires_once_whichever_way_the_clock_goes() {
        let mut held = HeldActions::default();
        let agent: Name = "kenny".parse().unwrap();
        let ids = [1_000, 2_000].map(|expires_at| {
            let id = DecisionId::fresh();
            held.insert_approval(
                &Approval {
                    id,
                    agent: agent.clone(),
                    submitter: "desk".to_owned(),
                    trace_id: TraceId::fresh(),
                    action_type: "execute_code".to_owned(),
                    action_hash: Digest::hash_bytes(b"x"),
                    subject_hash: None,
                    earlier: Vec::new(),
                    reasons: Vec::new(),
                    status: ApprovalStatus::Open,
                    created_at_ms: Millis(0),
                    expires_at_ms: Millis(expires_at),
                    settled_at_ms: None,
                    settled_by: None,
                    comment: None,
                    decision_id: None,
                },
                None,
            );
            id
        });
        let mut expired = |now: u64| held.pop_expired(Millis(now)).map(|(id, _)| id);
        // Before its time; at its time; not again, also when the clock is set back and comes there once more.
        let steps = [
            (999, None),
            (0, None),
            (1_000, Some(ids[0])),
            (500, None),
            (1_500, None),
            (9_000, Some(ids[1])),
            (9_000, None),
        ];
        for (now, expected) in steps {
            assert_eq!(expired(now), expected, "{now}");
        }
        assert!(held.get_action(ids[0]).is_none() && held.has_room(&agent, 10));
    }
}
