//! The command line: what it prints, configuration, authoring of agents and policies, registries, approvals.

mod agent_author;
mod approvals;
mod config;
mod doctor;
mod environment;
mod newcomer;
mod output;
mod policy_author;
mod registry;
mod slips;
