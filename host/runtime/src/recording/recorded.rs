//! The content of a recording.

use ark_model::action::Action;
use ark_model::check::clip_for_error;
use ark_model::state::{Memory, StateEntry, Truth};
use serde::{Deserialize, Serialize};

use crate::services::Preview;

/// A host call that reached outside the invocation. Writes are not recorded, since they stay inside the invocation until its commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum HostCall {
    /// `state-get` of a key that the invocation has not written.
    StateGet {
        /// The key.
        key: String,
    },
    /// `state-list`.
    StateList {
        /// The prefix of the keys.
        prefix: String,
        /// The most keys to return.
        limit: u32,
    },
    /// `memory-recent`.
    MemoryRecent {
        /// The kind; absent: every kind.
        kind: Option<String>,
        /// The most memories to return.
        limit: u32,
    },
    /// `truth-get` of a key that the invocation has not written.
    TruthGet {
        /// The key.
        key: String,
    },
    /// `config-get`.
    ConfigGet {
        /// The key.
        key: String,
    },
    /// `check`.
    Check {
        /// The action.
        action: Box<Action>,
    },
}

/// The answer to a host call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostCallAnswer {
    /// The answer to `state-get`: the revision and, unless the key is deleted, the value.
    State(u64, Option<StateEntry>),
    /// The answer to `state-list`.
    Keys(Vec<String>),
    /// The answer to `memory-recent`.
    Memories(Vec<Memory>),
    /// The answer to `truth-get`.
    Truth(Option<Truth>),
    /// The answer to `config-get`.
    Config(Option<String>),
    /// The answer to `check`.
    Preview(Box<Preview>),
    /// The host could not answer: the reason.
    Unavailable(String),
    /// The answer was a secret, or the recording was full.
    Dropped,
}

/// A host call with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedCall {
    /// The call.
    #[serde(flatten)]
    pub call: HostCall,
    /// The answer.
    pub answer: HostCallAnswer,
}

/// Everything that an invocation received from outside, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The seed of its randomness.
    pub seed: [u8; 32],
    /// Its readings of the wall clock, in nanoseconds since the Unix epoch.
    pub wall_ns: Vec<u64>,
    /// Its readings of the monotonic clock, in nanoseconds since its start.
    pub monotonic_ns: Vec<u64>,
    /// Its host calls.
    pub calls: Vec<RecordedCall>,
    /// The number of answers and readings that were dropped.
    pub dropped: u32,
}

impl HostCall {
    /// Returns the call with its texts shortened.
    pub(super) fn shorten_call(self) -> Self {
        let clip = |text: String| clip_for_error(&text);
        match self {
            Self::StateGet { key } => Self::StateGet { key: clip(key) },
            Self::StateList { prefix, limit } => Self::StateList {
                prefix: clip(prefix),
                limit,
            },
            Self::MemoryRecent { kind, limit } => Self::MemoryRecent {
                kind: kind.map(clip),
                limit,
            },
            Self::TruthGet { key } => Self::TruthGet { key: clip(key) },
            Self::ConfigGet { key } => Self::ConfigGet { key: clip(key) },
            Self::Check { .. } => Self::StateGet {
                key: "(a check too large to be kept)".to_owned(),
            },
        }
    }
}

/// Returns about how many bytes a call and its answer take in a recording.
pub(super) fn recorded_size(call: &HostCall, answer: &HostCallAnswer) -> usize {
    const FRAME: usize = 64;
    let asked = match call {
        HostCall::StateGet { key } | HostCall::TruthGet { key } | HostCall::ConfigGet { key } => {
            key.len()
        }
        HostCall::StateList { prefix, .. } => prefix.len(),
        HostCall::MemoryRecent { kind, .. } => kind.as_ref().map_or(0, String::len),
        HostCall::Check { action } => {
            serde_json::to_vec(action).map_or(usize::MAX / 2, |json| json.len())
        }
    };
    let answered = match answer {
        HostCallAnswer::State(_, entry) => entry.as_ref().map_or(0, |entry| entry.value_json.len()),
        HostCallAnswer::Keys(keys) => keys.iter().map(|key| key.len() + 4).sum(),
        HostCallAnswer::Memories(memories) => memories
            .iter()
            .map(|memory| {
                FRAME + memory.kind.len() + memory.content.len() + memory.metadata_json.len()
            })
            .sum(),
        HostCallAnswer::Truth(truth) => truth.as_ref().map_or(0, |truth| {
            truth.value_json.len() + truth.sources.iter().map(String::len).sum::<usize>()
        }),
        HostCallAnswer::Preview(preview) => preview
            .verdicts
            .iter()
            .map(|(_, answers)| answers.len() * FRAME)
            .sum(),
        HostCallAnswer::Config(value) => value.as_ref().map_or(0, String::len),
        HostCallAnswer::Unavailable(reason) => reason.len(),
        HostCallAnswer::Dropped => 0,
    };
    FRAME.saturating_add(asked).saturating_add(answered)
}
