//! What one invocation may use.
//!
//! Fuel is deterministic but does not run while a host call does; the deadline covers both but depends on the machine. So both are always
//! on. Memory is the sum over all memories of the instance, which wasmtime itself bounds one by one only.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

use super::engine::EPOCH_TICK;

/// The limits of one agent's invocations. All of them are always in force: there is no value that switches one off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Limits {
    /// Fuel: about one unit a WebAssembly instruction.
    pub fuel: u64,
    /// From the moment a worker may take the signal up to the commit: waiting for the worker, instantiation, guest, host calls, judging,
    /// waiting for the writer. Checked every 5 ms while the guest runs.
    #[serde(rename = "deadline_ms", with = "milliseconds")]
    #[schema(value_type = u64)]
    pub deadline: Duration,
    /// Linear memory, in bytes, all memories of the instance added up.
    pub memory_bytes: usize,
    /// Table elements, all tables of the instance added up.
    pub table_elements: usize,
    /// Core instances that the component is made of.
    pub instances: usize,
    /// Stack, in bytes. It is the engine's, so the same for every agent.
    pub stack_bytes: usize,
    /// WASI resources (streams, pollables) at the same time.
    pub resources: usize,
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
    /// Invocations of the agent at the same time. With 1, each sees the state that the one before it left.
    pub concurrency: u32,
    /// Actions that the agent may propose within a minute, over all its invocations.
    pub actions_per_minute: u32,
}

impl Default for Limits {
    /// The operator's ceiling when the configuration names none.
    fn default() -> Self {
        Self {
            fuel: 200_000_000,
            deadline: Duration::from_secs(1),
            memory_bytes: 64 * 1024 * 1024,
            table_elements: 50_000,
            instances: 32,
            stack_bytes: 512 * 1024,
            resources: 64,
            host_calls: 1_000,
            host_call_bytes: 4 * 1024 * 1024,
            writes: 256,
            actions: 64,
            output_bytes: 256 * 1024,
            log_bytes: 64 * 1024,
            concurrency: 1,
            actions_per_minute: 60_000,
        }
    }
}

/// The most that even an operator may allow: what the engine's pool and the store are built for.
const MAX_LIMITS: Limits = Limits {
    fuel: 1_000_000_000_000,
    deadline: Duration::from_mins(10),
    memory_bytes: 1024 * 1024 * 1024,
    table_elements: 100_000,
    instances: 32,
    stack_bytes: 1024 * 1024,
    resources: 65_536,
    host_calls: 1_000_000,
    host_call_bytes: 256 * 1024 * 1024,
    writes: 10_000,
    actions: 10_000,
    output_bytes: 16 * 1024 * 1024,
    log_bytes: 16 * 1024 * 1024,
    concurrency: 64,
    actions_per_minute: 1_000_000,
};

/// A `[limits]` table: in `ark.toml` the operator's ceiling (what is absent has its default), in a manifest what is tighter than that (what
/// is absent stays at the ceiling).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// See [`Limits::fuel`].
    pub fuel: Option<u64>,
    /// See [`Limits::deadline`], in milliseconds.
    pub deadline_ms: Option<u64>,
    /// See [`Limits::memory_bytes`].
    pub memory_bytes: Option<usize>,
    /// See [`Limits::table_elements`].
    pub table_elements: Option<usize>,
    /// See [`Limits::instances`].
    pub instances: Option<usize>,
    /// See [`Limits::stack_bytes`]; only in `ark.toml`.
    pub stack_bytes: Option<usize>,
    /// See [`Limits::resources`].
    pub resources: Option<usize>,
    /// See [`Limits::host_calls`].
    pub host_calls: Option<u32>,
    /// See [`Limits::host_call_bytes`].
    pub host_call_bytes: Option<usize>,
    /// See [`Limits::writes`].
    pub writes: Option<u32>,
    /// See [`Limits::actions`].
    pub actions: Option<u32>,
    /// See [`Limits::output_bytes`].
    pub output_bytes: Option<usize>,
    /// See [`Limits::log_bytes`].
    pub log_bytes: Option<usize>,
    /// See [`Limits::concurrency`].
    pub concurrency: Option<u32>,
    /// See [`Limits::actions_per_minute`].
    pub actions_per_minute: Option<u32>,
}

/// A limit is looser than it may be, or nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limits.{field} is {asked}; give {least} to {most}, or leave it out")]
pub struct LimitError {
    /// The field.
    pub field: &'static str,
    /// What was asked for.
    pub asked: u128,
    /// The least that makes sense.
    pub least: u128,
    /// The most that is allowed: the operator's ceiling, or the host's own bounds.
    pub most: u128,
}

impl Limits {
    /// The operator's ceiling: the defaults with what `ark.toml` says.
    ///
    /// # Errors
    /// One of them is 0, which would be no limit that anything could run under, or more than the host can hold.
    pub fn ceiling_from_table(table: &LimitsTable) -> Result<Self, LimitError> {
        Self::default().apply_table(table, &MAX_LIMITS)
    }

    /// These limits with the tighter ones of a manifest.
    ///
    /// # Errors
    /// One of them is looser than the ceiling, or 0; or the stack is named, which is the engine's.
    pub fn tightened_by(&self, tighter: &LimitsTable) -> Result<Self, LimitError> {
        let engine_wide = Self {
            stack_bytes: 0,
            ..self.clone()
        };
        self.apply_table(tighter, &engine_wide)
    }

    fn apply_table(&self, table: &LimitsTable, most: &Self) -> Result<Self, LimitError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            fuel: pick_limit("fuel", self.fuel, table.fuel, most.fuel)?,
            deadline: Duration::from_millis(pick_limit(
                "deadline_ms",
                millis(self.deadline),
                table.deadline_ms,
                millis(most.deadline),
            )?),
            memory_bytes: pick_limit(
                "memory_bytes",
                self.memory_bytes,
                table.memory_bytes,
                most.memory_bytes,
            )?,
            table_elements: pick_limit(
                "table_elements",
                self.table_elements,
                table.table_elements,
                most.table_elements,
            )?,
            instances: pick_limit("instances", self.instances, table.instances, most.instances)?,
            stack_bytes: pick_limit(
                "stack_bytes",
                self.stack_bytes,
                table.stack_bytes,
                most.stack_bytes,
            )?,
            resources: pick_limit("resources", self.resources, table.resources, most.resources)?,
            host_calls: pick_limit(
                "host_calls",
                self.host_calls,
                table.host_calls,
                most.host_calls,
            )?,
            host_call_bytes: pick_limit(
                "host_call_bytes",
                self.host_call_bytes,
                table.host_call_bytes,
                most.host_call_bytes,
            )?,
            writes: pick_limit("writes", self.writes, table.writes, most.writes)?,
            actions: pick_limit("actions", self.actions, table.actions, most.actions)?,
            output_bytes: pick_limit(
                "output_bytes",
                self.output_bytes,
                table.output_bytes,
                most.output_bytes,
            )?,
            log_bytes: pick_limit("log_bytes", self.log_bytes, table.log_bytes, most.log_bytes)?,
            concurrency: pick_limit(
                "concurrency",
                self.concurrency,
                table.concurrency,
                most.concurrency,
            )?,
            actions_per_minute: pick_limit(
                "actions_per_minute",
                self.actions_per_minute,
                table.actions_per_minute,
                most.actions_per_minute,
            )?,
        })
    }
}

/// What was asked for if it is between the least that makes sense and `most`, else what stands.
fn pick_limit<T: Copy + PartialOrd + TryInto<u128>>(
    field: &'static str,
    stands: T,
    asked: Option<T>,
    most: T,
) -> Result<T, LimitError> {
    let wide = |value: T| value.try_into().unwrap_or(u128::MAX);
    // A memory's unit is the page, a stack's what one call of the canonical ABI needs.
    let least = match field {
        "memory_bytes" => 65_536,
        "stack_bytes" => 16 * 1024,
        _ => 1,
    };
    match asked {
        Some(value) if wide(value) < least || value > most => Err(LimitError {
            field,
            asked: wide(value),
            least: least.min(wide(most)),
            most: wide(most),
        }),
        Some(value) => Ok(value),
        None => Ok(stands),
    }
}

/// Durations as whole milliseconds, as in `ark.toml`.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        u64::try_from(duration.as_millis())
            .unwrap_or(u64::MAX)
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
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
pub(super) struct ResourceMeter {
    memory_limit: usize,
    table_limit: usize,
    instance_limit: usize,
    memory: usize,
    tables: usize,
    /// The most memory held at one time.
    pub(super) memory_peak: usize,
}

impl ResourceMeter {
    pub(super) const fn new(
        memory_limit: usize,
        table_limit: usize,
        instance_limit: usize,
    ) -> Self {
        Self {
            memory_limit,
            table_limit,
            instance_limit,
            memory: 0,
            tables: 0,
            memory_peak: 0,
        }
    }
}

impl ResourceLimiter for ResourceMeter {
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
        self.instance_limit
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_can_only_tighten_and_nothing_can_be_switched_off() {
        let ceiling = Limits::ceiling_from_table(&LimitsTable {
            fuel: Some(1000),
            ..LimitsTable::default()
        })
        .unwrap();
        let table = |json: &str| serde_json::from_str::<LimitsTable>(json).unwrap();
        for (json, refused) in [
            (r#"{"fuel": 1000}"#, None),
            (
                r#"{"fuel": 1001}"#,
                Some("limits.fuel is 1001; give 1 to 1000"),
            ),
            (r#"{"fuel": 0}"#, Some("limits.fuel is 0; give 1 to 1000")),
            (
                r#"{"concurrency": 2}"#,
                Some("limits.concurrency is 2; give 1 to 1"),
            ),
            (
                r#"{"memory_bytes": 1}"#,
                Some("limits.memory_bytes is 1; give 65536"),
            ),
            (
                r#"{"stack_bytes": 65536}"#,
                Some("limits.stack_bytes is 65536"),
            ),
            (
                r#"{"actions_per_minute": 0}"#,
                Some("limits.actions_per_minute"),
            ),
        ] {
            let found = ceiling.tightened_by(&table(json));
            match refused {
                None => assert!(found.is_ok(), "{json}: {found:?}"),
                Some(words) => {
                    let error = found.unwrap_err().to_string();
                    assert!(error.starts_with(words), "{json}: {error}");
                }
            }
        }
        // Every field is there, in the ceiling and in what a manifest makes of it.
        let fields = |limits: &Limits| serde_json::to_value(limits).unwrap();
        let tightened = ceiling.tightened_by(&table("{}")).unwrap();
        assert_eq!(fields(&tightened), fields(&ceiling));
        let all = fields(&ceiling);
        assert!(
            all.as_object()
                .unwrap()
                .values()
                .all(|limit| limit.as_u64() > Some(0))
        );
        for field in all.as_object().unwrap().keys() {
            let zero = table(&format!("{{\"{field}\": 0}}"));
            let error = Limits::ceiling_from_table(&zero).unwrap_err();
            assert_eq!(error.field, field);
        }
    }
}
