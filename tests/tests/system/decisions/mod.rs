//! Proposals and decisions: judgement, approvals, what operators attest, explanation and replay.

mod action_types;
mod approvals;
mod clock;
mod derived_rows;
mod disguised;
mod executions;
mod explain;
mod instruments;
mod lists;
mod original;
mod redaction;
mod releases;
mod repeats;
mod replay;
mod serving;
