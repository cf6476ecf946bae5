//! The held actions that wait for an approval.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::hrm::error::HrmError;
use ark_model::ids::{DecisionId, Digest, Millis, Name, TraceId};
use ark_store::{Approval, Store};

/// The open approvals: a cache of the store's table, changed in step with it.
#[derive(Default)]
pub(super) struct HeldActions {
    open: BTreeMap<DecisionId, HeldAction>,
    expiries: BTreeSet<(Millis, DecisionId)>,
    counts: HashMap<Name, usize>,
}

/// What is needed of a held action to resolve its approval.
#[derive(Clone)]
pub(super) struct HeldAction {
    pub(super) agent: Name,
    pub(super) submitter: String,
    pub(super) trace_id: TraceId,
    pub(super) action_type: String,
    /// The digest to which the approval is bound.
    pub(super) action_digest: Digest,
    /// By which rule 22 counted it when it was held; `None` after a restart.
    pub(super) identity: Option<Digest>,
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

    pub(super) fn get_action(&self, id: DecisionId) -> Option<&HeldAction> {
        self.open.get(&id)
    }

    pub(super) fn insert_approval(&mut self, approval: &Approval, identity: Option<Digest>) {
        let held = HeldAction {
            agent: approval.agent.clone(),
            submitter: approval.submitter.clone(),
            trace_id: approval.trace_id,
            action_type: approval.action_type.clone(),
            action_digest: approval.action_hash,
            identity,
            subject_digest: approval.subject_hash,
            earlier_approvers: approval.earlier.clone(),
            expires_at: approval.expires_at_ms,
        };
        *self.counts.entry(approval.agent.clone()).or_default() += 1;
        self.expiries.insert((held.expires_at, approval.id));
        self.open.insert(approval.id, held);
    }

    pub(super) fn remove_action(&mut self, id: DecisionId) -> Option<HeldAction> {
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
    pub(super) fn pop_expired(&mut self, now: Millis) -> Option<(DecisionId, HeldAction)> {
        let (expires, id) = self.expiries.first().copied()?;
        if expires > now {
            return None;
        }
        Some((id, self.remove_action(id)?))
    }
}
