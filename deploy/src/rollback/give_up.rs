//! A rollback that cannot go on is given up: it ends, and everything stays as it is.

use std::path::PathBuf;

use ark_model::ids::Millis;
use ark_store::is_restore_pending;
use serde_json::json;

use crate::exchange::serving::{Serving, WantedProgram};

use super::error::RollbackError;
use super::journal::{RollbackEntry, RollbackStart};
use super::run::{Rollback, RollbackReport};

/// The name of the step that the host records.
const GIVEN_UP: &str = "given-up";

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
