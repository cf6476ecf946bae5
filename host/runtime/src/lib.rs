//! Running WebAssembly components: what may be loaded, under which limits it runs, and how policies and agents are called.
//!
//! Invariants:
//!
//! * Every guest always runs with fuel, an epoch deadline and a bound on its total memory. No limit can be switched off.
//! * A component that imports what no agent gets is refused before any of its code runs. What its manifest does not grant fails when it is called.
//! * Each invocation of an agent is a fresh instance. What it writes is only buffered here; the caller commits it or drops it.
//! * A policy imports nothing: its verdict depends on its arguments alone.
//!
//! Reading order: [`Engine`], [`Limits`], [`LoadError`] (what is refused and why), [`Policy`], [`Pin`] (the Graveyard), [`Manifest`], [`Agent`]
//! and [`HostServices`] (what its host calls need), [`Recording`] (what makes an invocation repeatable), [`probe_limits`] (the proof at every start),
//! [`inspect_component`].
//!
//! This crate must not know `SQLite`, HTTP, or what a decision is. It starts one thread, the clock of the engine; everything else runs on the
//! caller's thread and blocks it.

mod agent;
mod decommit;
mod engine;
mod epoch;
mod graveyard;
mod inspect;
mod limiter;
mod limits;
mod load;
mod manifest;
mod policy;
mod probe;
mod quotas;
mod recording;
mod services;
mod thread_priority;
mod vectors;
mod wit_types;

pub use agent::{Agent, Effects, InvocationFailure, InvocationReport, LogLevel, LogLine};
pub use decommit::COLLECTED_BYTES;
pub use engine::{Engine, EngineConfig, EngineError};
pub use graveyard::{GraveyardSource, Pin, PinError, PinnedGraveyard, ReleasedGraveyard};
pub use inspect::{
    AgentMetadata, Import, Inspection, PolicyInspection, inspect_component, read_agent_metadata,
};
pub use limits::{LimitError, LimitKey, Limits, LimitsTable};
pub use load::{LoadError, MAX_COMPONENT_BYTES};
pub use manifest::{Manifest, ManifestError, TRUTH_SET};
pub use policy::{
    POLICY_FUEL, Policy, PolicyError, PolicyInstance, SettingsProblem, SettingsRefused,
};
pub use probe::{ProbeResult, probe_limits};
pub use quotas::{QuotaError, QuotaKey, QuotaKind, Quotas, QuotasTable};
pub use recording::{HostCall, HostCallAnswer, RecordedCall, Recording};
pub use services::{HostServices, Preview, ServiceError};
pub use thread_priority::{is_thread_priority_lowered, lower_thread_priority};
pub use vectors::{TestVector, VectorFailure, run_vectors};
