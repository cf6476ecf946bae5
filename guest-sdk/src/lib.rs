//! Write ARK agents and policies in Rust.
//!
//! A feature per world: `agent` (the default), `policy`, and `configurable-policy` for policies that take settings. The feature `instrument`,
//! which `agent` and `configurable-policy` contain, is for policies that compare symbols. A component is
//! described by the worlds it is linked with, so a policy crate switches the default off:
//! `ark-guest = { …, default-features = false, features = ["policy"] }`.
//!
//! Agents and policies with settings export the function `_initialize`, so nothing else that is linked with them may have that name.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "policy")]
pub mod policy;

/// Symbols, and the key that all spellings of one instrument share: what the host compares instruments by. A policy knows the operator's
/// aliases only where its settings name them.
#[cfg(feature = "instrument")]
pub use ark_instrument as instrument;

// Not in the world of the Graveyard, the bytes of whose module are pinned.
#[cfg(all(
    target_arch = "wasm32",
    any(feature = "agent", feature = "configurable-policy")
))]
#[allow(
    unsafe_code,
    reason = "a name that the format of components gives a meaning to"
)]
mod first_write;

#[cfg(feature = "agent")]
#[rustfmt::skip]
#[allow(missing_docs, unsafe_code, clippy::all, clippy::pedantic, reason = "generated")]
pub mod agent_world;
#[cfg(feature = "configurable-policy")]
#[rustfmt::skip]
#[allow(missing_docs, unsafe_code, clippy::all, clippy::pedantic, reason = "generated")]
pub mod configurable_policy_world;
#[cfg(feature = "policy")]
#[rustfmt::skip]
#[allow(missing_docs, unsafe_code, clippy::all, clippy::pedantic, reason = "generated")]
pub mod policy_world;
