//! The check of the whole database beside serving: at the start and from time to time.
//!
//! It reads from a connection of its own, at the lowest priority, and rests for three times as long as it worked, so that it holds up nobody. What
//! it finds is shown by `/readyz` and the metrics, and raises an alert.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use ark_model::ids::Millis;
use ark_runtime::lower_thread_priority;
use ark_store::check_beside_host;

use super::alert_rules;
use super::state::Inner;

/// The priority of the thread, as a nice value: the lowest.
const NICE: i32 = 19;
/// How long after the start the first check begins.
const FIRST_AFTER: Duration = Duration::from_secs(1);
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

impl Inner {
    /// Starts the thread that checks the database.
    pub(super) fn start_store_check(self: &Arc<Self>) -> std::io::Result<()> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let inner = Arc::downgrade(self);
        let interval = self.config.store_check_interval;
        let thread = std::thread::Builder::new()
            .name("ark-store-check".to_owned())
            .spawn(move || {
                lower_thread_priority(NICE);
                let mut pause = FIRST_AFTER;
                while !is_stopped(&stopped, pause) {
                    pause = interval;
                    match inner.upgrade() {
                        Some(inner) => inner.check_store(&stopped),
                        None => break,
                    }
                }
            })?;
        self.threads.lock().push((stop, thread));
        Ok(())
    }

    fn check_store(&self, stopped: &Receiver<()>) {
        let started = Instant::now();
        let mut rest = |worked: Duration| {
            let pause = worked.saturating_mul(REST_FACTOR).min(LONGEST_REST);
            !is_stopped(stopped, pause)
        };
        let report = match check_beside_host(self.deps.store.dir(), &mut rest) {
            Ok(Some(report)) => report,
            Ok(None) => return,
            Err(error) => ark_store::PacedReport {
                fault: Some(format!("it cannot be read: {error}")),
                ..ark_store::PacedReport::default()
            },
        };
        let check = StoreCheck {
            ended_at: Millis::now(),
            duration: started.elapsed(),
            rows: report.rows,
            revisions: report.revisions,
            skipped: report.skipped,
            fault: report.fault,
        };
        match &check.fault {
            None => {
                tracing::info!(rows = check.rows, revisions = check.revisions, skipped = ?check.skipped, duration_s = check.duration.as_secs_f64(), "the database is checked: it is as it was written");
            }
            Some(fault) => {
                let dir = self.deps.store.dir().display();
                tracing::error!(fault, %dir, "the database is damaged");
                self.alert_damage(format!("the database in {dir} is damaged: {fault}"));
            }
        }
        let mut status = self.store_check.lock();
        status.runs += 1;
        status.last = Some(check);
    }

    fn alert_damage(&self, message: String) {
        self.raise_fixed_alert(&alert_rules::DATABASE_DAMAGED, message);
    }
}

/// Waits for so long. Returns whether the watchdog was closed meanwhile.
fn is_stopped(stopped: &Receiver<()>, pause: Duration) -> bool {
    stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout)
}
