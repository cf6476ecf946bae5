//! The topics on which the host announces to agents what it did. They are the host's own: no agent and no caller can send on them.

/// Decisions on actions other than messages.
pub const DECISION_TOPIC: &str = "ark.decision";
/// Execution reports.
pub const EXECUTION_TOPIC: &str = "ark.execution";
/// Alerts, orders among them.
pub const ALERT_TOPIC: &str = "ark.alert";
