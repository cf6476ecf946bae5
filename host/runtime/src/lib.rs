//! Running components: the engine, what may be loaded, and how policies and agents are called.
//!
//! Invariants: every guest runs with fuel, an epoch deadline and a bound on its total memory, always; a component that imports what it was
//! not granted is never instantiated; an agent's invocation is a fresh instance, and what it writes is only buffered here; a policy gets
//! nothing but its arguments.
//!
//! Reading order: [`engine`], [`limits`], [`load`] (what is refused and why), [`policy`], [`graveyard`] (the pin), [`manifest`], [`agent`]
//! with its host calls in [`host`] and WASI in [`wasi`], [`recording`] (what is replayed), [`probe`] (the limits' own test), [`inspect`].
//!
//! Must not know: `SQLite`, HTTP, what a decision is. Threads are the callers': everything here blocks.

mod agent;
mod engine;
mod graveyard;
mod host;
mod inspect;
mod limits;
mod load;
mod manifest;
mod policy;
mod priority;
mod probe;
mod recording;
mod shape;
mod types;
mod vectors;
mod wasi;

pub use agent::{Agent, Effects, InvocationFailure, InvocationReport, LogLevel, LogLine};
pub use engine::{Engine, EngineConfig, EngineError};
pub use graveyard::{GraveyardSource, Pin, PinError, PinnedGraveyard};
pub use host::{Preview, ServiceError, Services};
pub use inspect::{Import, Inspection, PolicyInspection, inspect_component};
pub use limits::{LimitError, Limits, LimitsTable};
pub use load::{LoadError, MAX_COMPONENT_BYTES};
pub use manifest::{Manifest, ManifestError};
pub use policy::{
    POLICY_FUEL, Policy, PolicyError, PolicyInstance, SettingsProblem, SettingsRefused,
};
pub use probe::{Probe, probe_limits};
pub use recording::{HostCall, HostCallAnswer, RecordedCall, Recording};
pub use vectors::{TestVector, VectorFailure, run_vectors};
