//! The handle to the router: it accepts signals and changes which versions serve.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::SystemTime;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use crate::hrm::guards::Guards;
use crate::hrm::{
    ALERT_TOPIC, DECISION_TOPIC, EXECUTION_TOPIC, Hrm, IdempotencyKey, ServiceHandles,
};
use crate::quotas::QuotaKeeper;
use crate::reply::Reply;
use crate::watchdog::Watchdog;
use ark_model::ids::{Millis, Name, SignalId, TraceId};
use ark_model::meters::{Deployment, RouterMeters};
use ark_model::signal::Signal;
use ark_model::usage::QuotaHolder;
use ark_runtime::Agent;
use ark_store::{
    CommitError, NewSignal, ReadError, Receipt, SignalKey, SignalReceipt, Store, Unit,
};

use super::backlog::Backlog;
use super::canary::Canary;
use super::config::RouterConfig;
use super::delivery::{QueuePlaces, signal_span};
use super::dispatcher::{Dispatcher, DispatcherDeps};
use super::error::RouterError;
use super::invocation::Invoker;
use super::message::RouterEvent;
use super::slot::{AgentSlot, AgentSlots, ServingSlot, subtract_saturating};
use super::workers::Workers;

/// Topics with this prefix are the host's own: no agent and no caller can send on them.
pub const HOST_TOPIC_PREFIX: &str = "ark.";

/// Where the keys of signals over HTTP are unique, for callers without a token. Those of a token have its name behind it.
const HTTP_SOURCE: &str = "http";

/// A signal from outside.
#[derive(Debug, Clone)]
pub struct IncomingSignal {
    /// The topic, checked.
    pub topic: String,
    /// The payload: one JSON value.
    pub payload_json: String,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The idempotency key, unique for its caller.
    pub key: Option<IdempotencyKey>,
    /// How long it may wait, in milliseconds. `None`: as long as the configuration says.
    pub ttl_ms: Option<u64>,
    /// The name of the token it came with.
    pub by: Option<String>,
}

impl IncomingSignal {
    /// Returns the key as the store knows it: unique for the caller.
    #[must_use]
    pub fn signal_key(&self) -> Option<SignalKey> {
        let key = self.key.as_ref()?;
        Some(SignalKey {
            source: match &self.by {
                Some(token) => format!("{HTTP_SOURCE}:{token}"),
                None => HTTP_SOURCE.to_owned(),
            },
            legacy_source: self.by.as_ref().map(|_| HTTP_SOURCE),
            key: key.key.clone(),
            request: key.request_digest,
            legacy_request: key.legacy_digest,
        })
    }
}

/// A signal that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedSignal {
    /// The id; of a duplicate, that of the first signal.
    pub id: SignalId,
    /// The trace; of a duplicate, that of the first signal.
    pub trace_id: TraceId,
    /// Whether it was accepted before, under the same idempotency key. It is not delivered again.
    pub duplicate: bool,
    /// The agents that receive it.
    pub delivered_to: Vec<Name>,
    /// The agents that subscribe to it but have a full queue.
    pub shed: Vec<Name>,
}

/// What a router is made of.
pub struct RouterParts {
    /// The serving versions.
    pub agents: Vec<Arc<Agent>>,
    /// The canaries beside them.
    pub canaries: Vec<Canary>,
    /// Judges what agents propose.
    pub hrm: Hrm,
    /// Holds signals and deliveries.
    pub store: Store,
    /// Tells which agents are in quarantine.
    pub guards: Arc<Guards>,
    /// Observes invocations.
    pub watchdog: Watchdog,
    /// Refuses invocations of agents that have used up a quota.
    pub quotas: QuotaKeeper,
    /// Where counts, times and spans are recorded.
    pub meters: Arc<RouterMeters>,
}

/// The handle to the router. Cheap to clone. The threads end on [`Router::close`].
#[derive(Clone)]
pub struct Router {
    pub(super) events: Sender<RouterEvent>,
    hrm: Hrm,
    pub(super) slots: AgentSlots,
    pub(super) store: Store,
    pub(super) watchdog: Watchdog,
    pub(super) config: RouterConfig,
    pub(super) meters: Arc<RouterMeters>,
    pub(super) backlog: Backlog,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Router {
    /// Starts the router and its workers, and resumes the pending deliveries. From then on an agent that is restored is handed what waits for it.
    ///
    /// # Errors
    /// A thread cannot be started, or the store cannot be read.
    pub fn start(config: RouterConfig, parts: RouterParts) -> Result<Self, RouterError> {
        let RouterParts {
            agents,
            canaries,
            hrm,
            store,
            guards,
            watchdog,
            quotas,
            meters,
        } = parts;
        let slots = make_slots(agents, canaries, &store, &meters)?;
        let pending = slots
            .load_all()
            .iter()
            .map(|slot| slot.waiting_deliveries())
            .sum();
        let backlog = Backlog::new(store.clone(), pending, config.backlog);
        update_announcing(&hrm, &slots);
        let (events, inbox) = crossbeam_channel::unbounded();
        let invoker = Arc::new(Invoker {
            hrm: hrm.clone(),
            store: store.clone(),
            services: Arc::new(ServiceHandles {
                hrm: hrm.clone(),
                store: store.clone(),
            }),
            slots: slots.clone(),
            guards: Arc::clone(&guards),
            watchdog: watchdog.clone(),
            quotas,
            backlog: backlog.clone(),
            meters: Arc::clone(&meters),
            events: events.clone(),
        });
        let threads = config.workers.max(1).saturating_add(config.slow_workers);
        let workers = Workers::start(threads, Arc::clone(&invoker)).map_err(RouterError::Thread)?;
        let restored = events.clone();
        guards.on_restore(move |_| {
            let _ = restored.send(RouterEvent::Wake);
        });
        let deps = DispatcherDeps {
            slots: slots.clone(),
            store: store.clone(),
            guards,
            watchdog: watchdog.clone(),
            invoker,
            backlog: backlog.clone(),
            spans: meters.spans.clone(),
        };
        let dispatcher = Dispatcher::new(&config, deps, workers);
        let thread = std::thread::Builder::new()
            .name("ark-router".to_owned())
            .spawn(move || dispatcher.run(&inbox))
            .map_err(RouterError::Thread)?;
        Ok(Self {
            events,
            hrm,
            slots,
            store,
            watchdog,
            config,
            meters,
            backlog,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Stores a signal and delivers it. `reply` is called once it is durable, on the thread of the store's writer, so it must be quick.
    pub fn accept_signal(
        &self,
        incoming: IncomingSignal,
        reply: Reply<AcceptedSignal, RouterError>,
    ) {
        if self.backlog.is_full() {
            return reply(Err(RouterError::Busy));
        }
        let key = incoming.signal_key();
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
        let places = QueuePlaces::reserve(
            &self.slots.load_all(),
            &self.backlog,
            (&signal.topic, None),
            self.config.agent_queue,
            &self.watchdog,
        );
        if places.is_all_full() {
            return reply(Err(RouterError::Busy));
        }
        let new = NewSignal {
            signal: signal.clone(),
            key,
            deliver_to: places.receivers(),
            shed: places.shed(),
            by: incoming.by,
        };
        let unit = Unit {
            charged_to: Some(QuotaHolder::of_caller(new.by.clone())),
            signals: vec![new],
            ..Unit::default()
        };
        let events = self.events.clone();
        let spans = self.meters.spans.clone();
        let started = SystemTime::now();
        let done = Box::new(move |result: Result<Receipt, CommitError>| {
            let answer = result.map(|receipt| {
                let mut accepted = AcceptedSignal {
                    id: signal.id,
                    trace_id: signal.trace_id,
                    duplicate: false,
                    delivered_to: places.receivers(),
                    shed: places.shed(),
                };
                if let Some(SignalReceipt::Duplicate { id, trace_id }) = receipt.signals.first() {
                    (accepted.id, accepted.trace_id) = (*id, *trace_id);
                    accepted.duplicate = true;
                    return accepted;
                }
                if spans.is_enabled() {
                    spans.record(signal_span(&signal, started, None));
                }
                let receivers = places.keep_reserved();
                let _ = events.send(RouterEvent::Accepted(Arc::new(signal), receivers));
                accepted
            });
            reply(answer.map_err(RouterError::from));
        });
        if let Err((reason, done)) = self.store.submit(unit, done) {
            done(Err(reason.into()));
        }
    }

    /// Returns what a signal that was refused was answered before, if it is the repetition of one that was accepted. Blocks on the database.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn find_accepted(&self, key: &SignalKey) -> Result<Option<AcceptedSignal>, ReadError> {
        let found = self.store.find_signal_receipt(key)?;
        Ok(match found {
            Some(SignalReceipt::Duplicate { id, trace_id }) => Some(AcceptedSignal {
                id,
                trace_id,
                duplicate: true,
                delivered_to: Vec::new(),
                shed: Vec::new(),
            }),
            Some(SignalReceipt::Accepted) | None => None,
        })
    }

    /// Tells the router that an agent may have become able to take signals.
    fn wake_agents(&self) {
        let _ = self.events.send(RouterEvent::Wake);
    }

    /// Tells the router that there are messages in the outbox.
    pub fn wake_outbox(&self) {
        let _ = self.events.send(RouterEvent::Outbox);
    }

    /// Makes a version the serving one of its agent. Returns the previous one, which finishes the invocations it has begun. What is pending goes to the new
    /// one.
    ///
    /// Only one thread may change the versions of agents at a time.
    ///
    /// # Errors
    /// The store cannot be read. Nothing has changed then.
    pub fn install_agent(&self, agent: Arc<Agent>) -> Result<Option<Arc<Agent>>, RouterError> {
        let name = agent.manifest().name.clone();
        let previous = if let Some(slot) = self.slots.find_by_name(&name) {
            slot.install_version(agent)
        } else {
            let pending = self.store.pending_count(&name)?;
            self.backlog.deliveries.fetch_add(pending, Ordering::AcqRel);
            let _ = self.meters.agents.for_agent(&name);
            self.slots
                .add_slot(&Arc::new(AgentSlot::new(agent, pending)));
            None
        };
        update_announcing(&self.hrm, &self.slots);
        self.wake_agents();
        Ok(previous)
    }

    /// Starts a canary beside the serving version, or ends it. Returns the previous canary, which finishes the invocations it has begun.
    ///
    /// Only one thread may change the versions of agents at a time.
    #[must_use = "the invocations that the previous canary has begun are to be waited for"]
    pub fn set_canary(&self, agent: &Name, canary: Option<Canary>) -> Option<Arc<Canary>> {
        if canary.is_some() {
            let _ = self.meters.agents.for_deployment(agent, Deployment::Canary);
        }
        self.slots
            .find_by_name(agent)?
            .set_canary(canary.map(Arc::new))
    }

    /// Removes the serving version of an agent and returns it. What is pending waits until a version is installed or the agent is deleted.
    #[must_use = "the invocations that the version has begun are to be waited for"]
    pub fn remove_serving(&self, agent: &Name) -> Option<Arc<Agent>> {
        let removed = self.slots.find_by_name(agent)?.remove_version();
        update_announcing(&self.hrm, &self.slots);
        removed
    }

    /// Marks an agent without a serving version as deleted, after `closed` of its pending deliveries were closed. What still arrives for it is completed as
    /// failed.
    pub fn delete_agent(&self, agent: &Name, closed: usize) {
        if let Some(slot) = self.slots.find_by_name(agent) {
            slot.mark_deleted(closed);
            subtract_saturating(&self.backlog.deliveries, closed);
            self.wake_agents();
        }
    }

    /// Returns the serving version of an agent with its counts.
    #[must_use]
    pub fn find_serving(&self, agent: &Name) -> Option<ServingSlot> {
        self.slots.find_serving(agent)
    }

    /// Returns all serving versions with their counts.
    #[must_use]
    pub fn list_serving(&self) -> Vec<ServingSlot> {
        self.slots.list_serving()
    }

    /// Returns the number of pending deliveries.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.deliveries.load(Ordering::Relaxed)
    }

    /// Returns whether so much waits, messages in the outbox included, that nothing more may be added from outside.
    #[must_use]
    pub fn is_backlog_full(&self) -> bool {
        self.backlog.is_full()
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// Finishes the invocations that run, then ends all threads. What is pending stays pending.
    pub fn close(&self) {
        let _ = self.events.send(RouterEvent::Stop);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the router's thread ended in a panic");
        }
    }
}

/// Makes the slots of the agents that serve when the router starts.
fn make_slots(
    agents: Vec<Arc<Agent>>,
    canaries: Vec<Canary>,
    store: &Store,
    meters: &RouterMeters,
) -> Result<AgentSlots, RouterError> {
    let pending = store.pending_counts()?;
    let slots = agents.into_iter().map(|agent| {
        let name = &agent.manifest().name;
        let _ = meters.agents.for_agent(name);
        let waiting = pending
            .iter()
            .find(|(agent, _)| agent == name)
            .map_or(0, |(_, count)| *count);
        Arc::new(AgentSlot::new(agent, waiting))
    });
    let slots = AgentSlots::new(slots.collect());
    for canary in canaries {
        if let Some(slot) = slots.find_by_name(&canary.agent.manifest().name) {
            let _ = meters.agents.for_deployment(&slot.name, Deployment::Canary);
            let _ = slot.set_canary(Some(Arc::new(canary)));
        }
    }
    Ok(slots)
}

/// Has the HRM announce decisions, executions and alerts while an agent subscribes to one of them.
fn update_announcing(hrm: &Hrm, slots: &AgentSlots) {
    let topics = [DECISION_TOPIC, EXECUTION_TOPIC, ALERT_TOPIC];
    hrm.set_announcing(topics.iter().any(|topic| slots.has_subscriber(topic)));
}

/// Checks that no two agents have the same name.
///
/// # Errors
/// The first name that two agents have.
pub fn check_unique_names(agents: &[Arc<Agent>]) -> Result<(), Name> {
    let mut seen = HashSet::new();
    agents
        .iter()
        .find(|agent| !seen.insert(&agent.manifest().name))
        .map_or(Ok(()), |agent| Err(agent.manifest().name.clone()))
}
