//! What the callbacks of commits share with the arbiter.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ark_model::meters::HrmMeters;

/// What the callbacks of commits share with the arbiter. It is one allocation, since a count of references that two threads change for every commit
/// costs both of them more than what it guards.
pub(super) struct CommitFeedback {
    /// Set by a failed commit: the ledger contains what the database does not.
    pub(super) is_ledger_stale: AtomicBool,
    /// The meters of the HRM.
    pub(super) meters: Arc<HrmMeters>,
}

impl CommitFeedback {
    pub(super) const fn new(meters: Arc<HrmMeters>) -> Self {
        Self {
            is_ledger_stale: AtomicBool::new(false),
            meters,
        }
    }
}
