//! Versions of agents.

mod problem;
pub(crate) mod versions;
pub(crate) mod view;
