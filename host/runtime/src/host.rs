//! `ark:agent/host`: what an agent may ask of the host. One function here for each in the WIT, in its order.
//!
//! Writes are buffered in the session; reads see them. Every call is counted, and so are the bytes it carries, before anything is looked
//! up or kept. A call past a limit ends the invocation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use ark_model::action::Action;
use ark_model::check::{canonical_json, check_action};
use ark_model::decision::Outcome;
use ark_model::state::{self, Memory, NewMemory, StateEntry, StateWrite, Truth, TruthWrite};
use ark_model::verdict::RuleAnswer;

use super::agent::{LogLevel, bindings::ark::agent::host as wit};
use super::limits::{LimitReached, Limits, ResourceMeter};
use super::manifest::Manifest;
use super::recording::{Tape, TapedServices};
use super::wasi::SharedLog;

/// The most entries a list call returns.
const MAX_LISTED: u32 = 1000;

/// What an agent's host calls stand on. The live host answers from the store and the HRM; an offline run from a recording.
pub trait Services: Send + Sync {
    /// A key of the agent's state: its revision (0: never written) and, unless deleted, its value.
    ///
    /// # Errors
    /// It cannot be read now.
    fn state_get(&self, key: &str) -> Result<(u64, Option<StateEntry>), ServiceError>;

    /// Whether a value could be kept under this key.
    ///
    /// # Errors
    /// It is a secret's key and the host has none to encrypt it with.
    fn state_writable(&self, _key: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    /// The agent's keys that start with `prefix`, in order, `limit` at most.
    ///
    /// # Errors
    /// They cannot be read now.
    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, ServiceError>;

    /// The agent's latest memories, newest first.
    ///
    /// # Errors
    /// They cannot be read now.
    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, ServiceError>;

    /// An entry of the truth map.
    ///
    /// # Errors
    /// It cannot be read now.
    fn truth_get(&self, key: &str) -> Result<Option<Truth>, ServiceError>;

    /// A value the operator has set for the agent while the host runs; it comes before the manifest's. JSON text.
    ///
    /// # Errors
    /// It cannot be read now.
    fn config_get(&self, _key: &str) -> Result<Option<String>, ServiceError> {
        Ok(None)
    }

    /// How the policies would judge an action of this agent now.
    ///
    /// # Errors
    /// They cannot be asked now.
    fn check_action(&self, action: Action) -> Result<Preview, ServiceError>;
}

/// Why a service could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServiceError(pub String);

/// The outcome of a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// What the outcome would be.
    pub outcome: Outcome,
    /// The compliance score.
    pub compliance_score: f64,
    /// Each policy's name and answers; no answers where it could not judge.
    pub verdicts: Vec<(String, Vec<RuleAnswer>)>,
}

/// What lives for one invocation.
pub(super) struct Session {
    pub(super) meter: ResourceMeter,
    pub(super) deadline: Instant,
    /// It ran for long enough to be moved behind the others: its thread's priority is lowered.
    pub(super) slow: bool,
    pub(super) log: SharedLog,
    pub(super) host_calls: u32,
    pub(super) writes: BufferedWrites,
    table: ResourceTable,
    wasi: WasiCtx,
    limits: Arc<Limits>,
    manifest: Arc<Manifest>,
    services: Arc<dyn Services>,
    host_call_bytes: usize,
}

/// What an invocation has written so far.
#[derive(Debug, Default)]
pub(super) struct BufferedWrites {
    count: u32,
    pub(super) state: BTreeMap<String, StateWrite>,
    pub(super) memories: Vec<NewMemory>,
    pub(super) truths: BTreeMap<String, TruthWrite>,
}

impl Session {
    pub(super) fn new(
        limits: &Arc<Limits>,
        manifest: &Arc<Manifest>,
        services: Arc<dyn Services>,
        tape: &Tape,
        deadline: Instant,
    ) -> Self {
        let log = SharedLog::new(limits.log_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        Self {
            meter: ResourceMeter::new(limits.memory_bytes, limits.table_elements, limits.instances),
            deadline,
            slow: false,
            wasi: super::wasi::build_context(&log, tape),
            log,
            host_calls: 0,
            writes: BufferedWrites::default(),
            table,
            limits: Arc::clone(limits),
            manifest: Arc::clone(manifest),
            services: Arc::new(TapedServices {
                tape: tape.clone(),
                services,
            }),
            host_call_bytes: 0,
        }
    }

    /// Counts a call and its bytes; ends the invocation past a limit.
    fn charge_call(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls {
            return Err(LimitReached {
                limit: "host_calls",
            }
            .into());
        }
        self.host_call_bytes = self.host_call_bytes.saturating_add(bytes);
        if self.host_call_bytes > self.limits.host_call_bytes {
            return Err(LimitReached {
                limit: "host_call_bytes",
            }
            .into());
        }
        if Instant::now() >= self.deadline {
            return Err(LimitReached { limit: "deadline" }.into());
        }
        Ok(())
    }

    fn charge_write(&mut self) -> wasmtime::Result<()> {
        self.writes.count += 1;
        if self.writes.count > self.limits.writes {
            return Err(LimitReached { limit: "writes" }.into());
        }
        Ok(())
    }

    /// A key as it stands for this invocation: its revision and, unless it is deleted, its value.
    fn current_value(&self, key: &str) -> Result<(u64, Option<String>), wit::HostError> {
        if let Some(write) = self.writes.state.get(key) {
            Ok((write.expected + 1, write.value_json.clone()))
        } else {
            let (revision, entry) = self.services.state_get(key).map_err(unavailable_error)?;
            Ok((revision, entry.map(|entry| entry.value_json)))
        }
    }

    fn buffer_write(
        &mut self,
        key: String,
        value_json: Option<String>,
        expected: Option<u64>,
    ) -> Result<u64, wit::HostError> {
        let (revision, value) = self.current_value(&key)?;
        let seen = if value.is_some() { revision } else { 0 };
        let missing = value_json.is_none() && value.is_none();
        if missing || expected.is_some_and(|expected| expected != seen && expected != revision) {
            return Err(wit::HostError::Conflict(seen));
        }
        // Several writes of one invocation to a key are one revision: what was between them nobody else could see.
        let base = self
            .writes
            .state
            .get(&key)
            .map_or(revision, |write| write.expected);
        self.writes.state.insert(
            key.clone(),
            StateWrite {
                key,
                value_json,
                expected: base,
            },
        );
        Ok(base + 1)
    }
}

impl WasiView for Session {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl wit::Host for Session {
    fn log(&mut self, level: wit::Level, message: String) -> wasmtime::Result<()> {
        self.charge_call(0)?;
        let level = match level {
            wit::Level::Debug => LogLevel::Debug,
            wit::Level::Info => LogLevel::Info,
            wit::Level::Warn => LogLevel::Warn,
            wit::Level::Error => LogLevel::Error,
        };
        self.log.add_line(level, &message);
        Ok(())
    }

    fn state_get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Option<wit::StateEntry>, wit::HostError>> {
        self.charge_call(key.len())?;
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        let found = match self.current_value(&key) {
            Ok((revision, value)) => value.map(|value_json| wit::StateEntry {
                value_json,
                revision,
            }),
            Err(error) => return Ok(Err(error)),
        };
        self.charge_bytes(found.as_ref().map_or(0, |entry| entry.value_json.len()))?;
        Ok(Ok(found))
    }

    fn state_set(
        &mut self,
        key: String,
        value_json: String,
        expected: Option<u64>,
    ) -> wasmtime::Result<Result<u64, wit::HostError>> {
        self.charge_call(key.len().saturating_add(value_json.len()))?;
        self.charge_write()?;
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        let value = match state::canonical_value("value-json", &value_json) {
            Ok(value) => value,
            Err(error) => return Ok(invalid_input(&error.to_string())),
        };
        if let Err(error) = self.services.state_writable(&key) {
            return Ok(Err(unavailable_error(error)));
        }
        Ok(self.buffer_write(key, Some(value), expected))
    }

    fn state_delete(
        &mut self,
        key: String,
        expected: Option<u64>,
    ) -> wasmtime::Result<Result<u64, wit::HostError>> {
        self.charge_call(key.len())?;
        self.charge_write()?;
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        Ok(self.buffer_write(key, None, expected))
    }

    fn state_list(
        &mut self,
        prefix: String,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, wit::HostError>> {
        self.charge_call(prefix.len())?;
        let limit = limit.min(MAX_LISTED);
        // So many more as this invocation may have deleted.
        let reach = limit.saturating_add(self.limits.writes);
        let stored = match self.services.state_list(&prefix, reach) {
            Ok(keys) => keys,
            Err(error) => return Ok(Err(unavailable_error(error))),
        };
        let mut keys: std::collections::BTreeSet<String> = stored.into_iter().collect();
        for (key, write) in self
            .writes
            .state
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix))
        {
            match write.value_json {
                Some(_) => keys.insert(key.clone()),
                None => keys.remove(key),
            };
        }
        let keys: Vec<String> = keys.into_iter().take(limit as usize).collect();
        self.charge_bytes(keys.iter().map(String::len).sum())?;
        Ok(Ok(keys))
    }

    fn memory_add(
        &mut self,
        entry: wit::Memory,
        ttl_seconds: Option<u64>,
    ) -> wasmtime::Result<Result<(), wit::HostError>> {
        self.charge_call(
            entry
                .kind
                .len()
                .saturating_add(entry.content.len())
                .saturating_add(entry.metadata_json.len()),
        )?;
        self.charge_write()?;
        let metadata = match canonical_json("metadata-json", &entry.metadata_json) {
            Ok(metadata) if metadata.is_object() => metadata,
            Ok(_) => return Ok(invalid_input("metadata-json: give a JSON object")),
            Err(error) => return Ok(invalid_input(&error.to_string())),
        };
        if entry.kind.is_empty()
            || entry.kind.len() > 64
            || entry.kind.chars().any(char::is_control)
        {
            return Ok(invalid_input("kind: give 1 to 64 bytes of plain text"));
        }
        let memory = Memory {
            kind: entry.kind,
            content: entry.content,
            metadata_json: metadata.to_string(),
        };
        self.writes.memories.push(NewMemory {
            memory,
            ttl_seconds,
        });
        Ok(Ok(()))
    }

    fn memory_recent(
        &mut self,
        kind: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<wit::Memory>, wit::HostError>> {
        self.charge_call(kind.as_ref().map_or(0, String::len))?;
        let memories = match self
            .services
            .memory_recent(kind.as_deref(), limit.min(MAX_LISTED))
        {
            Ok(memories) => memories,
            Err(error) => return Ok(Err(unavailable_error(error))),
        };
        self.charge_bytes(
            memories
                .iter()
                .map(|memory| memory.content.len() + memory.metadata_json.len())
                .sum(),
        )?;
        let memories = memories.into_iter().map(|memory| wit::Memory {
            kind: memory.kind,
            content: memory.content,
            metadata_json: memory.metadata_json,
        });
        Ok(Ok(memories.collect()))
    }

    fn truth_get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Option<wit::Truth>, wit::HostError>> {
        self.charge_call(key.len())?;
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        let truth = match self.writes.truths.get(&key) {
            Some(write) => Some(write.truth.clone()),
            None => match self.services.truth_get(&key) {
                Ok(truth) => truth,
                Err(error) => return Ok(Err(unavailable_error(error))),
            },
        };
        self.charge_bytes(truth.as_ref().map_or(0, |truth| truth.value_json.len()))?;
        Ok(Ok(truth.map(|truth| wit::Truth {
            value_json: truth.value_json,
            confidence: truth.confidence,
            sources: truth.sources,
        })))
    }

    fn truth_set(
        &mut self,
        key: String,
        truth: wit::Truth,
    ) -> wasmtime::Result<Result<(), wit::HostError>> {
        let sources: usize = truth.sources.iter().map(String::len).sum();
        self.charge_call(
            key.len()
                .saturating_add(truth.value_json.len())
                .saturating_add(sources),
        )?;
        self.charge_write()?;
        // Refused at load already; held to here too, since the manifest is what counts.
        if !self
            .manifest
            .capabilities
            .iter()
            .any(|granted| granted == "truth-set")
        {
            return Ok(Err(wit::HostError::NotGranted(
                "the manifest does not grant truth-set".to_owned(),
            )));
        }
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        if !(0.0..=1.0).contains(&truth.confidence) {
            return Ok(invalid_input("confidence: give a number from 0 to 1"));
        }
        let value_json = match state::canonical_value("value-json", &truth.value_json) {
            Ok(value) => value,
            Err(error) => return Ok(invalid_input(&error.to_string())),
        };
        let truth = Truth {
            value_json,
            confidence: truth.confidence,
            sources: truth.sources,
        };
        self.writes
            .truths
            .insert(key.clone(), TruthWrite { key, truth });
        Ok(Ok(()))
    }

    fn config_get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Option<String>, wit::HostError>> {
        self.charge_call(key.len())?;
        let set = match self.services.config_get(&key) {
            Ok(value) => value,
            Err(error) => return Ok(Err(unavailable_error(error))),
        };
        let value = set.or_else(|| self.manifest.config.get(&key).map(ToString::to_string));
        self.charge_bytes(value.as_ref().map_or(0, String::len))?;
        Ok(Ok(value))
    }

    fn check(&mut self, action: Action) -> wasmtime::Result<Result<wit::Preview, wit::HostError>> {
        self.charge_call(1024)?;
        let action = match check_action(action) {
            Ok(action) => action,
            Err(error) => return Ok(Err(wit::HostError::Invalid(error.to_string()))),
        };
        let preview = match self.services.check_action(action) {
            Ok(preview) => preview,
            Err(error) => return Ok(Err(unavailable_error(error))),
        };
        Ok(Ok(wit::Preview {
            outcome: match preview.outcome {
                Outcome::Approved => wit::Outcome::Approved,
                Outcome::Held => wit::Outcome::Held,
                Outcome::Denied => wit::Outcome::Denied,
            },
            compliance_score: preview.compliance_score,
            verdicts: preview
                .verdicts
                .into_iter()
                .map(|(policy, answers)| wit::PolicyVerdict { policy, answers })
                .collect(),
        }))
    }
}

impl Session {
    fn charge_bytes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.host_call_bytes = self.host_call_bytes.saturating_add(bytes);
        if self.host_call_bytes > self.limits.host_call_bytes {
            return Err(LimitReached {
                limit: "host_call_bytes",
            }
            .into());
        }
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), wit::HostError> {
    state::check_key("key", key).map_err(|error| wit::HostError::Invalid(error.to_string()))
}

fn invalid_input<T>(problem: &str) -> Result<T, wit::HostError> {
    Err(wit::HostError::Invalid(problem.to_owned()))
}

fn unavailable_error(error: ServiceError) -> wit::HostError {
    wit::HostError::Unavailable(error.0)
}
