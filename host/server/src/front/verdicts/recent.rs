//! The decisions that were taken up last: an answer that is given again is no further decision.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;

use ark_model::ids::DecisionId;

/// Decisions that are remembered.
const MAX_REMEMBERED: usize = 65_536;

/// The last decisions that were taken up.
#[derive(Debug, Default)]
pub(super) struct RecentDecisions(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    known: HashSet<DecisionId>,
    /// The same, the oldest first.
    order: VecDeque<DecisionId>,
}

impl RecentDecisions {
    /// Remembers a decision. Returns whether it was not remembered yet.
    pub(super) fn insert(&self, id: DecisionId) -> bool {
        let mut remembered = self.0.lock();
        if !remembered.known.insert(id) {
            return false;
        }
        remembered.order.push_back(id);
        if remembered.order.len() > MAX_REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_decisions_are_remembered() {
        let recent = RecentDecisions::default();
        let ids: Vec<DecisionId> = (0..=MAX_REMEMBERED).map(|_| DecisionId::fresh()).collect();
        assert!(recent.insert(ids[0]) && !recent.insert(ids[0]));
        assert!(ids[1..].iter().all(|id| recent.insert(*id)));
        assert!(!recent.insert(ids[1]) && recent.insert(ids[0]));
        assert_eq!(recent.0.lock().known.len(), MAX_REMEMBERED);
    }
}
