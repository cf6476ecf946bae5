//! The steps `backup` and `database`: the database is copied, the host stopped, and a snapshot takes the database's place where that is the way.

use std::sync::atomic::AtomicBool;

use ark_store::{HostProcess, find_host_process, give_made, is_restore_pending};
use serde_json::json;

use crate::exchange::ExchangeError;
use crate::exchange::data::database::{make_snapshot, restore_over};
use crate::exchange::data::token::TokenFile;
use crate::exchange::hosts::control::run_actions;
use crate::rollback::database::{DatabaseChoice, check_accepted, covers_loss, decide_way};
use crate::rollback::error::RollbackError;
use crate::rollback::journal::{RollbackEntry, RollbackStart, SetAside};
use crate::rollback::plan::RollbackPlan;

use super::run::Rollback;

impl Rollback<'_> {
    /// Copies the database as it is before anything is done to it. A damaged one is kept instead.
    pub(super) fn back_up(&mut self) -> Result<String, RollbackError> {
        let RollbackStart { id, plan, .. } = &self.state.begin;
        let error = match make_snapshot(&plan.data_dir, &plan.snapshots, &format!("{id}-backup")) {
            Ok(snapshot) => return Ok(snapshot.display().to_string()),
            Err(error) => error,
        };
        if let Some(finding) = error.find_damage() {
            let detail = format!("it cannot be copied, and is kept as it is: {finding}");
            self.note_entry(&RollbackEntry::Damaged(finding))?;
            return Ok(detail);
        }
        match error {
            // No host serves, and what is replaced is kept aside: the copy is not worth more time without a host.
            ExchangeError::NotCopied { .. } if plan.upgrade.is_some() => {
                Ok(format!("none was made: {error}"))
            }
            error => Err(error.into()),
        }
    }

    /// Stops the host. Its database stays, or a snapshot takes its place. Repeated by each run, since the newer version may have served meanwhile.
    ///
    /// What would leave no host is looked for before: a database that no version starts on, no snapshot that restores, a loss that nobody accepts.
    pub(super) fn stop_and_restore(&mut self, stop: &AtomicBool) -> Result<String, RollbackError> {
        let RollbackStart { plan, schema, .. } = self.state.begin.clone();
        if let Some(kept) = self.state.find_unnoted_restore() {
            self.note_entry(&RollbackEntry::KeptAside(kept))?;
        }
        let begun = self.state.past.set_aside.clone();
        // The damaged database was replaced.
        let is_replaced = self.state.past.kept_aside.is_some();
        let damage = self.state.damage.clone().filter(|_| !is_replaced);
        // Whether a run was killed while it restored: nothing has served since.
        let pending = begun.clone().filter(|_| is_restore_pending(&plan.data_dir));
        // What was accepted counts once.
        let covered = begun.filter(|_| !is_replaced);
        let is_exclusive = if pending.is_some() {
            true
        } else {
            let way = decide_way(&plan, schema, damage.as_deref(), &mut self.checked)?;
            if let DatabaseChoice::Restore(aside) = &way {
                let is_stopped = find_host_process(&plan.data_dir) == HostProcess::None;
                self.check_loss(aside, covered.as_ref(), is_stopped)?;
            }
            matches!(way, DatabaseChoice::Restore(_))
        };
        self.stop_host(&plan, is_exclusive, stop)?;
        let aside = match pending {
            Some(aside) => aside,
            None => match decide_way(&plan, schema, damage.as_deref(), &mut self.checked)? {
                DatabaseChoice::Keep { reason } => {
                    // A run that was killed before it said so may have restored it.
                    give_made(&plan.data_dir).map_err(ExchangeError::for_file(&plan.data_dir))?;
                    return Ok(self.describe_kept(reason));
                }
                DatabaseChoice::Restore(aside) => {
                    if !is_exclusive {
                        // The newer version migrated it meanwhile.
                        self.stop_host(&plan, true, stop)?;
                    }
                    self.check_loss(&aside, covered.as_ref(), true)?;
                    (self.tell)("database", json!({"reason": aside.to_string()}));
                    self.note_entry(&RollbackEntry::SettingAside(aside.clone()))?;
                    aside
                }
            },
        };
        let token_file = self.token_file();
        let label = self.state.restore_label();
        let restored = restore_over(&aside.snapshot, &plan.data_dir, &label, &token_file)?;
        if restored.token.is_some() {
            (self.tell)("token", json!({"reason": token_file.describe_token()}));
            self.admin = token_file.read_client(self.clients.client)?;
        }
        let kept = restored.moved_aside.unwrap_or_default();
        let detail = format!("{aside}; it is kept in {}", kept.display());
        self.note_entry(&RollbackEntry::KeptAside(kept))?;
        Ok(detail)
    }

    /// Refuses to set more decisions aside than were accepted, now or by the run that began to set `covered` aside.
    fn check_loss(
        &self,
        aside: &SetAside,
        covered: Option<&SetAside>,
        is_stopped: bool,
    ) -> Result<(), RollbackError> {
        if covered.is_some_and(|covered| covers_loss(covered, aside)) {
            return Ok(());
        }
        check_accepted(aside, self.accepted, is_stopped)
    }

    fn stop_host(
        &self,
        plan: &RollbackPlan,
        is_exclusive: bool,
        stop: &AtomicBool,
    ) -> Result<(), RollbackError> {
        let actions = plan.control.stop_actions(&plan.binary, is_exclusive);
        run_actions(&actions, &self.journal.share_lock()?, plan.timeout, stop)?;
        Ok(())
    }

    /// What became of the database, where the stable version can open it now.
    fn describe_kept(&self, reason: String) -> String {
        let past = &self.state.past;
        match (&past.set_aside, &past.kept_aside) {
            (Some(aside), Some(kept)) => format!("{aside}; it is kept in {}", kept.display()),
            (Some(aside), None) => aside.to_string(),
            (None, _) => DatabaseChoice::Keep { reason }.to_string(),
        }
    }

    pub(in crate::rollback) fn token_file(&self) -> TokenFile {
        TokenFile::place_beside(self.journal.path(), &self.state.begin.id)
    }
}
