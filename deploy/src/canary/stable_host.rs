//! The stable host on the way back of a canary: whether it is to be brought back, what that would lose, and how it is started again.
//!
//! Invariants: a way back that would lose decisions, or after which no host would start, is refused; the stable host is started on the database that it left. Each step can be repeated after a kill.
//!
//! Must not know: weights, entries of the journal, how the take-over was made.

use std::fs::File;
use std::sync::atomic::AtomicBool;

use ark_client::HostClient;
use ark_store::{HostProcess, find_host_process, give_made};

use crate::exchange::ExchangeError;
use crate::exchange::data::database::{
    WayBack, decide_way_back, kept_path, refuse_foreign_schema, restore_over,
};
use crate::exchange::data::token::TokenFile;
use crate::exchange::hosts::serving::{
    HostWatch, Serving, WantedProgram, find_lost_log, has_gone, wait_ready,
};
use crate::exchange::programs::commands::run_command;

use super::journal::{CanaryStart, CanaryState};
use super::plan::TakeOverPlan;

/// Which take-over brings the stable host back: one that has stopped it; or any, where the host has ended by itself meanwhile. The text says, for the
/// reason, where that is not what the journal has.
pub(super) fn find_host_to_bring_back(
    client: &HostClient,
    plan: Option<TakeOverPlan>,
    state: &CanaryState,
) -> (Option<TakeOverPlan>, &'static str) {
    let serves_on = |plan: &TakeOverPlan| {
        let served = state.served.as_ref();
        served.is_some_and(|served| served.serves_on(client, &plan.data_dir))
    };
    match plan {
        Some(plan) if state.was_stopped && serves_on(&plan) => {
            (None, "; the host was not stopped, and serves on")
        }
        Some(plan) if state.was_stopped => (Some(plan), ""),
        Some(plan) if has_gone(client, &plan.data_dir) => (
            Some(plan),
            "; the host that served has ended meanwhile, and is started again",
        ),
        _ => (None, ""),
    }
}

/// Refuses a way back that would lose decisions, and one that would stop a host where the stable version would not start either. Changes nothing.
pub(super) fn check_way_back(plan: &TakeOverPlan, id: &str) -> Result<(), ExchangeError> {
    let way = decide_way_back(&plan.data_dir, &kept_path(&plan.snapshots, id))?;
    let has_host = find_host_process(&plan.data_dir) != HostProcess::None;
    if way == WayBack::GoOn && has_host {
        refuse_foreign_schema(&plan.data_dir)?;
    }
    Ok(())
}

/// Stops whatever runs. Returns the refusal where that has decided until it ended what would be lost on the way back: then the new version is started
/// again.
///
/// # Errors
/// A command fails.
pub(super) fn begin_way_back(
    plan: &TakeOverPlan,
    id: &str,
    lock: &File,
    stop: &AtomicBool,
) -> Result<Option<ExchangeError>, ExchangeError> {
    run_command(&plan.stop_command, lock, plan.timeout, stop)?;
    let Err(refused) = check_way_back(plan, id) else {
        return Ok(None);
    };
    run_command(&plan.start_command, lock, plan.timeout, stop)?;
    Ok(Some(refused))
}

/// Stops whatever runs and starts the stable version on the database that it left. A token that this makes is kept in `token_file`. Returns what an
/// operator is to know of the host that serves; empty: nothing.
pub(super) fn bring_stable_back(
    client: &HostClient,
    plan: &TakeOverPlan,
    begin: &CanaryStart,
    lock: &File,
    token_file: &TokenFile,
    stop: &AtomicBool,
) -> Result<String, ExchangeError> {
    run_command(&plan.stop_command, lock, plan.timeout, stop)?;
    let CanaryStart {
        id, stable_build, ..
    } = begin;
    let kept = kept_path(&plan.snapshots, id);
    match decide_way_back(&plan.data_dir, &kept)? {
        WayBack::Restore => {
            restore_over(&kept, &plan.data_dir, id, token_file)?;
        }
        // A run that was killed may have restored it, and not given it away.
        WayBack::GoOn => {
            give_made(&plan.data_dir).map_err(ExchangeError::for_file(&plan.data_dir))?;
        }
    }
    let mut watch = HostWatch::before_start(&plan.data_dir);
    run_command(&plan.start_stable_command, lock, plan.timeout, stop)?;
    // Where the new version cannot be asked any more, that a host is ready must do.
    let new = WantedProgram::from_binary(&plan.new_binary).ok();
    let new = new.filter(|new| stable_build.is_some_and(|stable| !new.is_build(stable)));
    let check = || match new.as_ref().map(|new| new.find_serving(&plan.data_dir)) {
        Some(Serving::Wanted) => Err(ExchangeError::OtherVersion {
            wanted: "the stable version".to_owned(),
            found: format!("it is {} still", plan.new_binary.display()),
        }),
        _ => Ok(find_lost_log(&plan.data_dir).unwrap_or_default()),
    };
    wait_ready(client, &mut watch, plan.timeout, stop, &check)
}
