//! What becomes of an approved action.

use serde::{Deserialize, Serialize};

/// The status that an execution report gives, as FIX names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ExecutionStatus {
    /// Carried out. Final.
    Filled,
    /// Carried out in part; further reports follow.
    PartiallyFilled,
    /// Cancelled. Final; what was filled before stays.
    Cancelled,
    /// Not carried out. Final.
    Rejected,
    /// Ended by time. Final; what was filled before stays.
    Expired,
}

impl ExecutionStatus {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
