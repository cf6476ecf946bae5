//! Recorded decisions, judged again outside a running host: replay of the audit log, evidence of one decision, comparison of policy versions.
//!
//! Nothing here writes to a database.

pub mod diff;
pub mod evidence;
pub mod library;
pub mod rejudge;
pub mod replay;
