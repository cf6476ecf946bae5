//! The check of the whole database beside serving: what it found, and how it rests.
//!
//! It reads from a connection of its own and rests for three times as long as it worked, so that it holds up nobody. What it finds is shown by
//! `/readyz` and the metrics, and raises an alert.

use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use ark_model::ids::Millis;
use ark_store::{MaintenanceError, check_beside_host};

/// How much longer than it worked a check rests.
const REST_FACTOR: u32 = 3;
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// What is known of the checks since the start.
#[derive(Debug, Clone, Default)]
pub struct StoreCheckStatus {
    /// How many checks have ended.
    pub runs: u64,
    /// The last one that has ended; `None`: the first one has not.
    pub last: Option<StoreCheck>,
}

/// A check that has ended.
#[derive(Debug, Clone)]
pub struct StoreCheck {
    /// When it ended.
    pub ended_at: Millis,
    /// How long it took, its rests included.
    pub duration: Duration,
    /// How many rows of the audit log it checked.
    pub rows: u64,
    /// How many revisions of the state it checked.
    pub revisions: u64,
    /// What it left out, since it would have held up the host for too long.
    pub skipped: Vec<String>,
    /// What is wrong; `None`: the database is as it was written.
    pub fault: Option<String>,
}

/// Checks the database of a data directory. Returns `None` when it was stopped meanwhile.
///
/// # Errors
/// The database cannot be read now, which says nothing of what is in it.
pub(super) fn check_store(
    dir: &Path,
    stopped: &Receiver<()>,
) -> Result<Option<StoreCheck>, MaintenanceError> {
    let started = Instant::now();
    let mut rest = |worked: Duration| {
        let pause = worked.saturating_mul(REST_FACTOR).min(LONGEST_REST);
        !is_stopped(stopped, pause)
    };
    let Some(report) = check_beside_host(dir, &mut rest)? else {
        return Ok(None);
    };
    Ok(Some(StoreCheck {
        ended_at: Millis::now(),
        duration: started.elapsed(),
        rows: report.rows,
        revisions: report.revisions,
        skipped: report.skipped,
        fault: report.fault,
    }))
}

/// Waits for so long. Returns whether the watchdog was closed meanwhile.
pub(super) fn is_stopped(stopped: &Receiver<()>, pause: Duration) -> bool {
    stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout)
}
