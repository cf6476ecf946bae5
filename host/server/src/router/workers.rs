//! The threads that run guests.
//!
//! A guest that ran for long has lowered the priority of its thread permanently. Such a thread ends, and the router's thread starts another in its place.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::{JoinHandle, available_parallelism};
use std::time::Instant;

use parking_lot::Mutex;

use ark_runtime::is_thread_priority_lowered;

use super::invocation::Invoker;
use super::message::{InvocationJob, WorkerTask};
use super::work_queue::WorkQueue;

/// The handle to the threads. They end when it is dropped and their work is done.
pub(super) struct Workers {
    pool: Arc<Pool>,
}

struct Pool {
    invoker: Arc<Invoker>,
    work: WorkQueue<WorkerTask>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(threads: usize, invoker: Arc<Invoker>) -> std::io::Result<Self> {
        let pool = Arc::new(Pool {
            invoker,
            work: WorkQueue::new(available_parallelism().map_or(1, NonZero::get)),
            threads: Mutex::default(),
        });
        for number in 0..threads {
            if let Err(error) = spawn_worker(&pool, number) {
                pool.work.close();
                return Err(error);
            }
        }
        Ok(Self { pool })
    }

    /// Hands work to a thread, as soon as there is a place: see [`WorkQueue`].
    pub(super) fn submit_work(&self, work: WorkerTask) {
        self.pool.work.submit(work);
    }

    /// As [`Workers::submit_work`], before everything that waits.
    pub(super) fn submit_first(&self, work: WorkerTask) {
        self.pool.work.submit_first(work);
    }

    /// Has threads start what waits behind others that have been busy for long. Returns when it is to be called again. `None`: not before more work is
    /// submitted.
    pub(super) fn start_waiting(&self, now: Instant) -> Option<Instant> {
        self.pool.work.wake_threads(now)
    }

    /// Takes back the jobs that no thread has taken.
    pub(super) fn take_back_jobs(&self) -> Vec<InvocationJob> {
        self.pool.work.take_back(|work| match work {
            WorkerTask::Run(job) => Ok(job),
            other => Err(other),
        })
    }

    /// Starts a thread in the place of one that has ended. Not to be called by a worker: a thread starts with the priority of its parent.
    pub(super) fn replace_thread(&self, number: usize) {
        if let Err(error) = spawn_worker(&self.pool, number) {
            tracing::error!(%error, number, "the thread of a worker could not be replaced");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.pool.work.close();
        let threads = std::mem::take(&mut *self.pool.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("the thread of a worker ended in a panic");
            }
        }
    }
}

fn spawn_worker(pool: &Arc<Pool>, number: usize) -> std::io::Result<()> {
    let own = Arc::clone(pool);
    let thread = std::thread::Builder::new()
        .name(format!("ark-guest-{number}"))
        .spawn(move || {
            while let Some(work) = own.work.take(number) {
                // A guest's start that runs for long lowers the priority too, and has no report that says so.
                if own.invoker.run_work(work) || is_thread_priority_lowered() {
                    own.invoker.report_worker_ended(number);
                    return;
                }
            }
        })?;
    let mut threads = pool.threads.lock();
    threads.retain(|thread| !thread.is_finished());
    threads.push(thread);
    Ok(())
}
