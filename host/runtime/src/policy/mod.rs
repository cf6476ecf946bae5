//! Policies: pure functions from settings, action and facts to a verdict.
//!
//! A policy is a component of the world `ark:policy/policy`, or of `ark:policy/configurable-policy`, which also takes settings. Its exports say
//! which one it is. It imports nothing. The limits of an evaluation are constants, so that it can be reproduced.

mod bindings;
mod error;
mod evaluate;
mod validity;

pub use error::{PolicyError, SettingsProblem, SettingsRefused};
pub use evaluate::{POLICY_FUEL, Policy, PolicyInstance};
