//! Proposals and decisions: judgement, approvals, what operators attest, explanation and replay.

mod approvals;
mod explain;
mod lists;
mod replay;
mod serving;
