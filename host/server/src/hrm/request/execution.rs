//! Execution reports: what an executor did with an approved action.

use serde_json::{Value, json};

use ark_model::execution::ExecutionStatus;
use ark_model::ids::{DecisionId, Digest, Fraction, TraceId};

use super::idempotency::IdempotencyKey;

/// An execution report.
#[derive(Debug, Clone)]
pub struct ExecutionReport {
    /// The reporter's id of the report. A report whose id the same reporter used before is acknowledged and changes nothing.
    pub execution_id: String,
    /// The decision that approved the action.
    pub decision_id: DecisionId,
    /// What became of the action.
    pub status: ExecutionStatus,
    /// Size carried out in all so far, as a fraction of the capital. `None`: all of it when it is filled, nothing more when it has ended otherwise.
    pub filled: Option<Fraction>,
    /// The price of what this report adds, in the account's currency.
    pub price: Option<f64>,
    /// The result of what this report adds, as a fraction of the capital; a loss is negative.
    pub realised: Option<f64>,
    /// The name of the token it came with.
    pub by: Option<String>,
}

/// The answer to an execution report that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionReceipt {
    /// Whether the report was recorded before; nothing was changed now.
    pub duplicate: bool,
    /// The trace of the decision.
    pub trace_id: TraceId,
}

impl ExecutionReport {
    /// Returns the scope of the reporter's ids: each reporter has its own.
    pub(in crate::hrm) fn idempotency_scope(&self) -> String {
        format!("execution:{}", self.reporter())
    }

    /// Returns the name of the reporter; empty for a caller without a token.
    pub(in crate::hrm) fn reporter(&self) -> &str {
        self.by.as_deref().unwrap_or_default()
    }

    /// Returns the key under which the report is recorded once: the reporter's id.
    pub(in crate::hrm) fn idempotency_key(&self) -> IdempotencyKey {
        let body = json!({
            "execution_id": self.execution_id,
            "decision_id": self.decision_id,
            "status": self.status,
            "filled_size_pct": self.filled,
            "price": self.price,
            "realized_pnl_pct": self.realised,
        });
        let key = self.execution_id.clone();
        IdempotencyKey::for_request(key, "report_execution", &Value::Null, &body)
            .with_legacy(self.legacy_digest())
    }

    /// The digest that versions before the canonical form stored: of a text that was the `Debug` form of this type as it was then.
    fn legacy_digest(&self) -> Digest {
        let status = match self.status {
            ExecutionStatus::Filled => "Filled",
            ExecutionStatus::PartiallyFilled => "PartiallyFilled",
            ExecutionStatus::Cancelled => "Cancelled",
            ExecutionStatus::Rejected => "Rejected",
            ExecutionStatus::Expired => "Expired",
        };
        let filled = self.filled.map_or_else(
            || "None".to_owned(),
            |filled| format!("Some(Fraction({:?}))", filled.get()),
        );
        let text = format!(
            "ExecutionReport {{ execution_id: {:?}, decision_id: DecisionId({}), status: {status}, filled: {filled}, price: {:?}, realised: {:?}, by: None }}",
            self.execution_id, self.decision_id, self.price, self.realised,
        );
        Digest::hash_bytes(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_an_earlier_version_is_that_of_its_frozen_text() {
        let report = ExecutionReport {
            execution_id: "x-\"1\"".to_owned(),
            decision_id: "0192f1e2-a3b4-7c5d-96e7-f8091a2b3c4d".parse().unwrap(),
            status: ExecutionStatus::PartiallyFilled,
            filled: Fraction::new(0.05),
            price: Some(64_250.5),
            realised: None,
            by: Some("executor".to_owned()),
        };
        // As the last version that hashed it wrote it.
        let text = r#"ExecutionReport { execution_id: "x-\"1\"", decision_id: DecisionId(0192f1e2-a3b4-7c5d-96e7-f8091a2b3c4d), status: PartiallyFilled, filled: Some(Fraction(0.05)), price: Some(64250.5), realised: None, by: None }"#;
        let key = report.idempotency_key();
        assert_eq!(key.legacy_digest, Some(Digest::hash_bytes(text.as_bytes())));
        assert!(key.matches(Digest::hash_bytes(text.as_bytes())));
        let other_sender = ExecutionReport {
            by: None,
            ..report.clone()
        };
        assert_eq!(other_sender.idempotency_key(), key);
        let other = ExecutionReport {
            price: None,
            ..report
        };
        assert_ne!(other.idempotency_key().request_digest, key.request_digest);
    }
}
