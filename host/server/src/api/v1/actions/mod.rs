//! Actions: proposals, decisions, approvals, executions and traces.

mod approval_view;
pub(crate) mod approvals;
pub mod decision_view;
pub(crate) mod decisions;
pub(crate) mod executions;
pub mod held_action;
pub(crate) mod propose;
pub(crate) mod traces;
