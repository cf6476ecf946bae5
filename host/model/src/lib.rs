//! The types that every part of ARK shares: what is proposed, what the host attests, what policies answer and what was decided.
//!
//! [`action`], [`facts`] and [`verdict`] are the Rust side of `wit/types/types.wit`. One definition serves three purposes: the value crosses
//! into a component, it is written as JSON, and it is hashed into the audit log.
//!
//! Invariants:
//!
//! * An [`action::Action`] that has passed [`check::check_action`] contains only finite numbers in their documented ranges, texts within their
//!   documented lengths and canonical JSON.
//! * Serialising a type of this crate is canonical: fields in declaration order, object keys sorted. Equal values have equal bytes and equal
//!   digests.
//!
//! This crate must not know HTTP, `SQLite`, threads, or how a component is run. It depends on wasmtime for one reason: the types above derive
//! `ComponentType`, `Lift` and `Lower`, which describe their layout in the component model, and Rust's orphan rule allows those impls only
//! here. The alternative, a second set of types in the runtime and a conversion between the two, would state every field twice. Nothing here
//! names an engine, a store or an instance.

pub mod action;
pub mod action_types;
pub mod check;
pub mod control;
pub mod decision;
pub mod deployment;
pub mod execution;
pub mod facts;
pub mod form;
pub mod ids;
pub mod loopback;
pub mod meters;
mod minute_window;
pub mod page;
pub mod policy;
pub mod principal;
pub mod printable;
pub mod problem;
pub mod settings;
pub mod signal;
pub mod similar;
pub mod size;
pub mod state;
pub mod usage;
pub mod verdict;

pub use ark_instrument as instrument;
pub use minute_window::MinuteWindow;
