//! What the new version says of the machine, before anything changes.

use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use crate::exchange::find_migration;
use crate::exchange::programs::commands::{CHECK_TIMEOUT, ask_binary};

use super::error::UpgradeError;
use super::journal::UpgradePlan;

/// Has the new version check the machine. Returns what it found, in words. What it cannot check before it has migrated the database is not a fault:
/// the replay tries the migration with a copy.
pub(super) fn check_machine(plan: &UpgradePlan, stop: &AtomicBool) -> Result<String, UpgradeError> {
    #[derive(Deserialize)]
    struct MachineLine {
        check: String,
        status: String,
        found: String,
    }
    #[derive(Deserialize)]
    struct MachineReport {
        errors: u64,
        skipped: u64,
        warnings: u64,
        lines: Vec<MachineLine>,
    }
    let data_dir = plan.data_dir.display().to_string();
    let mut args = vec!["check", "--json", "--data-dir", &data_dir];
    args.extend(plan.check_args.iter().map(String::as_str));
    let (succeeded, checked): (bool, MachineReport) =
        ask_binary(&plan.new_binary, &args, CHECK_TIMEOUT, stop)?;
    let migrates = find_migration(&plan.new_binary, &plan.data_dir)?.is_some();
    if checked.errors == 0 && (succeeded || migrates) {
        return Ok(format!(
            "0 errors, {} warnings, {} skipped",
            checked.warnings, checked.skipped
        ));
    }
    let is_bad = |line: &&MachineLine| line.status == "error" || line.status == "skipped";
    let bad = checked.lines.iter().filter(is_bad);
    let bad: Vec<String> = bad
        .map(|line| format!("{}: {}", line.check, line.found))
        .collect();
    Err(UpgradeError::Check(format!(
        "{} errors, {} skipped: {}",
        checked.errors,
        checked.skipped,
        bad.join("; ")
    )))
}
