//! What the host records of a rollback: each step that was taken, once, and the end.

use ark_client::ClientError;
use ark_store::{HostProcess, find_host_process};
use serde_json::Value;

use crate::exchange::record::{StepRecord, post_step};
use crate::rollback::journal::{PastStep, RollbackStart, RollbackStep};

use super::run::Rollback;

/// Records the steps that are not recorded yet, in their order, until one cannot be: the next time begins with that one.
pub(in crate::rollback) fn record_taken<E>(
    taken: &[PastStep],
    recorded: &mut Vec<RollbackStep>,
    mut record: impl FnMut(&PastStep) -> Result<(), E>,
) {
    for done in taken {
        if recorded.contains(&done.step) {
            continue;
        }
        if record(done).is_err() {
            return;
        }
        recorded.push(done.step);
    }
}

impl Rollback<'_> {
    /// Has the host record the steps that were taken, each once; while it is away they wait.
    pub(super) fn record_steps(&mut self) {
        // The open socket of a unit takes a connection also while no host does: that would hold up the way back until its time-out.
        if find_host_process(&self.state.begin.plan.data_dir) == HostProcess::None {
            return;
        }
        let mut recorded = std::mem::take(&mut self.recorded);
        record_taken(&self.state.past.steps, &mut recorded, |done| {
            let name = done.step.as_str();
            let key = format!("{name}-{}", done.at_ms.0);
            self.post_step(&key, name, &done.detail)
        });
        self.recorded = recorded;
    }

    pub(in crate::rollback) fn post_step(
        &self,
        key: &str,
        step: &str,
        reason: &str,
    ) -> Result<(), ClientError> {
        let RollbackStart { id, plan, .. } = &self.state.begin;
        let record = StepRecord {
            deployment: id,
            kind: "rollback",
            version: &plan.version,
            step,
            share_pct: None,
            reason,
            figures: &Value::Null,
        };
        post_step(self.current_client(), &format!("{id}-{key}"), &record)
    }
}
