//! What the store remembers of an idempotent request.

use ark_model::ids::Digest;

/// The request an idempotency key came with, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Where the key is unique, e.g. the agent's name.
    pub scope: String,
    /// The key.
    pub key: String,
    /// The digest of the request.
    pub request: Digest,
    /// The answer: an id, or what the caller needs to give the answer again. Empty in a unit: the writer stores the number of the unit's
    /// first change by an operator.
    pub answer: String,
}
