//! Policy swaps that may have to be taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::hrm::policies_in_force::SlotInForce;

/// Policy swaps whose commit is not known to have succeeded, oldest first.
#[derive(Default)]
pub(super) struct PendingSwaps(Vec<PendingSwap>);

struct PendingSwap {
    /// The operator policies before the swap.
    previous: Vec<Arc<SlotInForce>>,
    committed: Arc<AtomicBool>,
}

impl PendingSwap {
    fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Acquire)
    }
}

impl PendingSwaps {
    /// Adds a swap. Returns the flag to set when its commit succeeds.
    pub(super) fn add_swap(&mut self, previous: Vec<Arc<SlotInForce>>) -> Arc<AtomicBool> {
        self.0.retain(|swap| !swap.is_committed());
        let committed = Arc::new(AtomicBool::new(false));
        self.0.push(PendingSwap {
            previous,
            committed: Arc::clone(&committed),
        });
        committed
    }

    /// Empties the list. Returns the operator policies before the oldest swap that was not committed: the later ones were built on it and failed
    /// with it.
    pub(super) fn take_oldest_failed(&mut self) -> Option<Vec<Arc<SlotInForce>>> {
        std::mem::take(&mut self.0)
            .into_iter()
            .find(|swap| !swap.is_committed())
            .map(|swap| swap.previous)
    }
}
