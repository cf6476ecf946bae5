//! Commands on a data directory and on files, without a running host.

pub(crate) mod audit;
pub(crate) mod capsules;
pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod graveyard;
pub(crate) mod policy_diff;
pub(crate) mod version;
