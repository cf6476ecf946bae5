//! What exists for one invocation: its limits, its buffered writes, its log and its WASI context.
//!
//! Writes are only buffered; reads see them. Every host call is counted, and so are its bytes, before anything is looked up or kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ark_model::state::{NewMemory, StateWrite, TruthWrite};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::limiter::{InstanceLimiter, LimitReached};
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::recording::{Tape, TapedServices};
use crate::services::HostServices;

use super::call_error::HostCallError;
use super::log::SharedLog;
use super::wasi::build_context;

/// The data of a guest's store.
pub(super) struct InvocationContext {
    pub(super) limiter: InstanceLimiter,
    pub(super) deadline: Instant,
    /// Whether the guest ran for so long that the priority of its thread was lowered.
    pub(super) slow: bool,
    pub(super) log: SharedLog,
    pub(super) host_calls: u32,
    pub(super) writes: BufferedWrites,
    pub(super) limits: Arc<Limits>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) services: TapedServices,
    table: ResourceTable,
    wasi: WasiCtx,
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

impl InvocationContext {
    pub(super) fn new(
        limits: &Arc<Limits>,
        manifest: &Arc<Manifest>,
        services: Arc<dyn HostServices>,
        tape: &Tape,
        deadline: Instant,
    ) -> Self {
        let log = SharedLog::new(limits.log_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        Self {
            limiter: InstanceLimiter::new(
                limits.memory_bytes,
                limits.table_elements,
                limits.instances,
            ),
            deadline,
            slow: false,
            wasi: build_context(&log, tape),
            log,
            host_calls: 0,
            writes: BufferedWrites::default(),
            limits: Arc::clone(limits),
            manifest: Arc::clone(manifest),
            services: TapedServices {
                tape: tape.clone(),
                services,
            },
            table,
            host_call_bytes: 0,
        }
    }

    /// Counts a host call and the bytes of its arguments; ends the invocation past a limit or its deadline.
    pub(super) fn charge_call(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls {
            return Err(LimitReached::new_error("host_calls"));
        }
        self.charge_bytes(bytes)?;
        if Instant::now() >= self.deadline {
            return Err(LimitReached::new_error("deadline"));
        }
        Ok(())
    }

    /// Counts bytes of the arguments or results of host calls; ends the invocation past the limit.
    pub(super) fn charge_bytes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.host_call_bytes = self.host_call_bytes.saturating_add(bytes);
        if self.host_call_bytes > self.limits.host_call_bytes {
            return Err(LimitReached::new_error("host_call_bytes"));
        }
        Ok(())
    }

    /// Counts a write; ends the invocation past the limit.
    pub(super) fn charge_write(&mut self) -> wasmtime::Result<()> {
        self.writes.count += 1;
        if self.writes.count > self.limits.writes {
            return Err(LimitReached::new_error("writes"));
        }
        Ok(())
    }

    /// Returns a key as the invocation sees it: its revision (0: it was never written) and, unless it is deleted, its value.
    pub(super) fn current_value(&self, key: &str) -> Result<(u64, Option<String>), HostCallError> {
        if let Some(write) = self.writes.state.get(key) {
            return Ok((write.expected + 1, write.value_json.clone()));
        }
        let (revision, entry) = self.services.state_get(key)?;
        Ok((revision, entry.map(|entry| entry.value_json)))
    }

    /// Buffers a write (`None` deletes the key) and returns the revision that the key will have after the commit.
    ///
    /// # Errors
    /// [`HostCallError::Conflict`] when the key is not at the expected revision, or when a key is deleted that does not exist.
    pub(super) fn buffer_write(
        &mut self,
        key: String,
        value_json: Option<String>,
        expected: Option<u64>,
    ) -> Result<u64, HostCallError> {
        let (revision, value) = self.current_value(&key)?;
        let seen = if value.is_some() { revision } else { 0 };
        let missing = value_json.is_none() && value.is_none();
        if missing || expected.is_some_and(|expected| expected != seen && expected != revision) {
            return Err(HostCallError::Conflict(seen));
        }
        // Several writes of one invocation to a key are one revision, since only the last one is ever visible to others.
        let (base, was_live) = self
            .writes
            .state
            .get(&key)
            .map_or((revision, value.is_some()), |write| {
                (write.expected, write.was_live)
            });
        let write = StateWrite {
            key: key.clone(),
            value_json,
            expected: base,
            was_live,
        };
        self.writes.state.insert(key, write);
        Ok(base + 1)
    }
}

impl WasiView for InvocationContext {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}
