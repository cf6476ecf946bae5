//! Revisions of agents' state, as they are shown: secrets are masked.

use ark_model::ids::{Millis, TraceId};

/// The content of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A value, as JSON text.
    Plain(String),
    /// A secret. Only its agent can read it.
    Secret,
    /// The key was deleted.
    Deleted,
}

/// One revision of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The number: from 1, contiguous per key.
    pub revision: u64,
    /// The content.
    pub content: Content,
    /// When it was written.
    pub at: Millis,
    /// The trace it was written in.
    pub trace_id: Option<TraceId>,
    /// Who wrote it: `agent`, an operator's name, or `rollback to N`.
    pub origin: String,
}

/// A key that exists, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// The key.
    pub key: String,
    /// The last revision.
    pub revision: u64,
    /// The content.
    pub content: Content,
    /// When the last revision was written.
    pub at: Millis,
}

/// The earlier revision that a rollback writes again.
///
/// The `Debug` text of this type is part of the idempotency digests that earlier versions stored: its names do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackTarget {
    /// The revision this many before the current one.
    Steps(u64),
    /// The revision with this number.
    Revision(u64),
}
