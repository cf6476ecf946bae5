//! The tables: for each what it holds, how the writer changes it, and the methods of [`crate::Reader`] that read it.
//!
//! A table knows neither the writer nor the unit that a change is part of.

pub(crate) mod audit;
pub(crate) mod control;
pub(crate) mod ledger;
pub(crate) mod signals;
pub(crate) mod state;
pub(crate) mod versions;
