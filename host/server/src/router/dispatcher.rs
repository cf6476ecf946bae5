//! The router's thread: it decides which agent is handed its next signal.
//!
//! Agents that have something to do take turns, one invocation each, so that the backlog of one agent does not delay another. There are places for prompt
//! invocations and further ones for those that run for longer than [`PROMPT_LIMIT`]: a guest that computes or sleeps up to its deadline leaves the prompt
//! places to the others. Agents whose last invocation failed get a quarter of all places together.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::hrm::HrmError;
use crate::hrm::guards::Guards;
use crate::watchdog::Watchdog;
use ark_model::decision::Decision;
use ark_model::ids::{Name, SignalId};
use ark_model::meters::SpanSink;
use ark_model::signal::Signal;
use ark_store::Store;

use super::agent_queue::AgentQueue;
use super::backlog::Backlog;
use super::config::RouterConfig;
use super::delivery::release_place;
use super::invocation::Invoker;
use super::message::{CommittingInvocation, DeliveryEnd, InvocationJob, RouterEvent, WorkerTask};
use super::slot::AgentSlots;
use super::workers::Workers;

/// How often the outbox is read and deliveries are expired without an event.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a delivery that could not be committed waits before it is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How long an agent pauses after an invocation that one of its quotas refused. A refusal is a durable record: without the pause an agent that goes on makes
/// others wait for the commits of its refusals.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);
/// How long an invocation counts as prompt.
const PROMPT_LIMIT: Duration = Duration::from_millis(10);
/// How long the end of the host waits for the invocations that run. By default each has a shorter deadline of its own.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_mins(1);

/// What the dispatcher works with.
pub(super) struct DispatcherDeps {
    pub(super) slots: AgentSlots,
    pub(super) store: Store,
    pub(super) guards: Arc<Guards>,
    pub(super) watchdog: Watchdog,
    pub(super) invoker: Arc<Invoker>,
    pub(super) backlog: Backlog,
    pub(super) spans: SpanSink,
}

/// A job that a worker has, or that waits for one.
struct RunningJob {
    signal: SignalId,
    started: Instant,
    /// The agent's last invocation before it had failed.
    failing: bool,
}

/// Whether another job may start.
enum Capacity {
    /// A job may start.
    Free,
    /// All places are taken, until a job ends.
    Full,
    /// All prompt places are taken, until a job ends, or at this moment at the latest, when the oldest stops being prompt.
    FullUntil(Instant),
}

/// The state of the router's thread.
pub(super) struct Dispatcher {
    /// The queues of the agents, by the number of their slot.
    pub(super) queues: Vec<AgentQueue>,
    /// The numbers of the slots that have something to do, in the order of their turns.
    line: VecDeque<usize>,
    running: HashMap<u64, RunningJob>,
    last_job: u64,
    prompt_places: usize,
    slow_places: usize,
    /// Places in the queue of one agent.
    pub(super) queue_capacity: usize,
    pub(super) deps: DispatcherDeps,
    workers: Workers,
}

impl Dispatcher {
    pub(super) fn new(config: &RouterConfig, deps: DispatcherDeps, workers: Workers) -> Self {
        Self {
            queues: Vec::new(),
            line: VecDeque::new(),
            running: HashMap::new(),
            last_job: 0,
            prompt_places: config.workers.max(1),
            slow_places: config.slow_workers,
            queue_capacity: config.agent_queue,
            deps,
            workers,
        }
    }

    /// Serves events until it is told to stop. From then on no job starts, and it returns when those that a worker has taken have ended, or after
    /// [`SHUTDOWN_TIMEOUT`].
    pub(super) fn run(mut self, inbox: &Receiver<RouterEvent>) {
        self.read_pending();
        self.enqueue_all_agents();
        let mut poll_at = Instant::now();
        let mut stop_at: Option<Instant> = None;
        loop {
            let wait_until = match stop_at {
                None => {
                    let place_at = self.dispatch_ready_agents();
                    let retry_at = self.queues.iter().filter_map(|queue| queue.retry_at).min();
                    [place_at, retry_at]
                        .into_iter()
                        .flatten()
                        .fold(poll_at, Instant::min)
                }
                Some(_) if self.running.is_empty() => return,
                Some(latest) if Instant::now() >= latest => {
                    tracing::warn!(running = self.running.len(), "invocations have not ended");
                    return;
                }
                Some(latest) => latest,
            };
            let start_at = self.start_waiting();
            let wait_until = start_at.map_or(wait_until, |at| wait_until.min(at));
            match inbox.recv_timeout(wait_until.saturating_duration_since(Instant::now())) {
                Ok(event) => self.handle_events(event, inbox, &mut stop_at),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if stop_at.is_some() {
                continue;
            }
            let now = Instant::now();
            self.enqueue_retries(now);
            if now >= poll_at {
                poll_at = now + POLL_INTERVAL;
                self.deliver_outbox();
                self.expire_deliveries();
            }
        }
    }

    /// Has workers begin with jobs that wait behind longer ones. Returns when it is to be called again, see [`Workers::start_waiting`].
    pub(super) fn start_waiting(&self) -> Option<Instant> {
        self.workers.start_waiting(Instant::now())
    }

    /// Handles an event and all others that have arrived, then delivers the outbox if one of them asks for it.
    fn handle_events(
        &mut self,
        first: RouterEvent,
        inbox: &Receiver<RouterEvent>,
        stop_at: &mut Option<Instant>,
    ) {
        let mut outbox = false;
        for event in std::iter::once(first).chain(inbox.try_iter()) {
            match event {
                RouterEvent::Accepted(signal, receivers) => {
                    self.enqueue_signal(&signal, &receivers);
                }
                RouterEvent::Forget(agent, signals) => self.forget_loaded(&agent, &signals),
                RouterEvent::Answered(committing, result, at) => {
                    outbox |= self.handle_commit_result(committing, result, at);
                }
                RouterEvent::Finished(job, slot, end) => self.finish_job(job, slot, end),
                RouterEvent::WorkerEnded(worker) => self.workers.replace_thread(worker),
                RouterEvent::Outbox => outbox = true,
                RouterEvent::Wake => self.enqueue_all_agents(),
                RouterEvent::Stop => {
                    *stop_at = Some(Instant::now() + SHUTDOWN_TIMEOUT);
                    for job in self.workers.take_back_jobs() {
                        self.finish_job(job.id, job.slot, DeliveryEnd::Retry(job.signal));
                    }
                }
            }
        }
        if outbox && stop_at.is_none() {
            self.deliver_outbox();
        }
    }

    /// Gives every agent its pending deliveries, which are read at once: for one agent alone, those of all others would be looked at, too.
    fn read_pending(&mut self) {
        let pending = match self.deps.store.pending_deliveries() {
            Ok(pending) => pending,
            Err(error) => {
                tracing::warn!(%error, "pending deliveries cannot be read at once; each agent's are read alone");
                return;
            }
        };
        let slots = self.deps.slots.load_all();
        let numbers: HashMap<&Name, usize> = (0..)
            .zip(slots.iter())
            .map(|(number, slot)| (&slot.name, number))
            .collect();
        let mut of_slots = vec![Vec::new(); slots.len()];
        for (agent, signal) in pending {
            // An agent that does not serve may be installed later; its queue reads the store then.
            if let Some(number) = numbers.get(&agent) {
                of_slots[*number].push(signal);
            }
        }
        self.queues.resize_with(slots.len(), AgentQueue::new);
        for (queue, pending) in self.queues.iter_mut().zip(of_slots) {
            queue.set_pending(pending);
        }
    }

    /// Gives new slots a queue, and puts every agent that has something to do into the line.
    fn enqueue_all_agents(&mut self) {
        let slots = self.deps.slots.load_all().len();
        if self.queues.len() < slots {
            self.queues.resize_with(slots, AgentQueue::new);
        }
        for slot in 0..self.queues.len() {
            self.enqueue_agent(slot);
        }
    }

    /// Puts an agent into the line if it has something to do and may do it.
    fn enqueue_agent(&mut self, slot: usize) {
        if let Some(queue) = self.queues.get_mut(slot)
            && !queue.in_line
            && queue.is_ready()
        {
            queue.in_line = true;
            self.line.push_back(slot);
        }
    }

    /// Puts the agents whose retry is due into the line.
    fn enqueue_retries(&mut self, now: Instant) {
        for slot in 0..self.queues.len() {
            if self.queues[slot].retry_at.is_some_and(|at| at <= now) {
                self.queues[slot].retry_at = None;
                self.enqueue_agent(slot);
            }
        }
    }

    /// Adds a durable signal to the queues of its receivers.
    pub(super) fn enqueue_signal(&mut self, signal: &Arc<Signal>, receivers: &[usize]) {
        if receivers.iter().any(|slot| *slot >= self.queues.len()) {
            // The slot is new. Its queue reads what is pending from the store.
            self.enqueue_all_agents();
        }
        for slot in receivers {
            if let Some(queue) = self.queues.get_mut(*slot)
                && queue.push_accepted(signal)
            {
                self.enqueue_agent(*slot);
            }
        }
    }

    /// Has an agent's queue take signals that it had before.
    fn forget_loaded(&mut self, agent: &Name, signals: &[SignalId]) {
        let slots = self.deps.slots.load_all();
        let number = slots.iter().position(|slot| slot.name == *agent);
        if let Some(queue) = number.and_then(|number| self.queues.get_mut(number)) {
            queue.forget_loaded(signals);
        }
    }

    /// Ends a job whose effects are durable, or has a worker go on with it. Returns whether there may be messages in the outbox.
    fn handle_commit_result(
        &mut self,
        committing: Box<CommittingInvocation>,
        result: Result<Vec<Arc<Decision>>, HrmError>,
        at: Instant,
    ) -> bool {
        let decisions = match result {
            Ok(decisions) => decisions,
            Err(error) => {
                self.workers
                    .submit_first(WorkerTask::HandleCommitError(committing, error));
                return false;
            }
        };
        let invoker = &self.deps.invoker;
        let sends_message = invoker.sends_message(&decisions);
        if let Some(breach) = invoker.record_committed(&committing, &decisions, at) {
            self.workers
                .submit_first(WorkerTask::ActOnBreach(committing, breach));
        } else {
            let (job, slot) = (committing.invocation.job, committing.invocation.slot_number);
            // Releases the version before the delivery counts as completed: a caller that waits until the version is unused checks that then.
            drop(committing);
            self.finish_job(job, slot, DeliveryEnd::Completed);
        }
        sends_message
    }

    fn finish_job(&mut self, job: u64, slot: usize, end: DeliveryEnd) {
        let job = self.running.remove(&job);
        let Some(queue) = self.queues.get_mut(slot) else {
            return;
        };
        queue.concurrency.release();
        if let Some(job) = job {
            queue.running.remove(&job.signal);
        }
        match end {
            DeliveryEnd::Completed | DeliveryEnd::Refused => {
                if matches!(end, DeliveryEnd::Refused) {
                    queue.retry_at = Some(Instant::now() + REFUSAL_PAUSE);
                }
                if let Some(slot) = self.deps.slots.get_slot(slot) {
                    release_place(&slot, &self.deps.backlog.deliveries);
                }
            }
            DeliveryEnd::AlreadyCompleted => {}
            DeliveryEnd::Retry(signal) => {
                queue.push_front(signal);
                queue.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
        self.enqueue_agent(slot);
    }

    /// Starts jobs for the agents in the line while there are places. Returns when a place becomes free by itself, if one will.
    fn dispatch_ready_agents(&mut self) -> Option<Instant> {
        let mut passed_over = 0;
        while self.line.len() > passed_over {
            let now = Instant::now();
            match self.capacity(now) {
                Capacity::Free => {}
                Capacity::Full => return None,
                Capacity::FullUntil(at) => return Some(at),
            }
            let slot = self.line.pop_front()?;
            let failing = self
                .deps
                .slots
                .get_slot(slot)
                .is_some_and(|slot| slot.failing.load(Ordering::Relaxed));
            if failing && !self.has_place_for_failing() {
                self.line.push_back(slot);
                passed_over += 1;
                continue;
            }
            if let Some(queue) = self.queues.get_mut(slot) {
                queue.in_line = false;
            }
            self.dispatch_next_signal(slot, failing, now);
            self.reenqueue_agent(slot);
        }
        None
    }

    fn capacity(&self, now: Instant) -> Capacity {
        if self.running.len() >= self.prompt_places + self.slow_places {
            return Capacity::Full;
        }
        let prompt = || {
            self.running
                .values()
                .map(|job| job.started)
                .filter(|started| now.saturating_duration_since(*started) < PROMPT_LIMIT)
        };
        match prompt().min() {
            Some(oldest) if prompt().count() >= self.prompt_places => {
                Capacity::FullUntil(oldest + PROMPT_LIMIT)
            }
            _ => Capacity::Free,
        }
    }

    fn has_place_for_failing(&self) -> bool {
        let failing = self.running.values().filter(|job| job.failing).count();
        failing < ((self.prompt_places + self.slow_places) / 4).max(1)
    }

    /// Puts an agent that has just had its turn back into the line. One in quarantine or without a version waits for [`RouterEvent::Wake`].
    fn reenqueue_agent(&mut self, number: usize) {
        let waits = self.deps.slots.get_slot(number).is_some_and(|slot| {
            (slot.is_vacant() && !slot.is_deleted()) || self.deps.guards.is_quarantined(&slot.name)
        });
        if !waits {
            self.enqueue_agent(number);
        }
    }

    /// Starts a job for an agent's next signal, if there is one and the agent may be handed it.
    fn dispatch_next_signal(&mut self, number: usize, failing: bool, now: Instant) {
        let (Some(queue), Some(slot)) = (
            self.queues.get_mut(number),
            self.deps.slots.get_slot(number),
        ) else {
            return;
        };
        let Some(agent) = slot.agent() else {
            if slot.is_deleted() {
                self.fail_deleted_deliveries(number, &slot);
            }
            return;
        };
        queue.concurrency.set_limit(agent.limits().concurrency);
        if self.deps.guards.is_quarantined(&slot.name) {
            return;
        }
        let signal = match queue.pop_next(&slot.name, &self.deps.store) {
            Ok(Some(signal)) => signal,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(agent = %slot.name, %error, "pending deliveries cannot be read; tried again");
                queue.retry_at = Some(now + RETRY_AFTER);
                return;
            }
        };
        if !queue.concurrency.try_acquire() {
            queue.push_front(signal);
            return;
        }
        queue.running.insert(signal.id);
        self.last_job += 1;
        let id = self.last_job;
        self.running.insert(
            id,
            RunningJob {
                signal: signal.id,
                started: now,
                failing,
            },
        );
        self.workers.submit_work(WorkerTask::Run(InvocationJob {
            id,
            slot: number,
            signal,
        }));
    }
}
