//! Actions: proposals, decisions, approvals, executions and traces.

mod approval_view;
pub(crate) mod approvals;
mod decision_export;
mod decision_form;
mod decision_query;
mod decision_text;
pub mod decision_view;
pub(crate) mod decisions;
pub(crate) mod executions;
pub mod held_action;
pub(crate) mod propose;
pub(crate) mod traces;
pub mod unread_parameters;
