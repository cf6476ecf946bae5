//! Whose turn it is: one thread, a queue for each agent, and the outbox.
//!
//! Agents with something to do take turns, one invocation at a time each, so that no agent's backlog is another's delay. There are places
//! for prompt invocations, and further ones for those that run for longer than 10 ms: a guest that computes or sleeps up to its deadline
//! leaves the prompt places to the others. Agents whose last invocation failed get a quarter of all places together.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::hrm::HrmError;
use crate::hrm::guards::Guards;
use crate::watchdog::{ConcurrencyLimit, Watchdog};
use ark_model::decision::Decision;
use ark_model::ids::{AuditId, Millis, Name, SignalId};
use ark_model::meters::{SpanLink, SpanSink};
use ark_model::signal::Signal;
use ark_store::{
    AGENT_DELETED, AuditEntry, AuditKind, CommitError, DeliveryCompletion, DeliveryResult,
    ExpiredDelivery, NewSignal, OutboxRow, Store, Unit,
};

use super::invocation::{CommittingInvocation, Invoker};
use super::seat::{AgentSlot, AgentSlots};
use super::workers::{Job, Work, Workers};
use super::{QueuePlaces, RouterConfig, find_receivers, slot_names};

/// How many pending signals of an agent are held in memory.
const QUEUE_CAPACITY: u32 = 1024;
/// How many outbox rows are carried out in one commit.
const OUTBOX_BATCH: u32 = 256;
/// How often the outbox is looked at without being told to, and signals expire.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How many expired deliveries are settled at a time.
const EXPIRED_BATCH: u32 = 256;
/// How long a delivery that could not be committed waits before it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// An invocation that runs for longer no longer counts as prompt.
const PROMPT_LIMIT: Duration = Duration::from_millis(10);
/// How long the end of the host waits for what runs; each of it has a deadline of its own.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) enum RouterEvent {
    /// A signal is on disk, for these seats.
    Accepted(Arc<Signal>, Vec<usize>),
    /// The HRM's answer to what an invocation wanted, and when it came.
    Answered(
        Box<CommittingInvocation>,
        Result<Vec<Arc<Decision>>, HrmError>,
        Instant,
    ),
    /// A job of a seat ended.
    Finished(u64, usize, DeliveryEnd),
    /// A worker's thread has ended, since a slow guest had lowered its priority.
    WorkerEnded(usize),
    /// There may be something in the outbox.
    Outbox,
    /// An agent may be handed signals again.
    Wake,
    Stop,
}

/// How an invocation ended.
pub(super) enum DeliveryEnd {
    /// Its delivery is settled.
    Completed,
    /// It was settled before, by another: nothing was done.
    AlreadyCompleted,
    /// Nothing of it is on disk: it must be tried again.
    Retry(Arc<Signal>),
}

/// What the dispatcher stands on.
pub(super) struct DispatcherDeps {
    pub(super) slots: AgentSlots,
    pub(super) store: Store,
    pub(super) guards: Arc<Guards>,
    pub(super) watchdog: Watchdog,
    pub(super) invoker: Arc<Invoker>,
    pub(super) backlog: Arc<AtomicUsize>,
    pub(super) spans: SpanSink,
}

struct AgentQueue {
    signals: VecDeque<Arc<Signal>>,
    turns: ConcurrencyLimit,
    /// The store may hold more than `signals`.
    may_have_more: bool,
    /// What the last look into the store brought. Its `Accepted` events may still be on their way: they bring nothing new.
    loaded: HashSet<SignalId>,
    /// What runs: the store still has it as pending.
    running: HashSet<SignalId>,
    retry_at: Option<Instant>,
    /// It stands in the line of those with something to do.
    in_line: bool,
}

/// A job that runs.
struct RunningJob {
    signal: SignalId,
    started: Instant,
    failing: bool,
}

pub(super) struct Dispatcher {
    queues: Vec<AgentQueue>,
    /// The seats with something to do, in the order of their turns.
    line: VecDeque<usize>,
    running: HashMap<u64, RunningJob>,
    next_job: u64,
    prompt_places: usize,
    slow_places: usize,
    agent_queue: usize,
    deps: DispatcherDeps,
    workers: Workers,
}

impl Dispatcher {
    pub(super) fn new(config: &RouterConfig, around: DispatcherDeps, workers: Workers) -> Self {
        Self {
            queues: Vec::new(),
            line: VecDeque::new(),
            running: HashMap::new(),
            next_job: 0,
            prompt_places: config.workers.max(1),
            slow_places: config.slow_workers,
            agent_queue: config.agent_queue,
            deps: around,
            workers,
        }
    }

    pub(super) fn run(mut self, inbox: &Receiver<RouterEvent>) {
        self.enqueue_all_agents();
        let mut poll_at = Instant::now();
        // Once told to stop, nothing is handed out any more, and what runs is waited for.
        let mut stop_at: Option<Instant> = None;
        loop {
            let place_at = match stop_at {
                None => self.dispatch_ready_agents(),
                Some(_) if self.running.is_empty() => return,
                Some(latest) if Instant::now() >= latest => {
                    tracing::warn!("an invocation has not ended");
                    return;
                }
                Some(_) => None,
            };
            let retry_at = self.queues.iter().filter_map(|queue| queue.retry_at).min();
            let next = [Some(poll_at), retry_at, place_at];
            let next = next.into_iter().flatten().min();
            let next = stop_at.or(next).unwrap_or(poll_at);
            match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    let mut outbox = false;
                    let mut event = Some(event);
                    while let Some(current) = event {
                        match current {
                            RouterEvent::Accepted(signal, receivers) => {
                                self.enqueue_signal(&signal, &receivers)
                            }
                            RouterEvent::Answered(settling, result, at) => {
                                outbox |= self.handle_commit_result(settling, result, at);
                            }
                            RouterEvent::Finished(job, seat, finish) => {
                                self.finish_job(job, seat, finish)
                            }
                            RouterEvent::WorkerEnded(worker) => self.workers.replace_thread(worker),
                            RouterEvent::Outbox => outbox = true,
                            RouterEvent::Wake => self.enqueue_all_agents(),
                            RouterEvent::Stop => stop_at = Some(Instant::now() + SHUTDOWN_TIMEOUT),
                        }
                        event = inbox.try_recv().ok();
                    }
                    if outbox && stop_at.is_none() {
                        self.deliver_outbox();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if stop_at.is_some() {
                continue;
            }
            let now = Instant::now();
            for seat in 0..self.queues.len() {
                if self.queues[seat].retry_at.is_some_and(|at| at <= now) {
                    self.queues[seat].retry_at = None;
                    self.enqueue_agent(seat);
                }
            }
            if now >= poll_at {
                poll_at = now + POLL_INTERVAL;
                self.deliver_outbox();
                self.expire_deliveries();
            }
        }
    }

    /// Gives every seat a queue and puts those with something to do into the line.
    fn enqueue_all_agents(&mut self) {
        let seats = self.deps.slots.load_all().len();
        while self.queues.len() < seats {
            self.queues.push(AgentQueue {
                signals: VecDeque::new(),
                turns: ConcurrencyLimit::new(1),
                may_have_more: true,
                loaded: HashSet::new(),
                running: HashSet::new(),
                retry_at: None,
                in_line: false,
            });
        }
        (0..self.queues.len()).for_each(|seat| self.enqueue_agent(seat));
    }

    /// Puts a seat into the line, if it has something to do and may do it.
    fn enqueue_agent(&mut self, seat: usize) {
        let Some(queue) = self.queues.get_mut(seat) else {
            return;
        };
        let idle = queue.signals.is_empty() && !queue.may_have_more;
        if !queue.in_line && !idle && queue.turns.is_available() && queue.retry_at.is_none() {
            queue.in_line = true;
            self.line.push_back(seat);
        }
    }

    fn enqueue_signal(&mut self, signal: &Arc<Signal>, receivers: &[usize]) {
        if receivers.iter().any(|seat| *seat >= self.queues.len()) {
            // A seat that was added a moment ago: its queue reads what is pending from the store.
            self.enqueue_all_agents();
        }
        for seat in receivers {
            let Some(queue) = self.queues.get_mut(*seat) else {
                continue;
            };
            if queue.loaded.contains(&signal.id) {
                continue;
            }
            if queue.may_have_more || queue.signals.len() >= QUEUE_CAPACITY as usize {
                queue.may_have_more = true;
            } else {
                queue.signals.push_back(Arc::clone(signal));
            }
            self.enqueue_agent(*seat);
        }
    }

    /// Ends a job whose outcome is on disk, or has a worker see to it; `true`: there may be something in the outbox.
    fn handle_commit_result(
        &mut self,
        settling: Box<CommittingInvocation>,
        result: Result<Vec<Arc<Decision>>, HrmError>,
        at: Instant,
    ) -> bool {
        let decisions = match result {
            Ok(decisions) => decisions,
            Err(error) => {
                self.workers
                    .submit_work(Work::HandleCommitError(settling, error));
                return false;
            }
        };
        let (sends_on, breach) = self
            .deps
            .invoker
            .record_committed(&settling, &decisions, at);
        if let Some(breach) = breach {
            self.workers
                .submit_work(Work::StopFailing(settling, breach));
        } else {
            let (job, seat) = settling.job_and_slot();
            // Its version is let go first: whoever waits for that may look as soon as the delivery is settled.
            drop(settling);
            self.finish_job(job, seat, DeliveryEnd::Completed);
        }
        sends_on
    }

    fn finish_job(&mut self, job: u64, seat: usize, finish: DeliveryEnd) {
        let job = self.running.remove(&job);
        let Some(queue) = self.queues.get_mut(seat) else {
            return;
        };
        queue.turns.release();
        if let Some(job) = job {
            queue.running.remove(&job.signal);
        }
        match finish {
            DeliveryEnd::Completed => {
                if let Some(place) = self.deps.slots.get_slot(seat) {
                    release_place(&place, &self.deps.backlog);
                }
            }
            DeliveryEnd::AlreadyCompleted => {}
            DeliveryEnd::Retry(signal) => {
                queue.signals.push_front(signal);
                queue.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
        self.enqueue_agent(seat);
    }

    /// Hands out what there are places for. When places are what is missing, the time at which one may become free by itself.
    fn dispatch_ready_agents(&mut self) -> Option<Instant> {
        let mut passed_over = 0;
        while self.line.len() > passed_over {
            let now = Instant::now();
            let prompt = self
                .running
                .values()
                .filter(|job| now.saturating_duration_since(job.started) < PROMPT_LIMIT);
            let (count, oldest) = prompt.fold(
                (0, None),
                |(count, oldest): (usize, Option<Instant>), job| {
                    let oldest = oldest.map_or(job.started, |oldest| oldest.min(job.started));
                    (count + 1, Some(oldest))
                },
            );
            let places = self.prompt_places + self.slow_places;
            if self.running.len() >= places {
                return None;
            }
            if count >= self.prompt_places {
                return oldest.map(|started| started + PROMPT_LIMIT);
            }
            let seat = self.line.pop_front()?;
            let failing = self
                .deps
                .slots
                .get_slot(seat)
                .is_some_and(|place| place.failing.load(Ordering::Relaxed));
            let failing_now = self.running.values().filter(|job| job.failing).count();
            if failing && failing_now >= (places / 4).max(1) {
                self.line.push_back(seat);
                passed_over += 1;
                continue;
            }
            if let Some(queue) = self.queues.get_mut(seat) {
                queue.in_line = false;
            }
            self.dispatch_next_signal(seat, failing, now);
            self.reenqueue_agent(seat);
        }
        None
    }

    /// As [`Dispatcher::queue_up`], for a seat that has just had its turn: an agent in quarantine, or without a version, waits to be woken.
    fn reenqueue_agent(&mut self, seat: usize) {
        let waits = self.deps.slots.get_slot(seat).is_some_and(|place| {
            (place.is_vacant() && !place.is_deleted())
                || self.deps.guards.is_quarantined(&place.name)
        });
        if !waits {
            self.enqueue_agent(seat);
        }
    }

    fn dispatch_next_signal(&mut self, seat: usize, failing: bool, now: Instant) {
        let (Some(queue), Some(place)) =
            (self.queues.get_mut(seat), self.deps.slots.get_slot(seat))
        else {
            return;
        };
        let name = &place.name;
        let Some(concurrency) = place.agent().map(|agent| agent.limits().concurrency) else {
            if place.is_deleted() {
                self.fail_deleted_deliveries(seat, &place);
            }
            return;
        };
        queue.turns.set_limit(concurrency);
        if self.deps.guards.is_quarantined(name) {
            return;
        }
        if queue.signals.is_empty() && queue.may_have_more {
            match self
                .deps
                .store
                .pending_deliveries(name, None, QUEUE_CAPACITY)
            {
                Ok(signals) => {
                    queue.may_have_more = signals.len() == QUEUE_CAPACITY as usize;
                    queue.loaded = signals.iter().map(|signal| signal.id).collect();
                    let fresh = signals
                        .into_iter()
                        .filter(|signal| !queue.running.contains(&signal.id));
                    queue.signals.extend(fresh.map(Arc::new));
                }
                Err(error) => {
                    tracing::error!(agent = %name, %error, "pending deliveries cannot be read; tried again");
                    queue.retry_at = Some(now + RETRY_AFTER);
                    return;
                }
            }
        }
        let today = Millis::now();
        // What has expired is settled by the next poll.
        while queue
            .signals
            .front()
            .is_some_and(|signal| is_expired(signal, today))
        {
            queue.signals.pop_front();
        }
        let Some(signal) = queue.signals.pop_front() else {
            return;
        };
        if !queue.turns.try_acquire() {
            queue.signals.push_front(signal);
            return;
        }
        queue.running.insert(signal.id);
        let running = signal.id;
        self.next_job += 1;
        let id = self.next_job;
        self.running.insert(
            id,
            RunningJob {
                signal: running,
                started: now,
                failing,
            },
        );
        self.workers.submit_work(Work::Run(Job {
            id,
            slot: seat,
            signal,
            started: now,
        }));
    }

    /// Settles as failed what came for an agent while it was deleted. What was pending before was settled with the deletion.
    fn fail_deleted_deliveries(&mut self, seat: usize, place: &Arc<AgentSlot>) {
        let Some(queue) = self.queues.get_mut(seat) else {
            return;
        };
        queue.may_have_more = false;
        for signal in queue.signals.drain(..) {
            let unit = unhandled_delivery_unit(
                &place.name,
                &signal,
                AGENT_DELETED,
                "deleted",
                Millis::now(),
            );
            let (place, backlog) = (Arc::clone(place), Arc::clone(&self.deps.backlog));
            let settled = Box::new(move |result: Result<_, CommitError>| match result {
                Ok(_) => release_place(&place, &backlog),
                Err(CommitError::DeliveryNotPending { .. }) => {}
                Err(error) => {
                    tracing::error!(agent = %place.name, %error, "a deleted agent's delivery is settled at the next start");
                }
            });
            if let Err((error, _)) = self.deps.store.submit(unit, settled) {
                tracing::error!(%error, "a deleted agent's delivery is settled at the next start");
            }
        }
    }

    /// Turns outbox rows into signals, each in the commit that removes its row.
    fn deliver_outbox(&mut self) {
        loop {
            let rows = match self.deps.store.pending_outbox(OUTBOX_BATCH) {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read; tried again");
                    return;
                }
            };
            if rows.is_empty() {
                return;
            }
            let more = rows.len() == OUTBOX_BATCH as usize;
            let started = SystemTime::now();
            let mut unit = Unit::default();
            let mut sent = Vec::with_capacity(rows.len());
            for OutboxRow { seq, message } in rows {
                let seats = self.deps.slots.load_all();
                let wanted = find_receivers(&seats, &message.topic, message.to.as_ref());
                let places =
                    QueuePlaces::reserve(&seats, &self.deps.backlog, wanted, self.agent_queue);
                for seat in places.reserved.iter().filter_map(|index| seats.get(*index)) {
                    self.deps.watchdog.record_queue_length(
                        &seat.name,
                        seat.waiting_deliveries(),
                        self.agent_queue,
                    );
                }
                let signal = Signal {
                    id: SignalId::fresh(),
                    topic: message.topic,
                    payload_json: message.payload_json,
                    trace_id: message.trace_id,
                    sender: message.sender,
                    causal_depth: message.causal_depth,
                    accepted_at: Millis::now(),
                    expires_at: None,
                };
                unit.signals.push(NewSignal {
                    by: None,
                    signal: signal.clone(),
                    key: None,
                    deliver_to: slot_names(&seats, &places.reserved),
                    shed: slot_names(&seats, &places.full),
                });
                unit.outbox_done.push(seq);
                sent.push((Arc::new(signal), places));
            }
            if let Err(error) = self.deps.store.commit(unit) {
                tracing::error!(%error, "the outbox cannot be carried out; tried again");
                return;
            }
            for (signal, places) in sent {
                if self.deps.spans.is_enabled() {
                    let link = SpanLink::Sent {
                        sender: signal.sender.clone(),
                        depth: signal.causal_depth,
                    };
                    let span = super::signal_span(&signal, started, Some(link));
                    self.deps.spans.record(span);
                }
                self.enqueue_signal(&signal, &places.keep_reserved());
            }
            if !more {
                return;
            }
        }
    }

    /// Settles the deliveries whose time is over, each with a row in the audit log.
    fn expire_deliveries(&mut self) {
        let now = Millis::now();
        let expired = match self.deps.store.expired_deliveries(now, EXPIRED_BATCH) {
            Ok(expired) => expired,
            Err(error) => {
                tracing::error!(%error, "expired deliveries cannot be read; tried again");
                return;
            }
        };
        for delivery in expired {
            let place = self
                .deps
                .slots
                .load_all()
                .iter()
                .position(|seat| seat.name == delivery.agent);
            // What runs now settles itself.
            let runs = |seat| {
                let queue: Option<&AgentQueue> = self.queues.get(seat);
                queue.is_some_and(|queue| queue.running.contains(&delivery.signal))
            };
            if place.is_some_and(runs) {
                continue;
            }
            match self
                .deps
                .store
                .commit(expired_delivery_unit(&delivery, now))
            {
                Ok(_) => {
                    if let Some(place) = place.and_then(|seat| self.deps.slots.get_slot(seat)) {
                        release_place(&place, &self.deps.backlog);
                    }
                }
                Err(CommitError::DeliveryNotPending { .. }) => {}
                Err(error) => {
                    tracing::error!(%error, "an expired delivery could not be settled; tried again");
                    return;
                }
            }
        }
    }
}

fn release_place(place: &AgentSlot, backlog: &AtomicUsize) {
    place.release_place();
    let _ = backlog.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
        waiting.checked_sub(1)
    });
}

fn is_expired(signal: &Signal, now: Millis) -> bool {
    signal.expires_at.is_some_and(|at| at <= now)
}

fn expired_delivery_unit(expired: &ExpiredDelivery, now: Millis) -> Unit {
    let reason = "expired: its time to live was over before the agent could be handed it";
    failed_delivery_unit(expired, reason, "expired", now)
}

fn unhandled_delivery_unit(
    agent: &Name,
    signal: &Signal,
    reason: &str,
    kind: &str,
    now: Millis,
) -> Unit {
    let delivery = ExpiredDelivery {
        agent: agent.clone(),
        signal: signal.id,
        trace_id: signal.trace_id,
    };
    failed_delivery_unit(&delivery, reason, kind, now)
}

/// A delivery that was never handed out, with its row in the audit log.
fn failed_delivery_unit(expired: &ExpiredDelivery, reason: &str, kind: &str, now: Millis) -> Unit {
    let body = serde_json::json!({
        "signal_id": expired.signal,
        "kind": kind,
        "reason": reason,
    });
    Unit {
        audit: vec![AuditEntry {
            kind: AuditKind::Failure,
            id: AuditId::fresh(),
            trace_id: Some(expired.trace_id),
            agent: Some(expired.agent.clone()),
            action_type: None,
            outcome: None,
            at: now,
            body: body.to_string(),
        }],
        delivery: Some(DeliveryCompletion {
            signal: expired.signal,
            agent: expired.agent.clone(),
            result: DeliveryResult::Failed(reason.to_owned()),
            at: now,
        }),
        at: now,
        ..Unit::default()
    }
}
