//! Writing an agent: a struct, one trait and one macro line.
//!
//! ```
//! use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal, message};
//!
//! struct Echo;
//!
//! impl Agent for Echo {
//!     fn metadata() -> Metadata {
//!         Metadata { name: "echo".into(), version: "1.0.0".into(), description: "Counts greetings.".into() }
//!     }
//!
//!     fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
//!         let greeting: String = signal.payload()?;
//!         let count = host.state::<u64>("count")?.unwrap_or(0) + 1;
//!         host.set_state("count", &count)?;
//!         Ok(vec![message("echo.said").payload(&(greeting, count)).reasoning("a greeting deserves an answer").build()?])
//!     }
//! }
//!
//! ark_guest::export_agent!(Echo);
//!
//! // Its test needs no WebAssembly:
//! let mut host = ark_guest::agent::MockHost::new();
//! let actions = host.deliver::<Echo>("greeting", &"hello").unwrap();
//! assert_eq!(actions.len(), 1);
//! assert_eq!(host.state_of::<u64>("count"), Some(1));
//! ```
//!
//! The crate is a `cdylib` (and `rlib`, so that it can be tested) and is built for `wasm32-wasip2`:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! ark-guest = "0.1"
//! ```
//!
//! Beside the component stands its manifest, `echo.toml`: what the operator grants it. `name` and `version` equal those of
//! [`Agent::metadata`]; an action of a type that is not under `actions` is denied, whatever the policies say.
//!
//! ```toml
//! name = "echo"
//! version = "1.0.0"
//! component = "echo.wasm"
//! sha256 = "…"                  # of the component
//! description = "Counts greetings."
//! topics = ["greeting"]         # exact, or `prefix.*`
//! actions = ["message"]
//! capabilities = []             # `truth-set`: may write to the truth map
//!
//! [limits]                      # tighter than the operator's ceiling; optional
//! actions = 1
//!
//! [config]                      # what `Host::config` reads
//! ```
//!
//! Every signal is handled in a fresh instance: nothing survives in the agent itself. What it must remember it writes to the host's state.
//! An invocation is a transaction: state, memories, truths and the decisions over its actions are committed together, or none is.

mod build;
mod check;
#[cfg(not(target_arch = "wasm32"))]
mod mock;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use build::{
    ActionBuilder, buy, close_position, custom, data, execute_code, file_operation, message,
    publish, report, sell, system_change, trade,
};
pub use check::{check_action, is_symbol};
#[cfg(not(target_arch = "wasm32"))]
pub use mock::MockHost;

pub use crate::agent_world::ark::agent::host::{
    HostError, Level, Memory, Outcome, PolicyVerdict, Preview, StateEntry, Truth,
};
pub use crate::agent_world::ark::agent::signals::{Error, Metadata, Signal};
pub use crate::agent_world::ark::types::actions::{
    Action, Change, ClosePosition, Criticality, Custom, DataHandling, DataOperation, ExecuteCode,
    FileOperation, FileVerb, Message, Parameters, Sensitivity, Side, SystemChange, Trade,
};
pub use crate::agent_world::ark::types::verdicts::{RuleAnswer, RuleResult, Value};

/// An agent. Export it with [`export_agent!`](crate::export_agent).
pub trait Agent {
    /// The agent's name and version: equal to its manifest's.
    fn metadata() -> Metadata;

    /// Handles one signal and returns what the agent proposes.
    ///
    /// # Errors
    /// [`Error::InvalidSignal`] when the signal makes no sense, [`Error::Failed`] otherwise. Nothing of the invocation is committed.
    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error>;

    /// Says that the agent is well.
    ///
    /// # Errors
    /// What is wrong.
    fn heartbeat() -> Result<(), String> {
        Ok(())
    }
}

/// What the host offers, as in `ark:agent/host`: the real one inside a component, [`MockHost`] in tests. The typed calls for everyday use
/// are methods of `dyn Host`.
pub trait Host {
    /// Writes a line to the host's log.
    fn log(&self, level: Level, message: &str);

    /// Reads a key of the agent's state, with the writes of this invocation.
    ///
    /// # Errors
    /// See [`HostError`].
    fn state_get(&self, key: &str) -> Result<Option<StateEntry>, HostError>;

    /// Writes a key; with `expected` only at that revision (0: it must not exist). Returns the revision it will have.
    ///
    /// # Errors
    /// See [`HostError`].
    fn state_set(
        &self,
        key: &str,
        value_json: &str,
        expected: Option<u64>,
    ) -> Result<u64, HostError>;

    /// Deletes a key.
    ///
    /// # Errors
    /// See [`HostError`].
    fn state_delete(&self, key: &str, expected: Option<u64>) -> Result<u64, HostError>;

    /// The keys that start with `prefix`, in order.
    ///
    /// # Errors
    /// See [`HostError`].
    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, HostError>;

    /// Remembers something, for `ttl_seconds` when given.
    ///
    /// # Errors
    /// See [`HostError`].
    fn memory_add(&self, entry: &Memory, ttl_seconds: Option<u64>) -> Result<(), HostError>;

    /// The agent's latest memories, newest first.
    ///
    /// # Errors
    /// See [`HostError`].
    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, HostError>;

    /// Looks up the truth map.
    ///
    /// # Errors
    /// See [`HostError`].
    fn truth_get(&self, key: &str) -> Result<Option<Truth>, HostError>;

    /// Writes to the truth map. Needs the capability `truth-set` in the manifest; without it the call fails.
    ///
    /// # Errors
    /// See [`HostError`].
    fn truth_set(&self, key: &str, truth: &Truth) -> Result<(), HostError>;

    /// A value of the operator's configuration for this agent.
    ///
    /// # Errors
    /// See [`HostError`].
    fn config_get(&self, key: &str) -> Result<Option<String>, HostError>;

    /// How the policies would judge an action now.
    ///
    /// # Errors
    /// See [`HostError`].
    fn check(&self, action: &Action) -> Result<Preview, HostError>;
}

impl dyn Host + '_ {
    /// Reads a typed value.
    ///
    /// # Errors
    /// The host's, or the value is of another type.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(entry) = self.state_get(key)? else {
            return Ok(None);
        };
        serde_json::from_str(&entry.value_json)
            .map(Some)
            .map_err(|error| Error::Failed(format!("state {key}: {error}")))
    }

    /// Writes a typed value. A float that is NaN or infinite has no JSON form: it is written as `null`, and cannot be read again.
    ///
    /// # Errors
    /// The host's, or the value has no JSON form.
    pub fn set_state<T: Serialize>(&self, key: &str, value: &T) -> Result<u64, Error> {
        let json = serde_json::to_string(value)
            .map_err(|error| Error::Failed(format!("state {key}: {error}")))?;
        Ok(self.state_set(key, &json, None)?)
    }

    /// A typed value of the configuration, or `default` when there is none.
    ///
    /// # Errors
    /// The host's, or the value is of another type.
    pub fn config<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, Error> {
        match self.config_get(key)? {
            None => Ok(default),
            Some(json) => serde_json::from_str(&json)
                .map_err(|error| Error::Failed(format!("config {key}: {error}"))),
        }
    }

    /// Remembers a typed value under a kind.
    ///
    /// # Errors
    /// The host's, or the value has no JSON form of an object.
    pub fn remember<T: Serialize>(
        &self,
        kind: &str,
        content: &str,
        metadata: &T,
        ttl_seconds: Option<u64>,
    ) -> Result<(), Error> {
        let metadata_json = serde_json::to_string(metadata)
            .map_err(|error| Error::Failed(format!("memory {kind}: {error}")))?;
        let entry = Memory {
            kind: kind.to_owned(),
            content: content.to_owned(),
            metadata_json,
        };
        Ok(self.memory_add(&entry, ttl_seconds)?)
    }
}

impl Signal {
    /// The payload, typed.
    ///
    /// # Errors
    /// [`Error::InvalidSignal`], naming the field and what is wrong with it.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let mut json = serde_json::Deserializer::from_str(&self.payload_json);
        let payload = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| Error::InvalidSignal(format!("payload of {}: {error}", self.topic)))?;
        json.end()
            .map_err(|error| Error::InvalidSignal(format!("payload of {}: {error}", self.topic)))?;
        Ok(payload)
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        Self::Failed(match error {
            HostError::Conflict(revision) => format!("the key is at revision {revision}"),
            HostError::Invalid(what) => what,
            HostError::NotGranted(what) => format!("not granted: {what}"),
            HostError::LimitReached(what) => format!("limit reached: {what}"),
            HostError::Unavailable(what) => format!("unavailable: {what}"),
        })
    }
}

/// The host as a component sees it.
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub struct Imports;

#[cfg(target_arch = "wasm32")]
mod imports {
    use super::{Action, Host, HostError, Imports, Level, Memory, Preview, StateEntry, Truth};
    use crate::agent_world::ark::agent::host;

    impl Host for Imports {
        fn log(&self, level: Level, message: &str) {
            host::log(level, message);
        }

        fn state_get(&self, key: &str) -> Result<Option<StateEntry>, HostError> {
            host::state_get(key)
        }

        fn state_set(
            &self,
            key: &str,
            value_json: &str,
            expected: Option<u64>,
        ) -> Result<u64, HostError> {
            host::state_set(key, value_json, expected)
        }

        fn state_delete(&self, key: &str, expected: Option<u64>) -> Result<u64, HostError> {
            host::state_delete(key, expected)
        }

        fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, HostError> {
            host::state_list(prefix, limit)
        }

        fn memory_add(&self, entry: &Memory, ttl_seconds: Option<u64>) -> Result<(), HostError> {
            host::memory_add(entry, ttl_seconds)
        }

        fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, HostError> {
            host::memory_recent(kind, limit)
        }

        fn truth_get(&self, key: &str) -> Result<Option<Truth>, HostError> {
            host::truth_get(key)
        }

        #[cfg(feature = "truth-set")]
        fn truth_set(&self, key: &str, truth: &Truth) -> Result<(), HostError> {
            host::truth_set(key, truth)
        }

        #[cfg(not(feature = "truth-set"))]
        fn truth_set(&self, _: &str, _: &Truth) -> Result<(), HostError> {
            Err(HostError::NotGranted(
                "build the agent with ark-guest's feature `truth-set`".to_owned(),
            ))
        }

        fn config_get(&self, key: &str) -> Result<Option<String>, HostError> {
            host::config_get(key)
        }

        fn check(&self, action: &Action) -> Result<Preview, HostError> {
            host::check(action)
        }
    }
}

/// Exports an [`Agent`] from the component. Natively it expands to nothing, so that tests link.
#[macro_export]
macro_rules! export_agent {
    ($agent:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::agent_world::Guest for Exported {
                fn metadata() -> $crate::agent::Metadata {
                    <$agent as $crate::agent::Agent>::metadata()
                }

                fn handle(
                    signal: $crate::agent::Signal,
                ) -> Result<Vec<$crate::agent::Action>, $crate::agent::Error> {
                    <$agent as $crate::agent::Agent>::handle(&$crate::agent::Imports, &signal)
                }

                fn heartbeat() -> Result<(), String> {
                    <$agent as $crate::agent::Agent>::heartbeat()
                }
            }

    $crate::agent_world::export_agent_world!(Exported with_types_in $crate::agent_world);
        };
    };
}
