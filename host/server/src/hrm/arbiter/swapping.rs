//! Exchanging the operator policies: in the order in which things are decided, so that each decision is judged by one set of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::chain::ChainSlot;
use super::super::handle::Reply;
use super::super::proposal::PolicySwap;
use super::Arbiter;

/// Exchanges of which the commit is not known to have succeeded, oldest first, each with what judged before it.
#[derive(Default)]
pub(super) struct PendingSwaps(Vec<(Vec<Arc<ChainSlot>>, Arc<AtomicBool>)>);

impl Arbiter {
    /// Lets other operator policies judge from here on. What is decided under them is made on top of this commit and fails with it.
    pub(super) fn swap_policies(&mut self, swap: PolicySwap, reply: Reply<()>) {
        let committed = Arc::new(AtomicBool::new(false));
        let before = self.judge.replace_operator_slots(swap.slots);
        self.judge.chain().report_in_force(&self.config.meters);
        self.pending_swaps
            .0
            .retain(|(_, committed)| !committed.load(Ordering::Acquire));
        self.pending_swaps.0.push((before, Arc::clone(&committed)));
        let mut unit = swap.unit;
        unit.chained = true;
        self.submit_unit(unit, reply, move |_| {
            committed.store(true, Ordering::Release);
        });
    }

    /// Everything submitted is settled: exchanges that did not come to disk did not happen.
    pub(super) fn revert_failed_swaps(&mut self) {
        let failed = std::mem::take(&mut self.pending_swaps)
            .0
            .into_iter()
            .find(|(_, committed)| !committed.load(Ordering::Acquire));
        if let Some((before, _)) = failed {
            self.judge.replace_operator_slots(before);
            self.judge.chain().report_in_force(&self.config.meters);
            tracing::warn!("an exchange of policies was not recorded: those before it judge on");
        }
    }
}
