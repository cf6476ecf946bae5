//! The command line: what it prints, configuration, authoring of agents and policies, approvals.

mod agent_author;
mod approvals;
mod config;
mod doctor;
mod environment;
mod newcomer;
mod output;
mod policy_author;
