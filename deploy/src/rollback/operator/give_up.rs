//! A rollback that cannot go on is given up: it ends, and everything stays as it is. An upgrade gives up its own way back where nothing is to be brought back.

use std::path::{Path, PathBuf};

use ark_client::HostClient;
use ark_model::ids::Millis;
use ark_store::is_restore_pending;
use serde_json::json;

use crate::exchange::hosts::serving::{Serving, WantedProgram};
use crate::exclusion::ExchangeKind;
use crate::journal::Journal;
use crate::rollback::error::RollbackError;
use crate::rollback::journal::{RollbackEntry, RollbackStart, read_entries};
use crate::rollback::steps::run::{Rollback, RollbackReport};

/// The name of the step that the host records.
const GIVEN_UP: &str = "given-up";

/// Whether [`give_up_for_upgrade`] would end the way back of an upgrade, or has nothing to end. Changes nothing.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn may_give_up(
    client: &HostClient,
    path: &Path,
    upgrade: &str,
) -> Result<bool, RollbackError> {
    let owner = ExchangeKind::Rollback.owner_beside(client);
    let entries = Journal::read_entries::<RollbackEntry>(path, &owner)?;
    let last = read_entries(&entries).pop();
    Ok(last.is_none_or(|last| {
        last.begin.plan.upgrade.as_deref() != Some(upgrade) || !last.is_too_far()
    }))
}

/// Ends the way back of an upgrade, if one is under way. `result`: why, in words.
///
/// # Errors
/// Another run uses the journal, or the database was replaced or the stable version started already.
pub(crate) fn give_up_for_upgrade(
    client: &HostClient,
    path: &Path,
    upgrade: &str,
    result: &str,
) -> Result<(), RollbackError> {
    let owner = ExchangeKind::Rollback.owner_beside(client);
    let (mut journal, entries) = Journal::open::<RollbackEntry>(path, &owner)?;
    let Some(last) = read_entries(&entries).pop() else {
        return Ok(());
    };
    let is_too_far = last.is_too_far();
    let RollbackStart { id, plan, .. } = last.begin;
    if plan.upgrade.as_deref() != Some(upgrade) {
        return Ok(());
    }
    // Also where it has ended: then the stable version serves, and nothing is left to stay with.
    if is_too_far {
        return Err(RollbackError::Replaced(id));
    }
    if last.past.ended_at_ms.is_some() {
        return Ok(());
    }
    journal.record_entry(&RollbackEntry::Finished {
        at_ms: Millis::now(),
        passed: false,
        result: result.to_owned(),
    })?;
    Ok(())
}

impl Rollback<'_> {
    /// Ends the rollback where it stands. Nothing is stopped, started or undone; the report says what stays as it is.
    ///
    /// # Errors
    /// It is the way back of an upgrade; the journal cannot be written.
    pub fn give_up(mut self) -> Result<RollbackReport, RollbackError> {
        let RollbackStart { id, plan, .. } = &self.state.begin;
        if let Some(upgrade) = &plan.upgrade {
            return Err(RollbackError::OfUpgrade {
                id: id.clone(),
                upgrade: upgrade.clone(),
                may_keep: !self.state.is_too_far(),
            });
        }
        let result = format!("given up by an operator: {}", self.describe_left());
        (self.tell)(GIVEN_UP, json!({"reason": result}));
        let recorded = self.post_step("end", GIVEN_UP, &result);
        let unrecorded = recorded.err().map(|error| format!("{GIVEN_UP}: {error}"));
        self.note_entry(&RollbackEntry::Finished {
            at_ms: Millis::now(),
            passed: false,
            result,
        })?;
        self.journal.release_room();
        let token_file: PathBuf = self.token_file().into_path();
        Ok(RollbackReport {
            past: self.state.past,
            validation: None,
            token_file: token_file.exists().then_some(token_file),
            unrecorded: unrecorded.into_iter().collect(),
        })
    }

    /// What stays as it is.
    fn describe_left(&self) -> String {
        let RollbackStart { plan, build, .. } = &self.state.begin;
        let dir = plan.data_dir.display();
        let name = format!("{} ({})", plan.version, plan.binary.display());
        let wanted = WantedProgram::of_build(name.clone(), *build);
        let mut left = vec![match wanted.find_serving(&plan.data_dir) {
            Serving::Wanted => format!("{name} serves {dir}"),
            Serving::Nothing => format!("no host serves {dir}: start one"),
            Serving::Other(found) => format!("another version serves: {found}"),
            Serving::Unknown(problem) => format!("what serves cannot be told: {problem}"),
        }];
        let past = &self.state.past;
        left.push(match (&past.set_aside, &past.kept_aside) {
            _ if is_restore_pending(&plan.data_dir) => {
                "a restore was interrupted, and no host starts before `ark state restore --replace` repeats it"
                    .to_owned()
            }
            (Some(aside), Some(kept)) => {
                format!("{aside}; that database is kept in {}", kept.display())
            }
            _ => "the database was not replaced".to_owned(),
        });
        left.push(match &plan.traffic {
            Some(traffic) if self.state.has_begun_traffic => format!(
                "the requests are as the step `traffic` left them: look at the weights of {} in HAProxy",
                traffic.backend
            ),
            _ => "the requests go where they went".to_owned(),
        });
        left.join("; ")
    }
}
