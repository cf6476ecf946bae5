//! The words of ARK as Rust types: what is proposed, what the host attests, what policies say, what was decided.
//!
//! `action`, `facts` and `verdict` are the Rust side of `wit/types/types.wit`: the same types cross into components (wasmtime
//! checks them against the WIT when a component is linked), go into JSON and into the audit log, so one thing has one definition.
//!
//! Invariants: an [`action::Action`] that left [`form`] holds only finite numbers in their documented ranges; serialising a
//! model type is canonical (fixed field order, sorted object keys), so equal values have equal bytes and equal digests.
//!
//! Must not know: HTTP, `SQLite`, threads, or how a component is run.

pub mod action;
pub mod check;
pub mod control;
pub mod decision;
pub mod facts;
pub mod form;
pub mod ids;
pub mod meters;
pub mod policy;
pub mod principal;
pub mod settings;
pub mod signal;
pub mod state;
pub mod verdict;
