//! Versions of agents.

mod problem;
pub(crate) mod versions;
mod view;
