//! Places in the queue of proposals: no proposer may fill more than its share.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use ark_model::ids::Name;

/// Number of waiting proposals of each proposer.
pub type WaitingCounts = Arc<Mutex<HashMap<Name, usize>>>;

/// The place of one waiting proposal. It is given back when this is dropped.
pub struct QueuePlace {
    counts: WaitingCounts,
    proposer: Name,
}

impl QueuePlace {
    /// Takes a place. Returns `None` when the proposer has `share` places already.
    pub fn reserve(counts: &WaitingCounts, proposer: &Name, share: usize) -> Option<Self> {
        let mut waiting = counts.lock();
        match waiting.get_mut(proposer) {
            Some(count) if *count >= share => return None,
            Some(count) => *count += 1,
            None => {
                waiting.insert(proposer.clone(), 1);
            }
        }
        Some(Self {
            counts: Arc::clone(counts),
            proposer: proposer.clone(),
        })
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut waiting = self.counts.lock();
        if let Some(count) = waiting.get_mut(&self.proposer) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.proposer);
            }
        }
    }
}
