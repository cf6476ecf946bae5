//! The limits of an agent's invocations.
//!
//! Fuel is deterministic but does not pass while a host call runs; the deadline covers both but depends on the machine. Therefore both are always
//! in force. wasmtime bounds each memory and each table by itself; the sums over an instance are bounded by [`crate::limiter`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The value of a limit, as the number that is used in `ark.toml`, in a manifest and in an error.
trait LimitValue: Copy {
    fn from_number(number: u64) -> Self;
    fn to_number(self) -> u64;
}

impl LimitValue for u64 {
    fn from_number(number: u64) -> Self {
        number
    }

    fn to_number(self) -> u64 {
        self
    }
}

impl LimitValue for u32 {
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn to_number(self) -> u64 {
        self.into()
    }
}

impl LimitValue for usize {
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn to_number(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

/// In milliseconds.
impl LimitValue for Duration {
    fn from_number(number: u64) -> Self {
        Self::from_millis(number)
    }

    fn to_number(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Declares every limit once: its documentation, its key and type in a `[limits]` table, its field and type in [`Limits`], its default, and the
/// least and the most that an operator may set.
macro_rules! limits {
    ($(
        $(#[doc = $doc:literal])+
        $key:ident: $table_type:ty => $(#[$attribute:meta])* $field:ident: $type:ty = $default:expr, $least:expr, $most:expr;
    )+) => {
        /// The limits of one agent's invocations. All of them are always in force: no value switches one off.
        ///
        /// An invocation that reaches a limit ends and has no effect, unless the documentation of the limit says otherwise. The failure names
        /// the limit. The limits of policies are constants of the host but for `capacity.policy_fuel`, since their evaluations must be reproducible.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Limits {
            $(
                $(#[doc = $doc])+
                $(#[$attribute])*
                pub $field: $type,
            )+
        }

        /// A `[limits]` table. In `ark.toml` it sets the operator's ceiling, and an absent limit has its default. In a manifest it tightens the
        /// ceiling for one agent, and an absent limit stays at the ceiling.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct LimitsTable {
            $(
                $(#[doc = $doc])+
                pub $key: Option<$table_type>,
            )+
        }

        impl LimitsTable {
            /// Returns whether the table gives a limit, named by its key.
            pub(crate) fn has_limit(&self, key: &str) -> bool {
                match key {
                    $(stringify!($key) => self.$key.is_some(),)+
                    _ => false,
                }
            }
        }

        impl Default for Limits {
            /// Returns the operator's ceiling when the configuration names none.
            fn default() -> Self {
                Self {
                    $($field: <$type>::from_number($default),)+
                }
            }
        }

        impl Limits {
            /// Every limit, in the order of declaration.
            pub const KEYS: &[LimitKey] = &[
                $(LimitKey {
                    name: stringify!($key),
                    value_type: stringify!($table_type),
                    documentation: concat!($($doc, "\n"),+),
                    default: $default,
                    least: $least,
                    most: $most,
                },)+
            ];

            /// Checks complete limits as the operator's ceiling.
            ///
            /// # Errors
            /// A limit is outside the bounds of its [`LimitKey`].
            pub fn check_ceiling(&self) -> Result<(), LimitError> {
                $(check_limit(stringify!($key), self.$field.to_number(), $least, $most)?;)+
                Ok(())
            }

            /// Returns the value of a limit by its key.
            pub(crate) fn find_value(&self, key: &str) -> Option<u64> {
                match key {
                    $(stringify!($key) => Some(self.$field.to_number()),)+
                    _ => None,
                }
            }

            /// Returns these limits with the values that a table gives, unchecked.
            fn apply_table(&self, table: &LimitsTable) -> Self {
                Self {
                    $($field: table.$key.map_or(self.$field, |value| <$type>::from_number(value.to_number())),)+
                }
            }

            /// Checks the values that a table gives against the most that `ceiling` allows.
            fn check_table(ceiling: &Self, table: &LimitsTable) -> Result<(), LimitError> {
                $(if let Some(value) = table.$key {
                    check_limit(stringify!($key), value.to_number(), $least, ceiling.$field.to_number())?;
                })+
                Ok(())
            }
        }
    };
}

limits! {
    /// The fuel of one invocation, in units of about one WebAssembly instruction.
    ///
    /// Fuel counts the guest's instructions only: time in host calls is covered by the deadline. An invocation that uses it up ends with the failure `fuel`.
    fuel: u64 => fuel: u64 = 200_000_000, 1, 1_000_000_000_000;
    /// The time of one invocation, in milliseconds, from the moment a worker takes the signal to the commit.
    ///
    /// It includes making the instance, the guest, its host calls, the judging of its proposals and waiting for the writer.
    /// While the guest runs, it is checked every 5 ms. An invocation that exceeds it ends with the failure `deadline`.
    deadline_ms: u64 => #[serde(rename = "deadline_ms", with = "milliseconds")] deadline: Duration = 1_000, 1, 600_000;
    /// The linear memory of one instance, in bytes, summed over all its memories.
    ///
    /// It does not include what the host holds for the instance: tables, resources and buffered writes have limits of their own. A memory that would
    /// grow beyond it ends the invocation with the failure `memory_bytes`.
    memory_bytes: usize => memory_bytes: usize = 64 * 1024 * 1024, 65_536, 1024 * 1024 * 1024;
    /// The table elements of one instance, summed over all its tables.
    table_elements: usize => table_elements: usize = 50_000, 1, 100_000;
    /// The core instances that a component may consist of. An agent in Rust or JavaScript has a few, one in Python 14 to 38.
    instances: usize => instances: usize = 64, 1, 128;
    /// The stack of a guest, in bytes. It belongs to the engine, so it is the same for every agent, and a manifest cannot change it.
    ///
    /// A guest that needs more ends with the failure `stack`.
    stack_bytes: usize => stack_bytes: usize = 512 * 1024, 16 * 1024, 1024 * 1024;
    /// The WASI resources (streams, pollables) that one invocation may hold at the same time.
    resources: usize => resources: usize = 64, 1, 65_536;
    /// The calls to functions of `ark:agent/host` in one invocation. Calls of WASI are bounded by fuel and the deadline.
    host_calls: u32 => host_calls: u32 = 1_000, 1, 1_000_000;
    /// The bytes that one invocation may pass in host calls, arguments and results added up. Log lines count towards `log_bytes` only.
    host_call_bytes: usize => host_call_bytes: usize = 4 * 1024 * 1024, 1, 256 * 1024 * 1024;
    /// The writes of one invocation: of state, memories and truths. Several writes to one key count separately.
    writes: u32 => writes: u32 = 256, 1, 10_000;
    /// The actions that one invocation may propose.
    actions: u32 => actions: u32 = 64, 1, 10_000;
    /// The size of the actions that one invocation may propose, in bytes of their JSON.
    output_bytes: usize => output_bytes: usize = 256 * 1024, 1, 16 * 1024 * 1024;
    /// The size of the log of one invocation, in bytes. Further lines are dropped, which the log states once; the invocation goes on.
    log_bytes: usize => log_bytes: usize = 64 * 1024, 1, 16 * 1024 * 1024;
    /// The invocations of one agent that may run at the same time. With 1, each sees the state that the one before it left.
    ///
    /// Further signals wait.
    concurrency: u32 => concurrency: u32 = 1, 1, 64;
    /// The actions that one agent may propose within a minute, over all its invocations.
    ///
    /// An invocation that exceeds it has no effect.
    actions_per_minute: u32 => actions_per_minute: u32 = 60_000, 1, 1_000_000;
}

/// The description of one key of a `[limits]` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitKey {
    /// The key, e.g. `fuel`.
    pub name: &'static str,
    /// The type of its value in a `[limits]` table: `u64`, `u32` or `usize`.
    pub value_type: &'static str,
    /// What the limit bounds, as the lines of its documentation comment.
    pub documentation: &'static str,
    /// The operator's ceiling when the configuration names none.
    pub default: u64,
    /// The least that may be set: below it nothing could run.
    pub least: u64,
    /// The most that an operator may set: what the engine's pool and the store are built for.
    pub most: u64,
}

/// A limit is outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limits.{field} is {asked}; give {least} to {most}, or leave it out")]
pub struct LimitError {
    /// The key, without `limits.`.
    pub field: &'static str,
    /// The value given.
    pub asked: u64,
    /// The least that is allowed.
    pub least: u64,
    /// The most that is allowed: in a manifest the operator's ceiling, in `ark.toml` the host's own bound.
    pub most: u64,
}

impl Limits {
    /// Returns the operator's ceiling: the defaults with the values of `ark.toml`.
    ///
    /// # Errors
    /// A value is outside the bounds of its [`LimitKey`].
    pub fn ceiling_from_table(table: &LimitsTable) -> Result<Self, LimitError> {
        let ceiling = Self::default().apply_table(table);
        ceiling.check_ceiling()?;
        Ok(ceiling)
    }

    /// Returns these limits, as the ceiling, with the tighter values of a manifest.
    ///
    /// # Errors
    /// A value is greater than the ceiling or less than the least of its [`LimitKey`], or the manifest gives `stack_bytes`.
    pub fn tightened_by(&self, tighter: &LimitsTable) -> Result<Self, LimitError> {
        let ceiling = Self {
            // No value is allowed: the stack is the engine's.
            stack_bytes: 0,
            ..self.clone()
        };
        Self::check_table(&ceiling, tighter)?;
        Ok(self.apply_table(tighter))
    }
}

fn check_limit(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), LimitError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(LimitError {
        field,
        asked: value,
        least: least.min(most),
        most,
    })
}

/// Durations as whole milliseconds, as in `ark.toml`.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::LimitValue;

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.to_number().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
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

    #[test]
    fn every_default_lies_within_its_bounds_and_every_field_has_a_key() {
        let fields = serde_json::to_value(Limits::default()).unwrap();
        assert_eq!(fields.as_object().unwrap().len(), Limits::KEYS.len());
        for key in Limits::KEYS {
            assert_eq!(fields[key.name].as_u64(), Some(key.default), "{}", key.name);
            assert!(
                (key.least..=key.most).contains(&key.default),
                "{}",
                key.name
            );
        }
    }
}
