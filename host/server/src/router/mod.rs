//! The router: signals to the agents subscribed to them, one invocation per agent at a time, and the outbox.
//!
//! A delivery is a row in the store, pending until the invocation's own commit settles it; what is held here in memory is only a copy of
//! pending rows. So a host that is killed delivers what was pending again, and what was settled never.
//!
//! Invariants: an agent handles as many signals at a time as its limits say (one, unless the operator allows more), in the order of their
//! acceptance; a signal whose invocation fails is settled as failed, with the failure in the audit log, and is not tried again; one that
//! could not be committed stays pending and is tried again; an agent in quarantine is handed nothing, and what waits for it waits on, or
//! expires.
//!
//! Reading order: this file (accepting), [`dispatcher`] (whose turn it is), [`workers`] (the threads), [`invocation`] (one turn), [`seat`],
//! [`canary`].
//!
//! Must not know: HTTP, SQL, rules.

mod canary;
mod dispatcher;
mod invocation;
mod seat;
mod workers;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

use crossbeam_channel::Sender;

use crate::hrm::guards::Guards;
use crate::hrm::{ALERT_TOPIC, Hrm};
use crate::watchdog::Watchdog;
use ark_model::ids::{Digest, Millis, Name, SignalId, TraceId};
use ark_model::meters::{Deployment, RouterMeters, Span, SpanId, SpanLink};
use ark_model::signal::Signal;
use ark_runtime::Agent;
use ark_store::{CommitError, NewSignal, SignalKey, SignalReceipt, Store, Unit};

pub use canary::Canary;
use dispatcher::{Dispatcher, RouterEvent};
use invocation::Invoker;
use seat::AgentSlots;
pub use seat::{AgentSlot, ServingSlot};
use workers::Workers;

/// Topics of this prefix are the host's own: nobody else may send on them.
pub const HOST_TOPIC_PREFIX: &str = "ark.";
/// The topic on which decisions are announced.
pub const DECISION_TOPIC: &str = "ark.decision";
/// The topic on which executions are announced.
pub const EXECUTION_TOPIC: &str = "ark.execution";

/// How the router works.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// How many invocations may run at the same time, slow ones not counted.
    pub workers: usize,
    /// How many invocations may run for longer than 10 ms at the same time, besides.
    pub slow_workers: usize,
    /// How many deliveries may wait in all; past it senders are told to come back.
    pub backlog: usize,
    /// How many deliveries may wait for one agent; what comes then is not delivered to it.
    pub agent_queue: usize,
    /// How long a signal that names no time of its own waits at most; `None`: for good.
    pub signal_ttl_ms: Option<u64>,
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
    /// For how long it may wait, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The name of the token it came with.
    pub by: Option<String>,
}

/// A signal that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedSignal {
    /// Its id; for a duplicate the first one's.
    pub id: SignalId,
    /// Its trace; for a duplicate the first one's.
    pub trace_id: TraceId,
    /// It was accepted before, under the same key: nothing runs again.
    pub duplicate: bool,
    /// Who receives it.
    pub delivered_to: Vec<Name>,
    /// Who would receive it, but has too much waiting.
    pub shed: Vec<Name>,
}

/// What the router stands on.
pub struct RouterParts {
    /// The agents.
    pub agents: Vec<Arc<Agent>>,
    /// Versions of them that are on trial.
    pub canaries: Vec<Canary>,
    /// Who judges what they propose.
    pub hrm: Hrm,
    /// Where signals are kept.
    pub store: Store,
    /// Which agents are in quarantine.
    pub guards: Arc<Guards>,
    /// Who is told how invocations went.
    pub watchdog: Watchdog,
    /// What counts and times them.
    pub meters: Arc<RouterMeters>,
}

/// The handle to the router. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    events: Sender<RouterEvent>,
    hrm: Hrm,
    slots: AgentSlots,
    store: Store,
    watchdog: Watchdog,
    config: RouterConfig,
    meters: Arc<RouterMeters>,
    backlog: Arc<AtomicUsize>,
    thread: Arc<std::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl Router {
    /// Starts the router and its workers, and resumes what was pending.
    ///
    /// # Errors
    /// A thread cannot be started, or the store not be read.
    pub fn start(config: RouterConfig, parts: RouterParts) -> Result<Self, RouterError> {
        let RouterParts {
            agents,
            canaries,
            hrm,
            store,
            guards,
            watchdog,
            meters,
        } = parts;
        let pending = store
            .pending_counts()
            .map_err(|error| RouterError::NotStored(error.to_string()))?;
        let seats: Vec<Arc<AgentSlot>> = agents
            .into_iter()
            .map(|agent| {
                let waiting = pending
                    .iter()
                    .find(|(name, _)| *name == agent.manifest().name)
                    .map_or(0, |(_, count)| *count);
                Arc::new(AgentSlot::new(agent, waiting))
            })
            .collect();
        let backlog = seats.iter().map(|seat| seat.waiting_deliveries()).sum();
        let seats = AgentSlots::new(seats);
        for canary in canaries {
            if let Some(seat) = seats.find_by_name(&canary.agent.manifest().name) {
                let _ = meters.agents.for_deployment(&seat.name, Deployment::Canary);
                let _ = seat.set_canary(Some(Arc::new(canary)));
            }
        }
        let backlog = Arc::new(AtomicUsize::new(backlog));
        update_announcing(&hrm, &seats);
        let (events, inbox) = crossbeam_channel::unbounded();
        let invoker = Arc::new(Invoker {
            hrm: hrm.clone(),
            store: store.clone(),
            slots: seats.clone(),
            watchdog: watchdog.clone(),
            meters: Arc::clone(&meters),
            events: events.clone(),
        });
        for seat in seats.load_all().iter() {
            let _ = meters.agents.for_agent(&seat.name);
        }
        let threads = config.workers.max(1).saturating_add(config.slow_workers);
        let workers = Workers::start(threads, Arc::clone(&invoker))
            .map_err(|error| RouterError::Thread(error.to_string()))?;
        let dispatcher = Dispatcher::new(
            &config,
            dispatcher::DispatcherDeps {
                slots: seats.clone(),
                store: store.clone(),
                guards,
                watchdog: watchdog.clone(),
                invoker,
                backlog: Arc::clone(&backlog),
                spans: meters.spans.clone(),
            },
            workers,
        );
        let thread = std::thread::Builder::new()
            .name("ark-router".to_owned())
            .spawn(move || dispatcher.run(&inbox))
            .map_err(|error| RouterError::Thread(error.to_string()))?;
        Ok(Self {
            events,
            hrm,
            slots: seats,
            store,
            watchdog,
            config,
            meters,
            backlog,
            thread: Arc::new(std::sync::Mutex::new(Some(thread))),
        })
    }

    /// Stores a signal and hands it on. `reply` is called once it is on disk, on the writer's thread: it must be quick.
    pub fn accept_signal(
        &self,
        incoming: IncomingSignal,
        reply: Box<dyn FnOnce(Result<AcceptedSignal, RouterError>) + Send>,
    ) {
        if self.backlog.load(Ordering::Relaxed) >= self.config.backlog {
            return reply(Err(RouterError::Busy));
        }
        let now = Millis::now();
        let ttl = incoming.ttl_ms.or(self.config.signal_ttl_ms);
        let signal = Signal {
            id: SignalId::fresh(),
            topic: incoming.topic,
            payload_json: incoming.payload_json,
            trace_id: incoming.trace_id,
            sender: None,
            causal_depth: 0,
            accepted_at: now,
            expires_at: ttl.map(|ttl| Millis(now.0.saturating_add(ttl))),
        };
        let seats = self.slots.load_all();
        let places = QueuePlaces::reserve(
            &seats,
            &self.backlog,
            find_receivers(&seats, &signal.topic, None),
            self.config.agent_queue,
        );
        for seat in places.reserved.iter().filter_map(|index| seats.get(*index)) {
            self.watchdog.record_queue_length(
                &seat.name,
                seat.waiting_deliveries(),
                self.config.agent_queue,
            );
        }
        if places.reserved.is_empty() && !places.full.is_empty() {
            return reply(Err(RouterError::Busy));
        }
        let delivered_to = slot_names(&seats, &places.reserved);
        let shed = slot_names(&seats, &places.full);
        let key = incoming.key.map(|(key, request)| SignalKey {
            source: "http".to_owned(),
            key,
            request,
        });
        let new = NewSignal {
            signal: signal.clone(),
            key,
            deliver_to: delivered_to.clone(),
            shed: shed.clone(),
            by: incoming.by,
        };
        let events = self.events.clone();
        let spans = self.meters.spans.clone();
        let started = SystemTime::now();
        let done = Box::new(move |result: Result<ark_store::Receipt, CommitError>| {
            reply(match result {
                Ok(receipt) => {
                    if let Some(SignalReceipt::Duplicate { id, trace_id }) = receipt.signals.first()
                    {
                        Ok(AcceptedSignal {
                            id: *id,
                            trace_id: *trace_id,
                            duplicate: true,
                            delivered_to,
                            shed,
                        })
                    } else {
                        let accepted = AcceptedSignal {
                            id: signal.id,
                            trace_id: signal.trace_id,
                            duplicate: false,
                            delivered_to,
                            shed,
                        };
                        if spans.is_enabled() {
                            spans.record(signal_span(&signal, started, None));
                        }
                        let _ = events.send(RouterEvent::Accepted(
                            Arc::new(signal),
                            places.keep_reserved(),
                        ));
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
            done(Err(reason.into()));
        }
    }

    /// Says that an agent may be handed signals again.
    pub fn wake_agents(&self) {
        let _ = self.events.send(RouterEvent::Wake);
    }

    /// An agent that serves, with its counts.
    #[must_use]
    pub fn find_serving(&self, agent: &Name) -> Option<ServingSlot> {
        self.slots.find_serving(agent)
    }

    /// Lets a version of an agent serve from now on; the one that served. What that one has under way it ends, what waits is the new one's.
    /// One caller at a time.
    ///
    /// # Errors
    /// The store cannot be read: nothing has changed.
    pub fn install_agent(&self, agent: Arc<Agent>) -> Result<Option<Arc<Agent>>, RouterError> {
        let name = agent.manifest().name.clone();
        let served = if let Some(seat) = self.slots.find_by_name(&name) {
            seat.install_version(agent)
        } else {
            let waiting = self
                .store
                .pending_count(&name)
                .map_err(|error| RouterError::NotStored(error.to_string()))?;
            self.backlog.fetch_add(waiting, Ordering::Relaxed);
            let _ = self.meters.agents.for_agent(&name);
            self.slots
                .add_slot(&Arc::new(AgentSlot::new(agent, waiting)));
            None
        };
        update_announcing(&self.hrm, &self.slots);
        self.wake_agents();
        Ok(served)
    }

    /// Begins the trial of a version beside the one that serves, or ends it; the version that was on trial. One caller at a time.
    #[must_use = "what it has under way is to be waited for"]
    pub fn set_canary(&self, agent: &Name, canary: Option<Canary>) -> Option<Arc<Canary>> {
        if canary.is_some() {
            let _ = self.meters.agents.for_deployment(agent, Deployment::Canary);
        }
        self.slots
            .find_by_name(agent)?
            .set_canary(canary.map(Arc::new))
    }

    /// Lets no version of an agent serve; the one that served. What waits for it waits on, until a version is installed or it is deleted.
    #[must_use = "what it has under way is to be waited for"]
    pub fn remove_serving(&self, agent: &Name) -> Option<Arc<Agent>> {
        let served = self.slots.find_by_name(agent)?.remove_version();
        update_announcing(&self.hrm, &self.slots);
        served
    }

    /// Says that an agent without a version is gone for good, and that so many of the deliveries that waited for it were settled. What
    /// still comes for it is settled as failed.
    pub fn delete_agent(&self, agent: &Name, settled: usize) {
        if let Some(seat) = self.slots.find_by_name(agent) {
            seat.mark_deleted(settled);
            let _ = self
                .backlog
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                    Some(waiting.saturating_sub(settled))
                });
            self.wake_agents();
        }
    }

    /// Says that there is something in the outbox.
    pub fn wake_outbox(&self) {
        let _ = self.events.send(RouterEvent::Outbox);
    }

    /// The agents that serve, with their counts.
    #[must_use]
    pub fn list_serving(&self) -> Vec<ServingSlot> {
        self.slots.list_serving()
    }

    /// How many deliveries are pending.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// How it works.
    #[must_use]
    pub const fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// Finishes the invocations that run and ends all threads. What is pending stays pending.
    pub fn close(&self) {
        let _ = self.events.send(RouterEvent::Stop);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the router's thread ended in a panic");
        }
    }
}

/// Places in agents' queues, taken before the signal is stored. Given back when it is dropped, unless they are kept.
struct QueuePlaces {
    slots: Arc<Vec<Arc<AgentSlot>>>,
    backlog: Arc<AtomicUsize>,
    reserved: Vec<usize>,
    full: Vec<usize>,
}

impl QueuePlaces {
    fn reserve(
        seats: &Arc<Vec<Arc<AgentSlot>>>,
        backlog: &Arc<AtomicUsize>,
        receivers: Vec<usize>,
        most: usize,
    ) -> Self {
        let (taken, full): (Vec<usize>, Vec<usize>) = receivers.into_iter().partition(|index| {
            seats
                .get(*index)
                .is_some_and(|seat| seat.reserve_place(most))
        });
        backlog.fetch_add(taken.len(), Ordering::Relaxed);
        Self {
            slots: Arc::clone(seats),
            backlog: Arc::clone(backlog),
            reserved: taken,
            full,
        }
    }

    /// The seats; their places stay taken until the deliveries are settled.
    fn keep_reserved(mut self) -> Vec<usize> {
        std::mem::take(&mut self.reserved)
    }
}

impl Drop for QueuePlaces {
    fn drop(&mut self) {
        for index in &self.reserved {
            if let Some(seat) = self.slots.get(*index) {
                seat.release_place();
            }
        }
        self.backlog
            .fetch_sub(self.reserved.len(), Ordering::Relaxed);
    }
}

/// Decisions, executions and alerts are announced when somebody listens.
fn update_announcing(hrm: &Hrm, seats: &AgentSlots) {
    let topics = [DECISION_TOPIC, EXECUTION_TOPIC, ALERT_TOPIC];
    hrm.set_announcing(topics.iter().any(|topic| seats.has_subscriber(topic)));
}

fn find_receivers(seats: &[Arc<AgentSlot>], topic: &str, to: Option<&Name>) -> Vec<usize> {
    let wanted = |seat: &AgentSlot| match to {
        Some(name) => seat.name == *name && !seat.is_vacant(),
        None => seat.subscribes_to(topic),
    };
    seats
        .iter()
        .enumerate()
        .filter(|(_, seat)| wanted(seat))
        .map(|(index, _)| index)
        .collect()
}

/// A signal that is on disk now, as a span.
fn signal_span(signal: &Signal, started: SystemTime, link: Option<SpanLink>) -> Span {
    Span {
        trace_id: signal.trace_id,
        id: SpanId::for_signal(signal.id),
        parent: None,
        name: "ark.signal",
        started,
        ended: SystemTime::now(),
        attributes: vec![
            ("ark.topic", signal.topic.clone()),
            ("ark.signal_id", signal.id.to_string()),
            ("ark.causal_depth", signal.causal_depth.to_string()),
        ],
        failure: None,
        link,
    }
}

fn slot_names(seats: &[Arc<AgentSlot>], receivers: &[usize]) -> Vec<Name> {
    receivers
        .iter()
        .filter_map(|index| seats.get(*index))
        .map(|seat| seat.name.clone())
        .collect()
}

/// Names that no two agents may share.
///
/// # Errors
/// The first name that two agents share.
pub fn check_unique_names(agents: &[Arc<Agent>]) -> Result<(), Name> {
    let mut seen = HashSet::new();
    agents
        .iter()
        .find(|agent| !seen.insert(&agent.manifest().name))
        .map_or(Ok(()), |agent| Err(agent.manifest().name.clone()))
}
