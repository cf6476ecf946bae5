//! What agents keep in the Mutable Core: state, memories, truths. Values are JSON text, checked where they enter.

use serde::{Deserialize, Serialize};

/// A value of an agent's state with its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// One JSON value, as text.
    pub value_json: String,
    /// Its revision: from 1, contiguous per (agent, key); deletions count.
    pub revision: u64,
}

/// A write to an agent's state, buffered by an invocation until its commit. One per key: the last value wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The key: 1 to 256 bytes of UTF-8 without control characters.
    pub key: String,
    /// The new value (JSON text); `None` deletes.
    pub value_json: Option<String>,
    /// The revision the invocation saw (0: no such key) and that must still hold at commit. A commit that finds another fails whole.
    pub expected: u64,
}

/// Something an agent remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Its kind, e.g. `observation`.
    pub kind: String,
    /// Its content.
    pub content: String,
    /// A JSON object, as text.
    pub metadata_json: String,
}

/// A memory to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMemory {
    /// The memory.
    pub memory: Memory,
    /// How long it is kept, in seconds; `None`: for good.
    pub ttl_seconds: Option<u64>,
}

/// Something held true by all agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// One JSON value, as text.
    pub value_json: String,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// Where it is from.
    pub sources: Vec<String>,
}

/// A truth to be written under its key.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthWrite {
    /// The key: as for [`StateWrite::key`].
    pub key: String,
    /// What is held true.
    pub truth: Truth,
}
