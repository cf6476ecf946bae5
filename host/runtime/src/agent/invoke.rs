//! Loading and invoking an agent.

use std::sync::Arc;
use std::time::Instant;

use ark_model::action::Action;
use ark_model::check::{check_action, clip_for_error, clip_to};
use ark_model::ids::Digest;
use ark_model::signal::Signal;
use wasmtime::UpdateDeadline;
use wasmtime::component::{HasSelf, Linker};

use crate::decommit::GuestStore;
use crate::engine::Engine;
use crate::epoch::ticks_until;
use crate::limits::Limits;
use crate::load::{
    AgentImport, LoadError, LoadedAs, check_before_compilation, compile_component, list_imports,
    resolve_agent_import,
};
use crate::manifest::Manifest;
use crate::recording::{Recording, Tape};
use crate::services::{HostServices, OfflineServices};
use crate::thread_priority::{LOWEST_NICE, lower_thread_priority};

use super::bindings::{self, ark::agent::signals as wit};
use super::failure::classify_error;
use super::invocation_context::InvocationContext;
use super::log::SharedLog;
use super::report::{Effects, InvocationFailure, InvocationReport, MAX_REASON_CHARS};
use super::wasi::{link_stubs, link_wasi};

/// The number of ticks of the epoch (10 ms) after which an invocation is slow: the priority of its thread is lowered.
const SLOW_TICKS: u64 = 2;

/// Who owns the thread on which a guest runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ThreadOwner {
    /// A pool of threads that run only guests. A thread may be given up after a slow guest, so its priority may be lowered.
    GuestPool,
    /// A caller that uses the thread afterwards. Its priority stays as it is.
    Caller,
}

/// An agent, compiled and linked.
pub struct Agent {
    manifest: Arc<Manifest>,
    limits: Arc<Limits>,
    digest: Digest,
    pre: bindings::AgentPre<InvocationContext>,
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

impl Drop for Agent {
    fn drop(&mut self) {
        self.engine.give_pages_back();
    }
}

impl Agent {
    /// Compiles an agent, and checks that it is what its manifest says and imports only what agents get. `ceiling` are the operator's
    /// limits, which the manifest may only tighten.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(
        engine: &Engine,
        bytes: &[u8],
        manifest: Manifest,
        ceiling: &Limits,
    ) -> Result<Self, LoadError> {
        let agent = Self::link(engine, bytes, manifest, ceiling)?;
        agent.check_metadata()?;
        Ok(agent)
    }

    /// Checks what can be known of an agent without compiling it: its limits against the ceiling, its digest, form, imports and exports.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn check_before_compilation(
        bytes: &[u8],
        manifest: &Manifest,
        ceiling: &Limits,
    ) -> Result<(), LoadError> {
        Self::check_manifest(bytes, manifest, ceiling)?;
        check_before_compilation(bytes, LoadedAs::Agent)
    }

    /// Returns the limits and the digest of an agent whose manifest fits its bytes and the ceiling.
    fn check_manifest(
        bytes: &[u8],
        manifest: &Manifest,
        ceiling: &Limits,
    ) -> Result<(Limits, Digest), LoadError> {
        let limits = ceiling.tightened_by(&manifest.limits)?;
        let digest = Digest::hash_bytes(bytes);
        if digest != manifest.sha256 {
            return Err(LoadError::WrongDigest {
                expected: manifest.sha256,
                found: digest,
            });
        }
        Ok((limits, digest))
    }

    /// Compiles and links an agent without asking it who it is.
    pub(crate) fn link(
        engine: &Engine,
        bytes: &[u8],
        manifest: Manifest,
        ceiling: &Limits,
    ) -> Result<Self, LoadError> {
        let (limits, digest) = Self::check_manifest(bytes, &manifest, ceiling)?;
        let component = compile_component(engine, bytes, LoadedAs::Agent)?;
        let component_type = component.component_type();
        let refused: Vec<String> = list_imports(engine, &component_type)
            .into_iter()
            .filter(|import| resolve_agent_import(import) == AgentImport::Refused)
            .collect();
        if !refused.is_empty() {
            return Err(LoadError::NotGranted(refused));
        }
        let wrong_world = |error: wasmtime::Error| LoadError::WrongWorld {
            world: "ark:agent/agent",
            problem: format!("{error:#}"),
        };
        let mut linker = Linker::<InvocationContext>::new(engine.wasmtime());
        link_wasi(&mut linker).map_err(wrong_world)?;
        link_stubs(&mut linker, engine, &component_type).map_err(wrong_world)?;
        bindings::ark::agent::host::add_to_linker::<InvocationContext, HasSelf<InvocationContext>>(
            &mut linker,
            |context| context,
        )
        .map_err(wrong_world)?;
        let pre = linker.instantiate_pre(&component).map_err(wrong_world)?;
        let pre = bindings::AgentPre::new(pre).map_err(wrong_world)?;
        Ok(Self {
            manifest: Arc::new(manifest),
            limits: Arc::new(limits),
            digest,
            pre,
            engine: engine.clone(),
        })
    }

    /// Asks the component for its metadata, under the limits of an invocation.
    pub(crate) fn ask_metadata(&self) -> Result<wit::Metadata, LoadError> {
        let deadline = Instant::now() + self.limits.deadline;
        let services = Arc::new(OfflineServices);
        let tape = Tape::new_recording();
        self.start_instance(services, &tape, deadline, ThreadOwner::Caller)
            .and_then(|(mut store, agent)| {
                agent
                    .call_metadata(&mut *store)
                    .map_err(|error| self.explain_trap(&error, &store.data().log))
            })
            .map_err(|failure| LoadError::Failed(self.describe_failure(&failure)))
    }

    fn check_metadata(&self) -> Result<(), LoadError> {
        let metadata = self.ask_metadata()?;
        for (field, expected, found) in [
            ("name", self.manifest.name.as_str(), &metadata.name),
            ("version", self.manifest.version.as_str(), &metadata.version),
        ] {
            if expected != found {
                return Err(LoadError::WrongMetadata {
                    field,
                    expected: expected.to_owned(),
                    found: clip_for_error(found),
                });
            }
        }
        Ok(())
    }

    /// Returns the manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Returns the SHA-256 of the component.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the same agent under other limits.
    pub(crate) fn with_limits(&self, limits: Limits) -> Self {
        Self {
            manifest: Arc::clone(&self.manifest),
            limits: Arc::new(limits),
            digest: self.digest,
            pre: self.pre.clone(),
            engine: self.engine.clone(),
        }
    }

    /// Returns the limits of the agent's invocations.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// As [`Agent::invoke`], without services, and on a thread whose priority stays as it is.
    pub(crate) fn invoke_offline(&self, signal: &Signal, deadline: Instant) -> InvocationReport {
        let services = Arc::new(OfflineServices);
        let tape = Tape::new_recording();
        self.handle_signal(signal, services, &tape, deadline, ThreadOwner::Caller)
    }

    /// Handles a signal in a fresh instance. Blocks until the agent has returned or was ended, which happens at `deadline` or at the agent's own
    /// deadline, whichever is earlier. An agent that runs for long lowers the priority of the calling thread, see [`InvocationReport::slow`].
    #[must_use]
    pub fn invoke(
        &self,
        signal: &Signal,
        services: Arc<dyn HostServices>,
        deadline: Instant,
    ) -> InvocationReport {
        let tape = Tape::new_recording();
        self.handle_signal(signal, services, &tape, deadline, ThreadOwner::GuestPool)
    }

    /// Repeats an invocation: handles the signal with the answers, times and randomness of a recording. The second value says where the agent
    /// did something else than when it was recorded; `None`: nowhere.
    #[must_use]
    pub fn replay_recording(
        &self,
        signal: &Signal,
        recording: Recording,
    ) -> (InvocationReport, Option<String>) {
        let services = Arc::new(OfflineServices);
        let tape = Tape::from_recording(recording);
        let deadline = Instant::now() + self.limits.deadline;
        let report = self.handle_signal(signal, services, &tape, deadline, ThreadOwner::Caller);
        (report, tape.divergence())
    }

    /// Calls the agent's `heartbeat` in a fresh instance. Blocks until it has answered or `deadline` has passed. What it writes is dropped. An
    /// agent that runs for long lowers the priority of the calling thread permanently.
    ///
    /// # Errors
    /// The agent failed, or reports that it is not well.
    pub fn check_heartbeat(
        &self,
        services: Arc<dyn HostServices>,
        deadline: Instant,
    ) -> Result<(), InvocationFailure> {
        let tape = Tape::new_recording();
        let (mut store, agent) =
            self.start_instance(services, &tape, deadline, ThreadOwner::GuestPool)?;
        match agent.call_heartbeat(&mut *store) {
            Ok(_) if Instant::now() >= deadline => {
                Err(InvocationFailure::DeadlineExceeded(self.limits.deadline))
            }
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(InvocationFailure::from_report(&reason)),
            Err(error) => Err(self.explain_trap(&error, &store.data().log)),
        }
    }

    fn handle_signal(
        &self,
        signal: &Signal,
        services: Arc<dyn HostServices>,
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
        let result = match agent.call_handle(&mut *store, &signal) {
            // A timer may have woken the guest at its deadline, and the guest may have returned before the next tick.
            Ok(_) if Instant::now() >= deadline => {
                Err(InvocationFailure::DeadlineExceeded(self.limits.deadline))
            }
            Ok(Ok(actions)) => self.collect_effects(actions, store.data_mut()),
            Ok(Err(wit::Error::InvalidSignal(reason))) => Err(InvocationFailure::RejectedSignal(
                clip_to(&reason, MAX_REASON_CHARS),
            )),
            Ok(Err(wit::Error::Failed(reason))) => Err(InvocationFailure::from_report(&reason)),
            Err(error) => Err(self.explain_trap(&error, &store.data().log)),
        };
        let fuel = self.limits.fuel - store.get_fuel().unwrap_or(0).min(self.limits.fuel);
        let context = store.data();
        InvocationReport {
            result,
            fuel,
            memory_peak: context.limiter.memory_peak,
            host_calls: context.host_calls,
            instantiation,
            duration: started.elapsed(),
            log: context.log.take_lines(),
            recording: tape.take_recording(),
            slow: context.slow,
        }
    }

    /// Returns the failure of an invocation that ended with an error. A trap is described by the text that the guest wrote to its standard error
    /// before: a panic's message, the last line of a traceback.
    fn explain_trap(&self, error: &wasmtime::Error, log: &SharedLog) -> InvocationFailure {
        match (classify_error(error, &self.limits), log.last_words()) {
            (InvocationFailure::Trap { message, backtrace }, Some(words)) => {
                InvocationFailure::Trap {
                    message: format!("{message}: {}", clip_to(&words, MAX_REASON_CHARS)),
                    backtrace,
                }
            }
            (failure, _) => failure,
        }
    }

    /// Returns the failure in words, with the value of the limit that was reached and who set it.
    #[must_use]
    pub fn describe_failure(&self, failure: &InvocationFailure) -> String {
        let Some(key) = failure.limit_key() else {
            return failure.to_string();
        };
        let Some(value) = self.limits.find_value(key) else {
            return failure.to_string();
        };
        let origin = if self.manifest.limits.has_limit(key) {
            "in its manifest"
        } else if Limits::default().find_value(key) == Some(value) {
            "by the host's default; an operator can set it in [limits] of ark.toml"
        } else {
            "in [limits] of the host's ark.toml"
        };
        format!("{failure}: limits.{key} is {value}, set {origin}")
    }

    /// Makes an instance under the agent's limits: fuel, the epoch deadline and the bounds on what it holds are set before any of its code runs.
    fn start_instance(
        &self,
        services: Arc<dyn HostServices>,
        tape: &Tape,
        deadline: Instant,
        thread: ThreadOwner,
    ) -> Result<(GuestStore<InvocationContext>, bindings::Agent), InvocationFailure> {
        let context =
            InvocationContext::new(&self.limits, &self.manifest, services, tape, deadline);
        let held = context.limiter.held();
        let mut store = self.engine.new_store(context, held);
        store.limiter(|context| &mut context.limiter);
        store.set_hostcall_fuel(
            self.limits
                .host_call_bytes
                .max(self.limits.output_bytes)
                .saturating_mul(4),
        );
        store
            .set_fuel(self.limits.fuel)
            .map_err(|error| InvocationFailure::Start(error.to_string()))?;
        store.set_epoch_deadline(ticks_until(deadline).min(SLOW_TICKS));
        store.epoch_deadline_callback(move |mut store| {
            let context = store.data_mut();
            if Instant::now() >= context.deadline {
                return Ok(UpdateDeadline::Interrupt);
            }
            if !context.slow && thread == ThreadOwner::GuestPool {
                context.slow = true;
                lower_thread_priority(LOWEST_NICE);
            }
            Ok(UpdateDeadline::Continue(ticks_until(context.deadline)))
        });
        let agent = self.pre.instantiate(&mut *store).map_err(|error| {
            match classify_error(&error, &self.limits) {
                InvocationFailure::Trap { message, .. } => InvocationFailure::Start(message),
                failure => failure,
            }
        })?;
        Ok((store, agent))
    }

    /// Checks what an agent returned, and returns it with the buffered writes.
    fn collect_effects(
        &self,
        actions: Vec<Action>,
        context: &mut InvocationContext,
    ) -> Result<Effects, InvocationFailure> {
        if actions.len() > self.limits.actions as usize {
            return Err(InvocationFailure::LimitReached("actions"));
        }
        let mut checked = Vec::with_capacity(actions.len());
        let mut bytes = 0usize;
        for (index, action) in actions.into_iter().enumerate() {
            bytes = bytes.saturating_add(count_json_bytes(&action));
            if bytes > self.limits.output_bytes {
                return Err(InvocationFailure::LimitReached("output_bytes"));
            }
            checked.push(check_action(action).map_err(|error| {
                InvocationFailure::InvalidOutput(format!("action {index}: {error}"))
            })?);
        }
        let writes = std::mem::take(&mut context.writes);
        Ok(Effects {
            actions: checked,
            state: writes.state.into_values().collect(),
            memories: writes.memories,
            truths: writes.truths.into_values().collect(),
        })
    }
}

/// Returns the size of an action as JSON, in bytes; the largest number when it cannot be written as JSON.
fn count_json_bytes(action: &Action) -> usize {
    let mut count = ByteCount(0);
    serde_json::to_writer(&mut count, action).map_or(usize::MAX, |()| count.0)
}

/// A writer that keeps only the number of bytes.
struct ByteCount(usize);

impl std::io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ark_model::form::{parse_action, parse_json};

    use super::*;

    #[test]
    fn the_bytes_of_an_action_are_those_of_its_json() {
        for request in [
            r#"{"agent":"a","action_type":"buy","parameters":{"symbol":"X","position_size_pct":0.07},"reasoning":"it \"falls\"\n"}"#,
            r#"{"agent":"a","action_type":"publish","parameters":{"topic":"t","text":"\"ü\""}}"#,
        ] {
            let action = parse_action(parse_json(request.as_bytes()).unwrap())
                .unwrap()
                .action;
            let json = serde_json::to_vec(&action).unwrap();
            assert_eq!(count_json_bytes(&action), json.len(), "{request}");
        }
    }
}
