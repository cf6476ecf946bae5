//! What operators attest: entries of the lists and figures of the account, from which facts are made.

use serde::{Deserialize, Serialize};

use ark_model::ids::{Millis, TraceId};
use ark_store::{List, ListEntry};

use super::idempotency::IdempotencyKey;

/// A fact that an operator attests.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// The fact.
    pub fact: AttestedFact,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// The operator.
    pub by: String,
    /// The reason, for the audit log.
    pub reason: String,
    /// The idempotency key, unique for the operator.
    pub idempotency: Option<IdempotencyKey>,
}

/// The facts that can be attested.
#[derive(Debug, Clone)]
pub enum AttestedFact {
    /// One entry of a list. In a list of instruments it takes the place of the entries in other spellings of the same symbol.
    List {
        /// The list.
        list: List,
        /// The key of the entry.
        key: String,
        /// The entry from now on. `None` takes it off the list.
        entry: Option<ListEntry>,
    },
    /// The capital, in the account's currency; greater than 0.
    Capital(f64),
    /// A result of today that no execution report contained, in the account's currency; a loss is negative.
    Result(f64),
}

/// The answer to an attestation that is durable. Stored as the answer of an idempotency key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttestationReceipt {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// When it came into force.
    pub at: Millis,
    /// Today's realised loss as a fraction of the capital, including this attestation.
    pub daily_loss: f64,
    /// The keys of the entries in other spellings that were taken off with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_spellings: Vec<String>,
}
