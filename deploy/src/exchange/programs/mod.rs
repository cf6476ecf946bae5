//! The programs that an exchange runs: commands of the operator's, and other versions of `ark`.
//!
//! Invariant: each has a limit of time and of what it prints.
//!
//! Reading order: [`commands`] (how one is run), [`version`] (what an `ark` says of itself, and which program it becomes).
//!
//! Must not know: databases, which host serves.

pub(crate) mod commands;
pub(crate) mod version;
