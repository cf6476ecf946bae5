//! The command line: configuration, authoring of agents and policies, approvals.

mod agent_author;
mod approvals;
mod config;
mod policy_author;
