//! Whether the store can be written, and what keeps it from being written: shared by the writer, which knows, and the handle, which tells.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ark_model::control::Alert;

use crate::error::FileLoss;

/// How many stored alerts wait to be announced; of more the oldest are only rows. The writer raises at most one of a kind a minute.
const UNANNOUNCED_ALERTS: usize = 16;

/// How long no commit may fail, where some fail and others do not, until the database counts as writable again.
pub(crate) const SPELL_ENDS_AFTER: Duration = Duration::from_secs(10);

/// A commit that failed.
#[derive(Debug)]
struct CommitFailure {
    problem: String,
    /// Whether it failed for want of room.
    is_full: bool,
    at: Instant,
}

/// What the writer tells about itself.
#[derive(Debug)]
pub(crate) struct StoreHealth {
    dir: PathBuf,
    /// Whether the last commit succeeded.
    writable: AtomicBool,
    /// The last commit that failed.
    failure: Mutex<Option<CommitFailure>>,
    /// The files were lost: nothing is written any more.
    loss: OnceLock<FileLoss>,
    /// Where the copy of what was lost is, or why there is none.
    rescue: OnceLock<Result<PathBuf, String>>,
    /// The alerts that the writer has stored and that nobody has announced yet.
    unannounced: Mutex<VecDeque<Alert>>,
}

impl StoreHealth {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            writable: AtomicBool::new(true),
            failure: Mutex::new(None),
            loss: OnceLock::new(),
            rescue: OnceLock::new(),
            unannounced: Mutex::new(VecDeque::new()),
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Acquire)
    }

    pub(crate) fn record_success(&self) {
        self.writable.store(true, Ordering::Release);
    }

    /// Notes why a commit failed, and whether that is for want of room.
    pub(crate) fn record_failure(&self, problem: String, is_full: bool) {
        let failure = CommitFailure {
            problem,
            is_full,
            at: Instant::now(),
        };
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        self.writable.store(false, Ordering::Release);
    }

    /// Returns why the last commit failed, unless it succeeded. For want of room some commits fail and others do not: then it is returned
    /// until none has failed for [`SPELL_ENDS_AFTER`].
    pub(crate) fn describe_failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failure.as_ref()?;
        if !self.is_writable() {
            return Some(failure.problem.clone());
        }
        let passed = failure.at.elapsed();
        (failure.is_full && passed < SPELL_ENDS_AFTER).then(|| {
            format!(
                "{}; the last commit that failed was {} s ago",
                failure.problem,
                passed.as_secs()
            )
        })
    }

    /// Notes an alert that the writer raised and stored.
    pub(crate) fn record_alert(&self, alert: Alert) {
        let mut unannounced = self
            .unannounced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if unannounced.len() == UNANNOUNCED_ALERTS {
            unannounced.pop_front();
        }
        unannounced.push_back(alert);
    }

    /// Takes the alerts that were stored since the last call.
    pub(crate) fn take_alerts(&self) -> Vec<Alert> {
        self.unannounced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }

    pub(crate) fn loss(&self) -> Option<&FileLoss> {
        self.loss.get()
    }

    /// Notes that the files are lost. Returns whether this is news.
    pub(crate) fn record_loss(&self, loss: FileLoss) -> bool {
        self.record_failure(loss.to_string(), false);
        self.loss.set(loss).is_ok()
    }

    pub(crate) fn record_rescue(&self, rescue: Result<PathBuf, String>) {
        let _ = self.rescue.set(rescue);
    }

    /// Returns what is wrong and what to do, if files are lost.
    pub(crate) fn describe_loss(&self) -> Option<String> {
        let loss = self.loss.get()?;
        let dir = self.dir.display();
        let remedy = match self.rescue.get() {
            None => "a copy of what was acknowledged is being written".to_owned(),
            Some(Ok(copy)) => format!(
                "what was acknowledged is in {copy}: stop the host, run `ark state restore {copy} --replace --data-dir {dir}`, and start it again",
                copy = copy.display()
            ),
            Some(Err(problem)) => format!(
                "no copy of what was acknowledged could be written ({problem}): stop the host, put the file back or restore the latest snapshot with `ark state restore SNAPSHOT --replace --data-dir {dir}`, and start it again"
            ),
        };
        Some(format!("{loss}; nothing is approved any more; {remedy}"))
    }
}
