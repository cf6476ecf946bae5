//! Who calls, and whether they may.

pub mod access;
mod caller;
mod gate;

pub(crate) use caller::Caller;
pub(crate) use gate::{Auth, pass_gate};
