//! What changes of agents and of policies share: who wants one and why, and what is remembered of those that were refused.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use ark_model::ids::{Digest, Millis, Name, TraceId};

/// For how many names the last refusal is remembered.
const MAX_REMEMBERED_REFUSALS: usize = 256;

/// Who wants a change, and why.
#[derive(Debug, Clone)]
pub struct Requester {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Under which key it is carried out once only, and the digest of the request it came with. An agent's trial, rollout or rollback can
    /// have one.
    pub idempotency_key: Option<(String, Digest)>,
}

/// Why an upload was refused, last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Refusal {
    /// When.
    pub at_ms: Millis,
    /// Who uploaded it.
    pub by: String,
    /// The SHA-256 that was stated.
    pub sha256: Option<Digest>,
    /// Why.
    pub reason: String,
}

/// The last refusal of each name since the start, of so many names.
#[derive(Debug, Default)]
pub struct LastRefusals(Mutex<BTreeMap<Name, Refusal>>);

impl LastRefusals {
    /// The last of a name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<Refusal> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.get(name).cloned()
    }

    /// Remembers one. The oldest makes room.
    pub fn record(&self, name: &Name, refusal: Refusal) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() >= MAX_REMEMBERED_REFUSALS && !refusals.contains_key(name) {
            let oldest = refusals.iter().min_by_key(|(_, refusal)| refusal.at_ms.0);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                refusals.remove(&oldest);
            }
        }
        refusals.insert(name.clone(), refusal);
    }
}
