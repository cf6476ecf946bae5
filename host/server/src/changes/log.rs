//! One change at a time, and a memory of those that were refused.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};
use serde_json::json;

use ark_model::ids::{Digest, Millis, Name};
use ark_store::{Store, Unit};

use super::change_request::ChangeRequest;

/// For how many names the last refusal is remembered. Bounds the memory that uploads under ever new names can take.
const MAX_REMEMBERED_REFUSALS: usize = 256;

/// Why the last refused upload of a name was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRefusal {
    /// When it was refused.
    pub at_ms: Millis,
    /// Who uploaded it.
    pub by: String,
    /// The SHA-256 that was stated; absent when the upload was refused before it could be read.
    pub sha256: Option<Digest>,
    /// Why it was refused.
    pub reason: String,
}

/// The agent or policy that a change is about.
#[derive(Debug, Clone, Copy)]
pub enum ChangeTarget<'a> {
    /// An agent.
    Agent(&'a Name),
    /// An operator policy.
    Policy(&'a Name),
}

/// How many changes other than uploads had been made of a name when an upload of it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangesSeen(u64);

/// Serialises the changes of agents, or of policies, and records the uploads that are refused.
pub struct ChangeLog {
    store: Store,
    /// Held by the thread that makes a change.
    change: Mutex<()>,
    last_refusals: Mutex<BTreeMap<Name, UploadRefusal>>,
    /// How many changes other than uploads were made of each name since the start.
    changes: Mutex<BTreeMap<Name, u64>>,
}

impl ChangeLog {
    /// Returns a log that writes its audit rows to `store` and remembers no refusal yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            change: Mutex::default(),
            last_refusals: Mutex::default(),
            changes: Mutex::default(),
        }
    }

    /// Blocks until no other change runs. The caller's change ends when it drops the guard.
    #[must_use = "the change ends when the guard is dropped"]
    pub fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.change.lock()
    }

    /// Returns how many changes other than uploads were made of a name until now, for an upload that is made later.
    #[must_use]
    pub fn changes_seen(&self, name: &Name) -> ChangesSeen {
        let changes = self.changes.lock();
        ChangesSeen(changes.get(name).copied().unwrap_or(0))
    }

    /// Counts a change that decides which version is in force and is not an upload: an upload that was accepted before must not undo it.
    pub fn count_change(&self, name: &Name) {
        let mut changes = self.changes.lock();
        *changes.entry(name.clone()).or_default() += 1;
    }

    /// Returns the last refusal of a name since the start.
    #[must_use]
    pub fn last_refusal(&self, name: &Name) -> Option<UploadRefusal> {
        self.lock_refusals().get(name).cloned()
    }

    /// Records that an upload was refused: in the host's log, as an audit row, and for [`ChangeLog::last_refusal`]. If the audit row cannot
    /// be written that is logged; the refusal stands.
    pub fn record_refusal(
        &self,
        target: ChangeTarget<'_>,
        sha256: Option<Digest>,
        reason: String,
        request: &ChangeRequest,
    ) {
        let at = Millis::now();
        let (name, agent, body) = match target {
            ChangeTarget::Agent(name) => {
                tracing::warn!(agent = %name, by = request.by, reason, "an upload was refused");
                let body = json!({"order": "agent.refused", "sha256": sha256, "refusal": reason});
                (name, Some(name), body)
            }
            ChangeTarget::Policy(name) => {
                tracing::warn!(policy = %name, by = request.by, reason, "an operator policy was refused");
                let body = json!({"order": "policy.refused", "policy": name, "sha256": sha256, "refusal": reason});
                (name, None, body)
            }
        };
        let unit = Unit {
            audit: vec![request.audit_entry(agent, body, at)],
            at,
            ..Unit::default()
        };
        if let Err(error) = self.store.commit(unit) {
            tracing::error!(%name, %error, "a refused upload could not be recorded in the audit log");
        }
        self.remember_refusal(
            name,
            UploadRefusal {
                at_ms: at,
                by: request.by.clone(),
                sha256,
                reason,
            },
        );
    }

    /// Replaces the name's last refusal. When the memory is full the oldest refusal of another name is dropped.
    fn remember_refusal(&self, name: &Name, refusal: UploadRefusal) {
        let mut refusals = self.lock_refusals();
        if refusals.len() >= MAX_REMEMBERED_REFUSALS && !refusals.contains_key(name) {
            let oldest = refusals.iter().min_by_key(|(_, refusal)| refusal.at_ms.0);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                refusals.remove(&oldest);
            }
        }
        refusals.insert(name.clone(), refusal);
    }

    fn lock_refusals(&self) -> MutexGuard<'_, BTreeMap<Name, UploadRefusal>> {
        self.last_refusals.lock()
    }
}
