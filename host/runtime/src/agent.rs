//! Agents: a component of world `ark:agent/agent`, invoked in a fresh instance for every signal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wasmtime::component::{Linker, ResourceTableError};
use wasmtime::{PoolConcurrencyLimitError, Store, UpdateDeadline};

use ark_model::action::Action;
use ark_model::check::{check_action, clip_to};
use ark_model::ids::Digest;
use ark_model::signal::Signal;
use ark_model::state::{Memory, NewMemory, StateEntry, StateWrite, Truth, TruthWrite};

use super::engine::Engine;
use super::host::{Preview, ServiceError, Services, Session};
use super::limits::{LimitReached, Limits, ticks_until};
use super::load::{self, LoadError};
use super::manifest::Manifest;
use super::priority;
use super::recording::{Recording, Tape};

pub(super) mod bindings {
    #![allow(
        missing_docs,
        clippy::pedantic,
        reason = "generated from the WIT, where it is documented"
    )]
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/agent"],
        world: "ark:agent/agent",
        imports: { default: trappable },
        with: {
            "ark:types/actions@1.0.0": crate::types::actions,
            "ark:types/verdicts@1.0.0": crate::types::verdicts,
        },
    });
}

use bindings::ark::agent::signals as wit;

/// After so many ticks of the epoch (10 ms) an invocation is slow: it goes on behind the others.
const SLOW_TICKS: u64 = 2;
/// What wasmtime says when lists and strings that cross between guest and host, arguments and results alike, are too large together.
const TOO_MUCH_DATA: &str = "too much data is being copied between the host and the guest";
/// The most characters of a backtrace: its function names are the guest's.
const MAX_BACKTRACE_CHARS: usize = 4096;
/// What wasmtime says when a component has more core instances than its store may hold; it has no type of its own.
const TOO_MANY_INSTANCES: &str = "resource limit exceeded: instance count";

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For the agent's author.
    Debug,
    /// For the record.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

/// A line an agent logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// What.
    pub text: String,
}

/// What an invocation wants to have happen.
#[derive(Debug, Default)]
pub struct Effects {
    /// What it proposes; checked.
    pub actions: Vec<Action>,
    /// Its state writes, one per key.
    pub state: Vec<StateWrite>,
    /// Its memories.
    pub memories: Vec<NewMemory>,
    /// Its truths, one per key.
    pub truths: Vec<TruthWrite>,
}

/// Why an invocation failed. Nothing of it counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvocationFailure {
    /// It used up its fuel.
    #[error("it used up its fuel of {0} units")]
    OutOfFuel(u64),
    /// It was not done in time.
    #[error("it was not done within {} ms", .0.as_millis())]
    DeadlineExceeded(Duration),
    /// It reached another limit.
    #[error("it reached its limit of {0}")]
    LimitReached(&'static str),
    /// It trapped.
    #[error("it trapped: {message}")]
    Trap {
        /// What trapped.
        message: String,
        /// Where: the WebAssembly backtrace.
        backtrace: String,
    },
    /// It could not be instantiated.
    #[error("it could not be started: {0}")]
    Start(String),
    /// It says itself that it failed.
    #[error("it reports: {0}")]
    Reported(String),
    /// It says that the signal makes no sense. That is the sender's failure, not the agent's.
    #[error("it rejects the signal: {0}")]
    RejectedSignal(String),
    /// What it returned makes no sense.
    #[error("what it returned is not valid: {0}")]
    InvalidOutput(String),
    /// The host had no room for another instance: nothing ran, it may be tried again.
    #[error("the host has no room for another instance: {0}")]
    NoRoom(String),
}

impl InvocationFailure {
    /// The kind, for metrics and the audit log.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OutOfFuel(_) => "fuel",
            Self::DeadlineExceeded(_) => "deadline",
            Self::LimitReached(limit) => limit,
            Self::Trap { .. } => "trap",
            Self::Start(_) => "start",
            Self::Reported(_) => "reported",
            Self::RejectedSignal(_) => "rejected_signal",
            Self::InvalidOutput(_) => "invalid_output",
            Self::NoRoom(_) => "no_room",
        }
    }

    /// Whether it counts against the agent.
    #[must_use]
    pub const fn is_agents_fault(&self) -> bool {
        !matches!(self, Self::RejectedSignal(_) | Self::NoRoom(_))
    }
}

/// What an invocation did.
#[derive(Debug)]
pub struct InvocationReport {
    /// What it wants, or why it failed.
    pub result: Result<Effects, InvocationFailure>,
    /// Fuel used.
    pub fuel: u64,
    /// The most memory held at one time, in bytes.
    pub memory_peak: usize,
    /// Host calls made.
    pub host_calls: u32,
    /// Making the instance.
    pub instantiation: Duration,
    /// From the start of the instantiation to the last byte returned.
    pub duration: Duration,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// What it was told from outside.
    pub recording: Recording,
    /// It ran for so long that the calling thread's priority was lowered, which cannot be undone: let the thread end.
    pub slow: bool,
}

impl InvocationReport {
    /// Of an invocation that did not come to run.
    #[must_use]
    pub fn not_run(failure: InvocationFailure) -> Self {
        Self {
            result: Err(failure),
            fuel: 0,
            memory_peak: 0,
            host_calls: 0,
            instantiation: Duration::ZERO,
            duration: Duration::ZERO,
            log: Vec::new(),
            recording: Recording::default(),
            slow: false,
        }
    }
}

/// Whose thread a guest runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadOwner {
    /// One that runs guests only and may be given up after a slow one.
    GuestPool,
    /// One that goes on afterwards: its priority stays as it is.
    Caller,
}

/// An agent, compiled and linked.
pub struct Agent {
    manifest: Arc<Manifest>,
    limits: Arc<Limits>,
    digest: Digest,
    pre: bindings::AgentPre<Session>,
    engine: Engine,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("manifest", &self.manifest)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Compiles an agent and makes sure that it is what its manifest says and imports only what that grants. `ceiling` are the operator's
    /// limits; the manifest's must not be looser.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(
        engine: &Engine,
        bytes: &[u8],
        manifest: Manifest,
        ceiling: &Limits,
    ) -> Result<Self, LoadError> {
        let limits = ceiling.tightened_by(&manifest.limits)?;
        let digest = Digest::hash_bytes(bytes);
        if digest != manifest.sha256 {
            return Err(LoadError::WrongDigest {
                expected: manifest.sha256,
                found: digest,
            });
        }
        let component = load::compile_component(engine, bytes)?;
        let refused: Vec<String> = load::list_imports(engine, &component.component_type())
            .into_iter()
            .filter(|import| !load::agent_may_import(import, &manifest.capabilities))
            .collect();
        if !refused.is_empty() {
            return Err(LoadError::NotGranted(refused));
        }
        let wrong_world = |error: wasmtime::Error| LoadError::WrongWorld {
            world: "ark:agent/agent",
            problem: format!("{error:#}"),
        };
        let mut linker = Linker::<Session>::new(engine.wasmtime());
        super::wasi::link_wasi(&mut linker).map_err(wrong_world)?;
        bindings::ark::agent::host::add_to_linker::<Session, wasmtime::component::HasSelf<Session>>(
            &mut linker,
            |session| session,
        )
        .map_err(wrong_world)?;
        let pre = linker.instantiate_pre(&component).map_err(wrong_world)?;
        let pre = bindings::AgentPre::new(pre).map_err(wrong_world)?;
        let agent = Self {
            manifest: Arc::new(manifest),
            limits: Arc::new(limits),
            digest,
            pre,
            engine: engine.clone(),
        };
        agent.check_metadata()?;
        Ok(agent)
    }

    fn check_metadata(&self) -> Result<(), LoadError> {
        let deadline = Instant::now() + self.limits.deadline;
        let metadata = self
            .start_instance(
                Arc::new(OfflineServices),
                &Tape::new_recording(),
                deadline,
                ThreadOwner::Caller,
            )
            .and_then(|(mut store, agent)| {
                agent
                    .call_metadata(&mut store)
                    .map_err(|error| self.classify_error(&error))
            })
            .map_err(|failure| LoadError::Failed(failure.to_string()))?;
        for (field, expected, found) in [
            ("name", self.manifest.name.as_str(), &metadata.name),
            ("version", self.manifest.version.as_str(), &metadata.version),
        ] {
            if expected != found {
                let found = ark_model::check::clip_for_error(found);
                return Err(LoadError::WrongMetadata {
                    field,
                    expected: expected.to_owned(),
                    found,
                });
            }
        }
        Ok(())
    }

    /// Its manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// SHA-256 of its component.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The same agent under other limits.
    pub(super) fn with_limits(&self, limits: Limits) -> Self {
        Self {
            manifest: Arc::clone(&self.manifest),
            limits: Arc::new(limits),
            digest: self.digest,
            pre: self.pre.clone(),
            engine: self.engine.clone(),
        }
    }

    /// The limits of its invocations.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// As [`Agent::invoke`], on a thread whose priority must stay.
    pub(super) fn invoke_offline(&self, signal: &Signal, deadline: Instant) -> InvocationReport {
        let services = Arc::new(OfflineServices);
        self.handle_signal(
            signal,
            services,
            &Tape::new_recording(),
            deadline,
            ThreadOwner::Caller,
        )
    }

    /// Handles a signal in a fresh instance. Blocks until it is done or ended, `deadline` at the latest. A guest that runs for long lowers the
    /// calling thread's priority, see [`InvocationReport::slow`].
    #[must_use]
    pub fn invoke(
        &self,
        signal: &Signal,
        services: Arc<dyn Services>,
        deadline: Instant,
    ) -> InvocationReport {
        self.handle_signal(
            signal,
            services,
            &Tape::new_recording(),
            deadline,
            ThreadOwner::GuestPool,
        )
    }

    /// Handles a signal as it was handled once: told the same from outside. The second part says where it did something else than then.
    #[must_use]
    pub fn replay_recording(
        &self,
        signal: &Signal,
        recording: Recording,
    ) -> (InvocationReport, Option<String>) {
        let tape = Tape::from_recording(recording);
        let deadline = Instant::now() + self.limits.deadline;
        let report = self.handle_signal(
            signal,
            Arc::new(OfflineServices),
            &tape,
            deadline,
            ThreadOwner::Caller,
        );
        (report, tape.divergence())
    }

    /// Asks it whether it is well, in a fresh instance; `Ok`: it is. Blocks until it has answered, `deadline` at the latest. What it writes
    /// is dropped. A guest that runs for long lowers the calling thread's priority for good.
    ///
    /// # Errors
    /// It failed, or says itself that it is not well.
    pub fn check_heartbeat(
        &self,
        services: Arc<dyn Services>,
        deadline: Instant,
    ) -> Result<(), InvocationFailure> {
        let (mut store, agent) = self.start_instance(
            services,
            &Tape::new_recording(),
            deadline,
            ThreadOwner::GuestPool,
        )?;
        match agent.call_heartbeat(&mut store) {
            Ok(_) if Instant::now() >= deadline => {
                Err(InvocationFailure::DeadlineExceeded(self.limits.deadline))
            }
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(InvocationFailure::Reported(
                ark_model::check::clip_for_error(&reason),
            )),
            Err(error) => Err(self.classify_error(&error)),
        }
    }

    fn handle_signal(
        &self,
        signal: &Signal,
        services: Arc<dyn Services>,
        tape: &Tape,
        deadline: Instant,
        thread: ThreadOwner,
    ) -> InvocationReport {
        let started = Instant::now();
        let deadline = deadline.min(started + self.limits.deadline);
        let (mut store, agent) = match self.start_instance(services, tape, deadline, thread) {
            Ok(started) => started,
            Err(failure) => {
                return InvocationReport {
                    duration: started.elapsed(),
                    recording: tape.take_recording(),
                    ..InvocationReport::not_run(failure)
                };
            }
        };
        let instantiation = started.elapsed();
        let signal = wit::Signal {
            id: signal.id.to_string(),
            topic: signal.topic.clone(),
            payload_json: signal.payload_json.clone(),
            trace_id: signal.trace_id.to_string(),
            sender: signal.sender.as_ref().map(ToString::to_string),
            causal_depth: signal.causal_depth,
            accepted_ms: signal.accepted_at.0,
        };
        let returned = agent.call_handle(&mut store, &signal);
        let result = match returned {
            // A timer may have woken the guest at its deadline, and let it return before the next tick.
            Ok(_) if Instant::now() >= deadline => {
                Err(InvocationFailure::DeadlineExceeded(self.limits.deadline))
            }
            Ok(Ok(actions)) => self.collect_effects(actions, store.data_mut()),
            Ok(Err(wit::Error::InvalidSignal(reason))) => Err(InvocationFailure::RejectedSignal(
                ark_model::check::clip_for_error(&reason),
            )),
            Ok(Err(wit::Error::Failed(reason))) => Err(InvocationFailure::Reported(
                ark_model::check::clip_for_error(&reason),
            )),
            Err(error) => Err(self.classify_error(&error)),
        };
        let fuel = self.limits.fuel - store.get_fuel().unwrap_or(0).min(self.limits.fuel);
        let session = store.data();
        InvocationReport {
            result,
            fuel,
            memory_peak: session.meter.memory_peak,
            host_calls: session.host_calls,
            instantiation,
            duration: started.elapsed(),
            log: session.log.take_lines(),
            recording: tape.take_recording(),
            slow: session.slow,
        }
    }

    fn start_instance(
        &self,
        services: Arc<dyn Services>,
        tape: &Tape,
        deadline: Instant,
        thread: ThreadOwner,
    ) -> Result<(Store<Session>, bindings::Agent), InvocationFailure> {
        let session = Session::new(&self.limits, &self.manifest, services, tape, deadline);
        let mut store = Store::new(self.engine.wasmtime(), session);
        store.limiter(|session| &mut session.meter);
        store.set_hostcall_fuel(
            self.limits
                .host_call_bytes
                .max(self.limits.output_bytes)
                .saturating_mul(4),
        );
        store
            .set_fuel(self.limits.fuel)
            .map_err(|error| InvocationFailure::Start(error.to_string()))?;
        let left = ticks_until(deadline);
        store.set_epoch_deadline(left.min(SLOW_TICKS));
        store.epoch_deadline_callback(move |mut store| {
            let session = store.data_mut();
            if Instant::now() >= session.deadline {
                return Ok(UpdateDeadline::Interrupt);
            }
            if !session.slow && thread == ThreadOwner::GuestPool {
                session.slow = true;
                priority::lower_thread_priority();
            }
            Ok(UpdateDeadline::Continue(ticks_until(session.deadline)))
        });
        let agent = self.pre.instantiate(&mut store).map_err(|error| {
            match self.classify_error(&error) {
                InvocationFailure::Trap { message, .. } => InvocationFailure::Start(message),
                failure => failure,
            }
        })?;
        Ok((store, agent))
    }

    fn collect_effects(
        &self,
        actions: Vec<Action>,
        session: &mut Session,
    ) -> Result<Effects, InvocationFailure> {
        if actions.len() > self.limits.actions as usize {
            return Err(InvocationFailure::LimitReached("actions"));
        }
        let mut checked = Vec::with_capacity(actions.len());
        let mut bytes = 0usize;
        for (index, action) in actions.into_iter().enumerate() {
            bytes = bytes
                .saturating_add(serde_json::to_vec(&action).map_or(usize::MAX, |json| json.len()));
            if bytes > self.limits.output_bytes {
                return Err(InvocationFailure::LimitReached("output_bytes"));
            }
            checked.push(check_action(action).map_err(|error| {
                InvocationFailure::InvalidOutput(format!("action {index}: {error}"))
            })?);
        }
        let writes = std::mem::take(&mut session.writes);
        Ok(Effects {
            actions: checked,
            state: writes.state.into_values().collect(),
            memories: writes.memories,
            truths: writes.truths.into_values().collect(),
        })
    }

    fn classify_error(&self, error: &wasmtime::Error) -> InvocationFailure {
        if let Some(reached) = error.downcast_ref::<LimitReached>() {
            return match reached.limit {
                "deadline" => InvocationFailure::DeadlineExceeded(self.limits.deadline),
                limit => InvocationFailure::LimitReached(limit),
            };
        }
        if let Some(error) = error.downcast_ref::<PoolConcurrencyLimitError>() {
            return InvocationFailure::NoRoom(error.to_string());
        }
        if let Some(ResourceTableError::Full) = error.downcast_ref() {
            return InvocationFailure::LimitReached("resources");
        }
        if error
            .root_cause()
            .to_string()
            .starts_with(TOO_MANY_INSTANCES)
        {
            return InvocationFailure::LimitReached("instances");
        }
        if error.root_cause().to_string().starts_with(TOO_MUCH_DATA) {
            return InvocationFailure::LimitReached("host_call_bytes");
        }
        let backtrace = || {
            error
                .downcast_ref::<wasmtime::WasmBacktrace>()
                .map(|frames| clip_to(&frames.to_string(), MAX_BACKTRACE_CHARS))
                .unwrap_or_default()
        };
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::OutOfFuel) => InvocationFailure::OutOfFuel(self.limits.fuel),
            Some(wasmtime::Trap::Interrupt) => {
                InvocationFailure::DeadlineExceeded(self.limits.deadline)
            }
            Some(wasmtime::Trap::StackOverflow) => InvocationFailure::LimitReached("stack"),
            Some(trap) => InvocationFailure::Trap {
                message: trap.to_string(),
                backtrace: backtrace(),
            },
            None => {
                let message = ark_model::check::clip_for_error(&error.root_cause().to_string());
                InvocationFailure::Trap {
                    message,
                    backtrace: backtrace(),
                }
            }
        }
    }
}

/// Services for a component that is asked for its metadata, probed, or played back.
pub(super) struct OfflineServices;

impl Services for OfflineServices {
    fn state_get(&self, _: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        Err(offline_error())
    }

    fn state_list(&self, _: &str, _: u32) -> Result<Vec<String>, ServiceError> {
        Err(offline_error())
    }

    fn memory_recent(&self, _: Option<&str>, _: u32) -> Result<Vec<Memory>, ServiceError> {
        Err(offline_error())
    }

    fn truth_get(&self, _: &str) -> Result<Option<Truth>, ServiceError> {
        Err(offline_error())
    }

    fn check_action(&self, _: Action) -> Result<Preview, ServiceError> {
        Err(offline_error())
    }
}

fn offline_error() -> ServiceError {
    ServiceError("there is no live host behind this call".to_owned())
}
