//! An alert as answers and event streams show it.

use serde::Serialize;
use utoipa::ToSchema;

use ark_model::control::Alert;
use ark_store::AlertRow;

/// An alert with its number.
#[derive(Serialize, ToSchema)]
pub(crate) struct AlertLine {
    /// The number: rising, possibly with gaps.
    seq: u64,
    /// The alert.
    #[serde(flatten)]
    alert: Alert,
}

impl From<AlertRow> for AlertLine {
    fn from(AlertRow { seq, alert }: AlertRow) -> Self {
        Self { seq, alert }
    }
}
