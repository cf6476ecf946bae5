//! The router: signals to the agents subscribed to them, one invocation per agent at a time, and the outbox.
//!
//! A delivery is a row in the store, pending until the invocation's own commit settles it; what is held here in memory is only a copy of
//! pending rows. So a host that is killed delivers what was pending again, and what was settled never.
//!
//! Invariants: an agent's signals are handled one after the other, so that each sees the state the one before it left; a signal whose
//! invocation fails is settled as failed, with the failure in the audit log, and is not tried again; one that could not be committed
//! stays pending and is tried again.
//!
//! Must not know: HTTP, SQL, rules.

mod invocation;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::hrm::Hrm;
use crate::model::ids::{Digest, Millis, Name, SignalId, TraceId};
use crate::model::signal::Signal;
use crate::runtime::Agent;
use crate::store::{
    CommitError, NewSignal, OutboxRow, SignalKey, SignalReceipt, Store, SubmitError, Unit,
};

use invocation::Invoker;

/// Topics of this prefix are the host's own: nobody else may send on them.
pub const HOST_TOPICS: &str = "ark.";
/// The topic on which decisions are announced.
pub const DECISION_TOPIC: &str = "ark.decision";
/// The topic on which executions are announced.
pub const EXECUTION_TOPIC: &str = "ark.execution";

/// How many pending signals of an agent are held in memory.
const QUEUE: u32 = 1024;
/// How many outbox rows are carried out in one commit.
const OUTBOX_BATCH: u32 = 256;
/// How often the outbox is looked at without being told to.
const OUTBOX_POLL: Duration = Duration::from_secs(1);
/// How long a delivery that could not be committed waits before it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// How the router works.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// How many invocations may run at the same time.
    pub workers: usize,
    /// How many signals may be accepted and not yet handled by all; past it senders are told to come back.
    pub backlog: usize,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            workers: 16,
            backlog: 100_000,
        }
    }
}

/// Why a signal was not accepted, or the router not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// Too much waits.
    #[error("too many signals are waiting; try again in a second")]
    Busy,
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Closed,
    /// It could not be stored.
    #[error("the signal could not be stored: {0}")]
    NotStored(String),
    /// The idempotency key was used for another signal.
    #[error("this idempotency key was used for another signal; use a fresh key")]
    KeyReused,
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(String),
}

/// A signal from outside.
#[derive(Debug, Clone)]
pub struct IncomingSignal {
    /// Its topic, checked.
    pub topic: String,
    /// One JSON value.
    pub payload_json: String,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The key under which it is accepted once only, and the digest of its request.
    pub key: Option<(String, Digest)>,
}

/// A signal that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id; for a duplicate the first one's.
    pub id: SignalId,
    /// Its trace; for a duplicate the first one's.
    pub trace_id: TraceId,
    /// It was accepted before, under the same key: nothing runs again.
    pub duplicate: bool,
    /// Who receives it.
    pub delivered_to: Vec<Name>,
}

/// An agent with its counts.
#[derive(Debug)]
pub struct Seat {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Invocations that were committed.
    pub handled: AtomicU64,
    /// Invocations that failed.
    pub failed: AtomicU64,
    /// Signals that wait for it.
    pub waiting: AtomicUsize,
}

enum Event {
    Accepted(Arc<Signal>, Vec<usize>),
    Finished(usize, Finish),
    Outbox,
    Stop,
}

/// How an invocation ended.
enum Finish {
    /// Its delivery is settled.
    Settled,
    /// Nothing of it is on disk: it must be tried again.
    Retry(Arc<Signal>),
}

/// The handle to the router. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    events: Sender<Event>,
    seats: Arc<Vec<Seat>>,
    store: Store,
    config: RouterConfig,
    backlog: Arc<AtomicUsize>,
    threads: Arc<std::sync::Mutex<Vec<JoinHandle<()>>>>,
}

impl Router {
    /// Starts the router and its workers, and resumes what was pending.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        config: RouterConfig,
        agents: Vec<Arc<Agent>>,
        hrm: &Hrm,
        store: &Store,
    ) -> Result<Self, RouterError> {
        let seats: Arc<Vec<Seat>> = Arc::new(
            agents
                .into_iter()
                .map(|agent| Seat {
                    agent,
                    handled: AtomicU64::new(0),
                    failed: AtomicU64::new(0),
                    waiting: AtomicUsize::new(0),
                })
                .collect(),
        );
        let listens = |topic| {
            seats
                .iter()
                .any(|seat| seat.agent.manifest().subscribes_to(topic))
        };
        hrm.announce(listens(DECISION_TOPIC) || listens(EXECUTION_TOPIC));
        let (events, inbox) = crossbeam_channel::unbounded();
        let (jobs, work) = crossbeam_channel::unbounded();
        let backlog = Arc::new(AtomicUsize::new(0));
        let thread = |name: String, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name)
                .spawn(run)
                .map_err(|error| RouterError::Thread(error.to_string()))
        };
        let mut threads = Vec::new();
        for number in 0..config.workers.max(1) {
            let invoker = Invoker {
                hrm: hrm.clone(),
                store: store.clone(),
                seats: Arc::clone(&seats),
                events: events.clone(),
            };
            let work: Receiver<(usize, Arc<Signal>)> = work.clone();
            threads.push(thread(
                format!("ark-guest-{number}"),
                Box::new(move || {
                    while let Ok((seat, signal)) = work.recv() {
                        invoker.run(seat, &signal);
                    }
                }),
            )?);
        }
        let dispatcher = Dispatcher {
            queues: seats.iter().map(|_| Queue::default()).collect(),
            seats: Arc::clone(&seats),
            store: store.clone(),
            jobs,
            backlog: Arc::clone(&backlog),
        };
        threads.push(thread(
            "ark-router".to_owned(),
            Box::new(move || dispatcher.run(&inbox)),
        )?);
        Ok(Self {
            events,
            seats,
            store: store.clone(),
            config,
            backlog,
            threads: Arc::new(std::sync::Mutex::new(threads)),
        })
    }

    /// Stores a signal and hands it on. `reply` is called once it is on disk, on the writer's thread: it must be quick.
    pub fn accept(
        &self,
        incoming: IncomingSignal,
        reply: Box<dyn FnOnce(Result<Accepted, RouterError>) + Send>,
    ) {
        if self.backlog.load(Ordering::Relaxed) >= self.config.backlog {
            return reply(Err(RouterError::Busy));
        }
        let signal = Signal {
            id: SignalId::fresh(),
            topic: incoming.topic,
            payload_json: incoming.payload_json,
            trace_id: incoming.trace_id,
            sender: None,
            causal_depth: 0,
            accepted_at: Millis::now(),
        };
        let receivers = receivers(&self.seats, &signal.topic, None);
        let delivered_to = names(&self.seats, &receivers);
        let key = incoming.key.map(|(key, request)| SignalKey {
            source: "http".to_owned(),
            key,
            request,
        });
        let new = NewSignal {
            signal: signal.clone(),
            key,
            deliver_to: delivered_to.clone(),
        };
        let events = self.events.clone();
        let done = Box::new(move |result: Result<crate::store::Receipt, CommitError>| {
            reply(match result {
                Ok(receipt) => {
                    if let Some(SignalReceipt::Duplicate { id, trace_id }) = receipt.signals.first()
                    {
                        Ok(Accepted {
                            id: *id,
                            trace_id: *trace_id,
                            duplicate: true,
                            delivered_to,
                        })
                    } else {
                        let accepted = Accepted {
                            id: signal.id,
                            trace_id: signal.trace_id,
                            duplicate: false,
                            delivered_to,
                        };
                        let _ = events.send(Event::Accepted(Arc::new(signal), receivers));
                        Ok(accepted)
                    }
                }
                Err(CommitError::KeyReused { .. }) => Err(RouterError::KeyReused),
                Err(CommitError::Closed) => Err(RouterError::Closed),
                Err(error) => Err(RouterError::NotStored(error.to_string())),
            });
        });
        if let Err((reason, done)) = self.store.submit(
            Unit {
                signals: vec![new],
                ..Unit::default()
            },
            done,
        ) {
            done(Err(match reason {
                SubmitError::Full => CommitError::Storage("too many writes are waiting".to_owned()),
                SubmitError::Closed => CommitError::Closed,
            }));
        }
    }

    /// Says that there is something in the outbox.
    pub fn wake_outbox(&self) {
        let _ = self.events.send(Event::Outbox);
    }

    /// The agents with their counts.
    #[must_use]
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// How many deliveries are pending, as far as this process knows.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Finishes the invocations that run and ends all threads. What is pending stays pending.
    pub fn close(&self) {
        let _ = self.events.send(Event::Stop);
        let threads = self
            .threads
            .lock()
            .map(|mut threads| std::mem::take(&mut *threads))
            .unwrap_or_default();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a router thread ended in a panic");
            }
        }
    }
}

fn receivers(seats: &[Seat], topic: &str, to: Option<&Name>) -> Vec<usize> {
    let wanted = |seat: &Seat| match to {
        Some(name) => seat.agent.manifest().name == *name,
        None => seat.agent.manifest().subscribes_to(topic),
    };
    seats
        .iter()
        .enumerate()
        .filter(|(_, seat)| wanted(seat))
        .map(|(index, _)| index)
        .collect()
}

fn names(seats: &[Seat], receivers: &[usize]) -> Vec<Name> {
    receivers
        .iter()
        .filter_map(|index| seats.get(*index))
        .map(|seat| seat.agent.manifest().name.clone())
        .collect()
}

#[derive(Default)]
struct Queue {
    signals: VecDeque<Arc<Signal>>,
    running: bool,
    /// The store may hold more than `signals`.
    more: bool,
    /// What the last look into the store brought. Its `Accepted` events may still be on their way: they bring nothing new.
    loaded: HashSet<SignalId>,
    retry_at: Option<Instant>,
}

struct Dispatcher {
    queues: Vec<Queue>,
    seats: Arc<Vec<Seat>>,
    store: Store,
    jobs: Sender<(usize, Arc<Signal>)>,
    backlog: Arc<AtomicUsize>,
}

impl Dispatcher {
    fn run(mut self, inbox: &Receiver<Event>) {
        for queue in &mut self.queues {
            queue.more = true;
        }
        let mut outbox_at = Instant::now();
        loop {
            (0..self.queues.len()).for_each(|seat| self.dispatch(seat));
            self.count();
            let retry = self.queues.iter().filter_map(|queue| queue.retry_at).min();
            let next = retry.map_or(outbox_at, |retry| retry.min(outbox_at));
            match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    let mut outbox = false;
                    let mut event = Some(event);
                    while let Some(current) = event {
                        match current {
                            Event::Accepted(signal, receivers) => self.enqueue(&signal, &receivers),
                            Event::Finished(seat, finish) => self.finished(seat, finish),
                            Event::Outbox => outbox = true,
                            Event::Stop => return,
                        }
                        event = inbox.try_recv().ok();
                    }
                    if outbox {
                        self.carry_out_outbox();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if Instant::now() >= outbox_at {
                        outbox_at = Instant::now() + OUTBOX_POLL;
                        self.carry_out_outbox();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn enqueue(&mut self, signal: &Arc<Signal>, receivers: &[usize]) {
        for seat in receivers {
            if let Some(queue) = self.queues.get_mut(*seat) {
                if queue.loaded.contains(&signal.id) {
                    continue;
                }
                if queue.more || queue.signals.len() >= QUEUE as usize {
                    queue.more = true;
                } else {
                    queue.signals.push_back(Arc::clone(signal));
                }
            }
        }
    }

    fn finished(&mut self, seat: usize, finish: Finish) {
        if let Some(queue) = self.queues.get_mut(seat) {
            queue.running = false;
            if let Finish::Retry(signal) = finish {
                queue.signals.push_front(signal);
                queue.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    fn dispatch(&mut self, seat: usize) {
        let Some(queue) = self.queues.get_mut(seat) else {
            return;
        };
        if queue.running || queue.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        queue.retry_at = None;
        if queue.signals.is_empty() && queue.more {
            let name = &self.seats[seat].agent.manifest().name;
            match self.store.pending_deliveries(name, None, QUEUE) {
                Ok(signals) => {
                    queue.more = signals.len() == QUEUE as usize;
                    queue.loaded = signals.iter().map(|signal| signal.id).collect();
                    queue.signals.extend(signals.into_iter().map(Arc::new));
                }
                Err(error) => {
                    tracing::error!(agent = %name, %error, "pending deliveries cannot be read; tried again");
                    queue.retry_at = Some(Instant::now() + RETRY_AFTER);
                }
            }
        }
        if let Some(signal) = queue.signals.pop_front() {
            queue.running = true;
            let _ = self.jobs.send((seat, signal));
        }
    }

    fn count(&self) {
        let mut total = 0;
        for (queue, seat) in self.queues.iter().zip(self.seats.iter()) {
            let waiting = queue.signals.len() + usize::from(queue.running);
            seat.waiting.store(waiting, Ordering::Relaxed);
            total += waiting;
        }
        self.backlog.store(total, Ordering::Relaxed);
    }

    /// Turns outbox rows into signals, each in the commit that removes its row.
    fn carry_out_outbox(&mut self) {
        loop {
            let rows = match self.store.pending_outbox(OUTBOX_BATCH) {
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
            let mut unit = Unit::default();
            let mut sent = Vec::with_capacity(rows.len());
            for OutboxRow { seq, message } in rows {
                let receivers = receivers(&self.seats, &message.topic, message.to.as_ref());
                let signal = Signal {
                    id: SignalId::fresh(),
                    topic: message.topic,
                    payload_json: message.payload_json,
                    trace_id: message.trace_id,
                    sender: message.sender,
                    causal_depth: message.causal_depth,
                    accepted_at: Millis::now(),
                };
                let deliver_to = names(&self.seats, &receivers);
                unit.signals.push(NewSignal {
                    signal: signal.clone(),
                    key: None,
                    deliver_to,
                });
                unit.outbox_done.push(seq);
                sent.push((Arc::new(signal), receivers));
            }
            if let Err(error) = self.store.commit(unit) {
                tracing::error!(%error, "the outbox cannot be carried out; tried again");
                return;
            }
            for (signal, receivers) in sent {
                self.enqueue(&signal, &receivers);
            }
            if !more {
                return;
            }
        }
    }
}

/// Names that no two agents may share.
///
/// # Errors
/// The first name that two agents share.
pub fn check_unique(agents: &[Arc<Agent>]) -> Result<(), Name> {
    let mut seen = HashSet::new();
    agents
        .iter()
        .find(|agent| !seen.insert(&agent.manifest().name))
        .map_or(Ok(()), |agent| Err(agent.manifest().name.clone()))
}
