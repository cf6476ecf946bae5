//! Proposals and decisions: judgement, approvals, what operators attest, explanation and replay.

mod approvals;
mod explain;
mod instruments;
mod lists;
<<<<<<< HEAD
mod releases;
=======
mod redaction;
>>>>>>> b107047 (Rule 22 compares normalised actions before redaction; failures of agents are redacted; what redaction promises is tested over HTTP and with a guest)
mod replay;
mod serving;
