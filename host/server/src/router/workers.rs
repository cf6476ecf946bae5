//! The threads that run guests.
//!
//! A guest that ran for long has lowered its thread's priority for good: that thread ends, and the router's thread starts a fresh one in
//! its place.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::hrm::HrmError;
use crate::watchdog::Breach;
use ark_model::signal::Signal;

use super::invocation::{CommittingInvocation, Invoker};

/// One invocation to be run.
pub(super) struct Job {
    /// Its number.
    pub(super) id: u64,
    /// Whose.
    pub(super) slot: usize,
    /// On what.
    pub(super) signal: Arc<Signal>,
    /// When it was handed out.
    pub(super) started: Instant,
}

/// What a thread may be given to do.
pub(super) enum Work {
    /// An invocation.
    Run(Job),
    /// An invocation whose outcome could not be committed: why.
    HandleCommitError(Box<CommittingInvocation>, HrmError),
    /// An invocation after which its agent is to be stopped.
    StopFailing(Box<CommittingInvocation>, Breach),
}

/// The handle to the threads: they end when it is dropped and what they run is done.
pub(super) struct Workers {
    jobs: Option<Sender<Work>>,
    pool: Arc<Pool>,
}

struct Pool {
    invoker: Arc<Invoker>,
    work: Receiver<Work>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// One of them cannot be started.
    pub(super) fn start(threads: usize, invoker: Arc<Invoker>) -> std::io::Result<Self> {
        let (jobs, work) = crossbeam_channel::unbounded();
        let pool = Arc::new(Pool {
            invoker,
            work,
            threads: Mutex::default(),
        });
        for number in 0..threads {
            spawn_worker(&pool, number)?;
        }
        Ok(Self {
            jobs: Some(jobs),
            pool,
        })
    }

    /// Hands out work; there is a free thread for it, or the caller has counted wrong and it waits.
    pub(super) fn submit_work(&self, work: Work) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(work);
        }
    }
}

impl Workers {
    /// Starts a thread in the place of one that has ended. Not to be called by a guest's thread: a thread begins with the priority of the
    /// one that starts it.
    pub(super) fn replace_thread(&self, number: usize) {
        if let Err(error) = spawn_worker(&self.pool, number) {
            tracing::error!(%error, "a guest's thread could not be replaced");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let threads = std::mem::take(
            &mut *self
                .pool
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a guest's thread ended in a panic");
            }
        }
    }
}

fn spawn_worker(pool: &Arc<Pool>, number: usize) -> std::io::Result<()> {
    let own = Arc::clone(pool);
    let thread = std::thread::Builder::new()
        .name(format!("ark-guest-{number}"))
        .spawn(move || {
            while let Ok(work) = own.work.recv() {
                if own.invoker.run_work(work) {
                    own.invoker.report_worker_ended(number);
                    return;
                }
            }
        })?;
    let mut threads = pool.threads.lock().unwrap_or_else(PoisonError::into_inner);
    threads.retain(|thread| !thread.is_finished());
    threads.push(thread);
    Ok(())
}
