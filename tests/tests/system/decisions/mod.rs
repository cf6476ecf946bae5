//! Proposals and decisions: judgement, approvals, what operators attest, explanation and replay.

mod approvals;
mod explain;
mod instruments;
mod lists;
mod releases;
mod replay;
mod serving;
