//! Operations: uploads that are compiled after their request was accepted.
//!
//! Invariants: at most [`MAX_RUNNING`] run at a time, on threads of their own, so that no thread that serves waits for a compiler; they begin in the
//! order in which they were accepted, and those of one agent or policy run one after the other. At most [`MAX_WAITING`] wait, and the components of
//! all of them have at most [`MAX_BYTES`]: an upload past that is refused and can be sent again. What became of an operation is kept for
//! [`KEPT_FOR`], in memory: after a restart nobody knows it, and the agent or policy itself says whether the version is there.
//!
//! Must not know: what an operation does, statuses and headers.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use ark_model::ids::{Millis, Name, OperationId, TraceId};

use super::http::problem::Problem;
use crate::agents::AgentChangeReceipt;
use crate::policies::PolicyChangeReceipt;

/// How many operations run at a time. The compiler's own threads share the processors among them.
const MAX_RUNNING: usize = 2;
/// How many operations wait at most.
const MAX_WAITING: usize = 16;
/// The size of all components of operations that wait or run, in bytes: two of the largest.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// How long the result of an operation is kept, from its end.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// How many operations are known at most: the one that ended first is forgotten for a new one.
const MAX_KEPT: usize = 256;
/// The seconds after which a caller should try again when no operation can be taken.
const RETRY_AFTER: u32 = 5;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationKind {
    /// Uploads a version of an agent.
    UploadAgent,
    /// Uploads a version of an operator policy.
    UploadPolicy,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationState {
    /// It waits for its turn.
    Accepted,
    /// The component is compiled, tried and put in force.
    Compiling,
    /// It is done.
    Succeeded,
    /// It was refused, or could not be done; nothing has changed.
    Failed,
}

/// What an operation has changed.
pub(crate) enum OperationReceipt {
    /// A version of an agent is there.
    Agent(AgentChangeReceipt),
    /// A version of an operator policy is there.
    Policy(PolicyChangeReceipt),
}

/// What an operation came to.
pub(crate) type OperationEnd = Result<OperationReceipt, Problem>;

/// An operation that is accepted.
pub(crate) struct NewOperation {
    pub(crate) kind: OperationKind,
    /// The agent or the policy.
    pub(crate) name: Name,
    /// Who asked for it.
    pub(crate) by: String,
    pub(crate) trace_id: TraceId,
    /// The size of its component.
    pub(crate) bytes: usize,
}

/// An operation that was accepted, and its result.
pub(crate) struct Operation {
    pub(crate) id: OperationId,
    pub(crate) kind: OperationKind,
    pub(crate) name: Name,
    pub(crate) by: String,
    pub(crate) trace_id: TraceId,
    pub(crate) accepted_at: Millis,
    progress: watch::Sender<Progress>,
}

/// How far an operation is, and since when.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    pub(crate) started_at: Option<Millis>,
    pub(crate) ended: Option<(Millis, Arc<OperationEnd>)>,
}

impl Progress {
    pub(crate) fn state(&self) -> OperationState {
        match (&self.started_at, &self.ended) {
            (None, None) => OperationState::Accepted,
            (Some(_), None) => OperationState::Compiling,
            (_, Some((_, end))) if end.is_ok() => OperationState::Succeeded,
            (_, Some(_)) => OperationState::Failed,
        }
    }
}

impl Operation {
    fn new(new: NewOperation) -> Self {
        Self {
            id: OperationId::fresh(),
            kind: new.kind,
            name: new.name,
            by: new.by,
            trace_id: new.trace_id,
            accepted_at: Millis::now(),
            progress: watch::Sender::default(),
        }
    }

    /// Returns how far it is.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until it has ended and returns what it came to.
    pub(crate) async fn wait_until_ended(&self) -> Arc<OperationEnd> {
        let mut progress = self.progress.subscribe();
        let ended = progress.wait_for(|progress| progress.ended.is_some()).await;
        let end = ended
            .ok()
            .and_then(|progress| progress.ended.as_ref().map(|(_, end)| Arc::clone(end)));
        // The sender is a field of this operation, so the channel is open.
        end.unwrap_or_else(|| Arc::new(Err(Problem::unavailable("the host ends"))))
    }

    fn mark_begun(&self) {
        self.progress
            .send_modify(|progress| progress.started_at = Some(Millis::now()));
    }

    fn mark_ended(&self, end: OperationEnd) {
        let end = Arc::new(end);
        self.progress
            .send_modify(|progress| progress.ended = Some((Millis::now(), end)));
    }

    fn is_same_target(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }

    /// Whether it ended so long ago that it is forgotten.
    fn is_outdated(&self, now: Millis) -> bool {
        let progress = self.progress.borrow();
        progress
            .ended
            .as_ref()
            .is_some_and(|(at, _)| now.seconds_since(*at) > KEPT_FOR.as_secs_f64())
    }

    fn has_ended(&self) -> bool {
        self.progress.borrow().ended.is_some()
    }
}

/// Accepts operations and carries them out. When it is dropped, those that wait fail; one that runs goes on to its end.
#[derive(Default)]
pub(crate) struct Operations {
    shared: Arc<OperationsShared>,
}

#[derive(Default)]
struct OperationsShared {
    table: Mutex<OperationTable>,
}

#[derive(Default)]
struct OperationTable {
    waiting: VecDeque<UploadJob>,
    running: Vec<Arc<Operation>>,
    /// The size of the components of all that wait or run.
    bytes: usize,
    /// How many threads there are. Each ends when it finds nothing to begin.
    threads: usize,
    /// Every operation that is known, in the order of acceptance.
    kept: VecDeque<Arc<Operation>>,
}

struct UploadJob {
    operation: Arc<Operation>,
    bytes: usize,
    work: Box<dyn FnOnce() -> OperationEnd + Send>,
}

impl Operations {
    /// Accepts an operation: `work` is run when its turn comes.
    ///
    /// # Errors
    /// As many operations wait as may.
    pub(crate) fn submit(
        &self,
        new: NewOperation,
        work: impl FnOnce() -> OperationEnd + Send + 'static,
    ) -> Result<Arc<Operation>, Problem> {
        let bytes = new.bytes;
        let mut table = self.shared.table.lock();
        if table.waiting.len() >= MAX_WAITING || table.bytes.saturating_add(bytes) > MAX_BYTES {
            let detail = "other uploads are waiting to be compiled";
            return Err(Problem::busy_for(detail, RETRY_AFTER));
        }
        if table.threads < MAX_RUNNING {
            match spawn_worker(&self.shared) {
                Ok(()) => table.threads += 1,
                // Another thread carries it out later.
                Err(error) if table.threads > 0 => {
                    tracing::warn!(%error, "a thread for uploads cannot be started");
                }
                Err(error) => {
                    let detail = format!("a thread for uploads cannot be started: {error}");
                    return Err(Problem::busy_for(detail, RETRY_AFTER));
                }
            }
        }
        let operation = Arc::new(Operation::new(new));
        table.keep_operation(&operation);
        table.bytes += bytes;
        table.waiting.push_back(UploadJob {
            operation: Arc::clone(&operation),
            bytes,
            work: Box::new(work),
        });
        Ok(operation)
    }

    /// Returns an operation that is known.
    pub(crate) fn find(&self, id: OperationId) -> Option<Arc<Operation>> {
        let mut table = self.shared.table.lock();
        table.forget_outdated();
        let found = table.kept.iter().find(|operation| operation.id == id);
        found.map(Arc::clone)
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut self.shared.table.lock().waiting);
        for job in waiting {
            job.operation
                .mark_ended(Err(Problem::unavailable("the host ends")));
        }
    }
}

impl OperationTable {
    fn keep_operation(&mut self, operation: &Arc<Operation>) {
        self.forget_outdated();
        if self.kept.len() >= MAX_KEPT {
            // There is one: fewer than that wait and run.
            let ended = self.kept.iter().position(|kept| kept.has_ended());
            ended.and_then(|ended| self.kept.remove(ended));
        }
        self.kept.push_back(Arc::clone(operation));
    }

    fn forget_outdated(&mut self) {
        let now = Millis::now();
        self.kept.retain(|operation| !operation.is_outdated(now));
    }

    /// Takes the first job that waits and whose agent or policy has none that runs.
    fn begin_next(&mut self) -> Option<UploadJob> {
        let next = self.waiting.iter().position(|job| {
            let is_same_target = |running: &Arc<Operation>| running.is_same_target(&job.operation);
            !self.running.iter().any(is_same_target)
        })?;
        let job = self.waiting.remove(next)?;
        self.running.push(Arc::clone(&job.operation));
        Some(job)
    }

    fn end_job(&mut self, operation: &Arc<Operation>, bytes: usize) {
        self.running
            .retain(|running| !Arc::ptr_eq(running, operation));
        self.bytes -= bytes;
    }
}

/// Starts a thread that carries out what waits, until there is nothing to begin.
fn spawn_worker(shared: &Arc<OperationsShared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("ark-upload".to_owned())
        .spawn(move || carry_out(&shared))
        .map(drop)
}

fn carry_out(shared: &OperationsShared) {
    loop {
        let job = {
            let mut table = shared.table.lock();
            let next = table.begin_next();
            if next.is_none() {
                table.threads -= 1;
            }
            next
        };
        let Some(UploadJob {
            operation,
            bytes,
            work,
        }) = job
        else {
            return;
        };
        operation.mark_begun();
        let end = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            tracing::error!(id = %operation.id, name = %operation.name, "an upload failed in the host itself");
            Err(Problem::unavailable("the upload failed in the host itself"))
        });
        shared.table.lock().end_job(&operation, bytes);
        operation.mark_ended(end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn new(name: &str, bytes: usize) -> NewOperation {
        NewOperation {
            kind: OperationKind::UploadAgent,
            name: name.parse().expect("a name"),
            by: "ada".to_owned(),
            trace_id: TraceId::fresh(),
            bytes,
        }
    }

    /// Submits an operation that sends its name when it begins, and ends when the sender that is returned is used.
    fn submit_blocked(
        operations: &Operations,
        name: &'static str,
        begun: &Sender<&'static str>,
    ) -> (Arc<Operation>, Sender<()>) {
        let (end, is_ended) = channel();
        let begun = begun.clone();
        let work = move || {
            begun.send(name).expect("the test listens");
            let _ = is_ended.recv();
            Err(Problem::unavailable("a test"))
        };
        let operation = operations.submit(new(name, 1), work).expect("room");
        (operation, end)
    }

    fn wait_for(begun: &Receiver<&'static str>) -> &'static str {
        begun
            .recv_timeout(Duration::from_mins(1))
            .expect("one begins")
    }

    #[test]
    fn two_run_at_a_time_and_those_of_one_agent_one_after_the_other() {
        let operations = Operations::default();
        let (begun, begins) = channel();
        let (first, end_first) = submit_blocked(&operations, "kyle", &begun);
        assert_eq!(wait_for(&begins), "kyle");
        let (second, end_second) = submit_blocked(&operations, "kyle", &begun);
        let (other, end_other) = submit_blocked(&operations, "kenny", &begun);
        assert_eq!(wait_for(&begins), "kenny", "the first of another agent");
        let (last, end_last) = submit_blocked(&operations, "stan", &begun);
        assert_eq!(first.progress().state(), OperationState::Compiling);
        assert_eq!(second.progress().state(), OperationState::Accepted);
        assert_eq!(last.progress().state(), OperationState::Accepted);
        drop(end_first);
        assert_eq!(wait_for(&begins), "kyle");
        assert_eq!(first.progress().state(), OperationState::Failed);
        drop((end_second, end_other));
        assert_eq!(wait_for(&begins), "stan");
        drop(end_last);
        let found = operations.find(other.id).expect("it is kept");
        assert_eq!(found.name.as_str(), "kenny");
    }

    #[test]
    fn operations_beyond_the_limit_are_refused_and_waiting_ones_fail_at_the_end() {
        let operations = Operations::default();
        let (begun, begins) = channel();
        let (_running, end) = submit_blocked(&operations, "kyle", &begun);
        assert_eq!(wait_for(&begins), "kyle");
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| submit_blocked(&operations, "kyle", &begun))
            .collect();
        let nothing = || Err(Problem::unavailable("a test"));
        assert!(operations.submit(new("stan", 1), nothing).is_err());
        let (one_that_waits, _) = &waiting[0];
        drop(operations);
        assert_eq!(one_that_waits.progress().state(), OperationState::Failed);
        drop(end);

        let operations = Operations::default();
        let (_running, _end) = submit_blocked(&operations, "kyle", &begun);
        assert!(operations.submit(new("stan", MAX_BYTES), nothing).is_err());
        assert!(
            operations
                .submit(new("stan", MAX_BYTES - 1), nothing)
                .is_ok()
        );
    }

    #[test]
    fn the_oldest_operations_are_forgotten() {
        let operations = Operations::default();
        let submit_one = || {
            let nothing = || Err(Problem::unavailable("a test"));
            let operation = operations.submit(new("kyle", 1), nothing).expect("room");
            while !operation.has_ended() {
                std::thread::yield_now();
            }
            operation.id
        };
        let first = submit_one();
        assert!(operations.find(first).is_some());
        for _ in 0..MAX_KEPT {
            submit_one();
        }
        assert!(operations.find(first).is_none());
        assert_eq!(operations.shared.table.lock().kept.len(), MAX_KEPT);
    }
}
