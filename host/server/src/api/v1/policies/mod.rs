//! Operator policies and the Graveyard.

pub(crate) mod changes;
pub(crate) mod graveyard;
mod problem;
pub(crate) mod reading;
mod requests;
pub(crate) mod view;
