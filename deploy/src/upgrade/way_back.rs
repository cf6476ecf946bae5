//! The way back of an upgrade: nothing where the host was not stopped, else the steps of a rollback.

use std::sync::atomic::AtomicBool;

use ark_client::HostClient;
use serde_json::json;

use crate::exchange::data::token::TokenFile;
use crate::exchange::hosts::serving::has_gone;
use crate::rollback::{Rollback, RollbackError, give_up_for_upgrade, may_give_up};

use super::back_plan::plan_way_back;
use super::error::UpgradeError;
use super::journal::{UpgradeEntry, UpgradeStart, UpgradeState};
use super::run::{Upgrade, UpgradeReport};

impl Upgrade<'_> {
    /// Brings the stable version back, by the steps of a rollback if its host was stopped, or has ended.
    pub(super) fn go_back(
        mut self,
        mut reason: String,
        stop: &AtomicBool,
    ) -> Result<UpgradeReport, UpgradeError> {
        (self.tell)("going-back", json!({"reason": reason}));
        if !self.state.was_stopped && self.state.going_back.is_none() {
            let plan = &self.state.begin.plan;
            // Nothing was changed, but the host may have ended by itself meanwhile.
            let is_gone = has_gone(self.clients.client, &plan.data_dir);
            if is_gone {
                reason.push_str("; the host that served has ended meanwhile");
            }
            // A unit's program that was not kept yet is in its place still.
            if !is_gone || !plan.stable_binary.exists() {
                self.record_step("went-back", &reason);
                return self.finish_upgrade(false, reason, None);
            }
        }
        if self.leave_running_host()? {
            reason.push_str("; the host was not stopped, and serves on");
            self.record_step("went-back", &reason);
            return self.finish_upgrade(false, reason, None);
        }
        // Where the journal takes no entry, e.g. on a full disk, it is said too why the upgrade goes back.
        let (client, state) = (self.clients.client, self.state.clone());
        let not_back = |cause: RollbackError| UpgradeError::Back {
            reason: reason.clone(),
            cause: Box::new(cause),
            may_keep: may_keep(client, &state),
        };
        self.record_entry(&UpgradeEntry::GoingBack(reason.clone()))
            .map_err(|error| not_back(error.into()))?;
        let back = plan_way_back(&self.state.begin, &reason);
        let plan = self.state.begin.plan.clone();
        let (clients, path) = (self.clients, &plan.rollback_journal);
        let tell = &mut *self.tell;
        let report = Rollback::open(clients, path, Some(back), &[], self.accepted, stop, tell)
            .and_then(|rollback| rollback.run_steps(stop))
            .map_err(not_back)?;
        // The token of before went with the database.
        let token_file = TokenFile::place_beside(path, &report.past.id);
        self.admin = token_file.read_client(self.clients.client)?;
        self.record_step("went-back", &reason);
        self.finish_upgrade(false, reason, Some(report))
    }

    /// Leaves the host as it is where the order to stop it was given and did not stop it: nothing is to be brought back. Returns whether it is so.
    fn leave_running_host(&self) -> Result<bool, UpgradeError> {
        let client = self.clients.client;
        let UpgradeStart { id, plan, .. } = &self.state.begin;
        let (path, control) = (&plan.rollback_journal, &plan.stable_control);
        if !self.state.serves_on(client)
            || !may_give_up(client, path, id)?
            || !control.leave_running(&plan.stable_binary)?
        {
            return Ok(false);
        }
        let given_up = "given up: the host was not stopped, and serves on";
        give_up_for_upgrade(client, path, id, given_up)?;
        Ok(true)
    }
}

/// Whether an operator can stay with the new version.
fn may_keep(client: &HostClient, state: &UpgradeState) -> bool {
    let UpgradeStart { id, plan, .. } = &state.begin;
    let serving = state.wanted().find_serving(&plan.data_dir);
    state.may_run(&serving) && may_give_up(client, &plan.rollback_journal, id).unwrap_or(false)
}
