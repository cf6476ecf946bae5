//! What one invocation may use.
//!
//! Fuel is deterministic but does not run while a host call does; the deadline covers both but depends on the machine. So both are always
//! on. Memory is the sum over all memories of the instance, which wasmtime itself bounds one by one only.

use std::time::{Duration, Instant};

use serde::Deserialize;
use wasmtime::ResourceLimiter;

use super::engine::EPOCH_TICK;

/// The limits of one invocation. All of them are always in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Fuel: about one unit a WebAssembly instruction.
    pub fuel: u64,
    /// From the start of the instantiation to the last byte returned. Checked every 5 ms.
    pub deadline: Duration,
    /// Linear memory, in bytes, all memories of the instance added up.
    pub memory_bytes: usize,
    /// Table elements, all tables of the instance added up.
    pub table_elements: usize,
    /// Host calls.
    pub host_calls: u32,
    /// Bytes handed over in host calls, both ways.
    pub host_call_bytes: usize,
    /// State writes, memories and truths.
    pub writes: u32,
    /// Actions proposed.
    pub actions: u32,
    /// Size of the actions, as JSON, in bytes.
    pub output_bytes: usize,
    /// Size of the log, in bytes; what is more is dropped.
    pub log_bytes: usize,
    /// WASI resources (streams, pollables) at the same time.
    pub resources: usize,
}

impl Default for Limits {
    /// The operator's ceiling when the configuration names none.
    fn default() -> Self {
        Self {
            fuel: 200_000_000,
            deadline: Duration::from_secs(1),
            memory_bytes: 64 * 1024 * 1024,
            table_elements: 50_000,
            host_calls: 1_000,
            host_call_bytes: 4 * 1024 * 1024,
            writes: 256,
            actions: 64,
            output_bytes: 256 * 1024,
            log_bytes: 64 * 1024,
            resources: 64,
        }
    }
}

/// Tighter limits, as in a manifest's `[limits]`. What is absent stays at the ceiling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsOverride {
    /// See [`Limits::fuel`].
    pub fuel: Option<u64>,
    /// See [`Limits::deadline`], in milliseconds.
    pub deadline_ms: Option<u64>,
    /// See [`Limits::memory_bytes`].
    pub memory_bytes: Option<usize>,
    /// See [`Limits::table_elements`].
    pub table_elements: Option<usize>,
    /// See [`Limits::host_calls`].
    pub host_calls: Option<u32>,
    /// See [`Limits::host_call_bytes`].
    pub host_call_bytes: Option<usize>,
    /// See [`Limits::writes`].
    pub writes: Option<u32>,
    /// See [`Limits::actions`].
    pub max_actions: Option<u32>,
    /// See [`Limits::output_bytes`].
    pub output_bytes: Option<usize>,
    /// See [`Limits::log_bytes`].
    pub log_bytes: Option<usize>,
}

/// A manifest asks for more than the operator's ceiling, or for nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limits.{field} is {asked}; give 1 to {ceiling}, the operator's ceiling, or leave it out")]
pub struct LimitError {
    /// The field.
    pub field: &'static str,
    /// What was asked for.
    pub asked: u128,
    /// The ceiling.
    pub ceiling: u128,
}

impl Limits {
    /// These limits with the tighter ones of a manifest.
    ///
    /// # Errors
    /// One of them is looser than the ceiling, or 0.
    pub fn tightened_by(&self, tighter: &LimitsOverride) -> Result<Self, LimitError> {
        fn tighten<T: Copy + PartialOrd + TryInto<u128> + From<u8>>(
            field: &'static str,
            ceiling: T,
            asked: Option<T>,
        ) -> Result<T, LimitError> {
            let wide = |value: T| value.try_into().unwrap_or(u128::MAX);
            match asked {
                Some(asked) if asked > ceiling || asked < T::from(1) => Err(LimitError {
                    field,
                    asked: wide(asked),
                    ceiling: wide(ceiling),
                }),
                Some(asked) => Ok(asked),
                None => Ok(ceiling),
            }
        }
        let deadline_ms = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            fuel: tighten("fuel", self.fuel, tighter.fuel)?,
            deadline: Duration::from_millis(tighten(
                "deadline_ms",
                deadline_ms,
                tighter.deadline_ms,
            )?),
            memory_bytes: tighten("memory_bytes", self.memory_bytes, tighter.memory_bytes)?,
            table_elements: tighten(
                "table_elements",
                self.table_elements,
                tighter.table_elements,
            )?,
            host_calls: tighten("host_calls", self.host_calls, tighter.host_calls)?,
            host_call_bytes: tighten(
                "host_call_bytes",
                self.host_call_bytes,
                tighter.host_call_bytes,
            )?,
            writes: tighten("writes", self.writes, tighter.writes)?,
            actions: tighten("max_actions", self.actions, tighter.max_actions)?,
            output_bytes: tighten("output_bytes", self.output_bytes, tighter.output_bytes)?,
            log_bytes: tighten("log_bytes", self.log_bytes, tighter.log_bytes)?,
            resources: self.resources,
        })
    }
}

/// A limit that ended an invocation: travels as the error of the host call or of the growth that hit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit `{limit}` is reached")]
pub(super) struct LimitReached {
    pub(super) limit: &'static str,
}

/// Adds up what an instance holds and refuses what goes past the limits.
#[derive(Debug)]
pub(super) struct Meter {
    memory_limit: usize,
    table_limit: usize,
    memory: usize,
    tables: usize,
    /// The most memory held at one time.
    pub(super) memory_peak: usize,
}

impl Meter {
    pub(super) const fn new(memory_limit: usize, table_limit: usize) -> Self {
        Self {
            memory_limit,
            table_limit,
            memory: 0,
            tables: 0,
            memory_peak: 0,
        }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let after = self.memory.saturating_sub(current).saturating_add(desired);
        if after > self.memory_limit {
            return Err(LimitReached {
                limit: "memory_bytes",
            }
            .into());
        }
        self.memory = after;
        self.memory_peak = self.memory_peak.max(after);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let after = self.tables.saturating_sub(current).saturating_add(desired);
        if after > self.table_limit {
            return Err(LimitReached {
                limit: "table_elements",
            }
            .into());
        }
        self.tables = after;
        Ok(true)
    }

    fn instances(&self) -> usize {
        32
    }

    fn tables(&self) -> usize {
        32
    }

    fn memories(&self) -> usize {
        8
    }
}

/// How many epochs from now a deadline is, rounded up; at least one.
pub(super) fn ticks_until(deadline: Instant) -> u64 {
    let left = deadline
        .saturating_duration_since(Instant::now())
        .as_micros();
    u64::try_from(left.div_ceil(EPOCH_TICK.as_micros()))
        .unwrap_or(u64::MAX / 2)
        .saturating_add(1)
}
