//! What a take-over came to, and the way back from it. `run.rs` makes the take-over.

use std::fs::File;
use std::path::PathBuf;

use ark_client::HostClient;
use serde::Serialize;

use crate::exchange::ExchangeError;
use crate::exchange::commands::run_command;
use crate::exchange::database::{kept_path, new_path, restore_over};
use crate::exchange::hosts::{is_ready, wait_ready};
use crate::exchange::token::TokenFile;

use super::plan::TakeOverPlan;

/// What a take-over came to.
#[derive(Debug, Clone, Serialize)]
pub struct TakeOver {
    /// The snapshot that was made before.
    pub snapshot: PathBuf,
    /// How many decisions the new version judged again, all alike.
    pub replayed: u64,
    /// From the order to stop the old host until the new one was ready, in milliseconds: requests were held for no longer.
    pub pause_ms: u64,
}

/// Refuses a way back on which decisions would be lost.
pub(super) fn check_way_back(
    client: &HostClient,
    plan: &TakeOverPlan,
    id: &str,
) -> Result<(), ExchangeError> {
    let kept = kept_path(&plan.snapshots, id);
    if kept.exists() && is_ready(client) {
        return Err(ExchangeError::Served { kept });
    }
    Ok(())
}

/// Stops whatever runs and starts the stable version on the database that it left. A token that this makes is kept in `token_file`.
pub(super) fn bring_stable_back(
    client: &HostClient,
    plan: &TakeOverPlan,
    id: &str,
    lock: &File,
    token_file: &TokenFile,
) -> Result<(), ExchangeError> {
    run_command(&plan.stop_command, lock, plan.timeout)?;
    let kept = kept_path(&plan.snapshots, id);
    if kept.exists() {
        restore_over(&kept, &plan.data_dir, token_file)?;
        // Moved aside: a second way back must not restore it again.
        let done = new_path(&plan.snapshots, &format!("{id}-restored"));
        std::fs::rename(&kept, done).map_err(ExchangeError::for_file(&kept))?;
    }
    run_command(&plan.start_stable_command, lock, plan.timeout)?;
    wait_ready(client, plan.timeout)
}
