//! Changes of the operator policies, in the order of decisions: each decision is judged by one set of policies.

use std::sync::atomic::Ordering;

use crate::hrm::request::{HrmReply, PolicySwap};

use super::state::Arbiter;

impl Arbiter {
    /// Puts other operator policies in force. Decisions made under them are built on this commit and fail with it.
    pub(super) fn swap_policies(&mut self, swap: PolicySwap, reply: HrmReply<()>) {
        let previous = self.judge.replace_operator_slots(swap.slots);
        self.judge.policies().report_in_force(&self.config.meters);
        let committed = self.pending_swaps.add_swap(previous);
        let mut unit = swap.unit;
        unit.chained = true;
        self.submit_unit(unit, reply, move || {
            committed.store(true, Ordering::Release);
        });
    }
}
