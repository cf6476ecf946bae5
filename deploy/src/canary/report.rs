//! How a canary ended, and what its take-over came to.

use std::path::PathBuf;

use serde::Serialize;

use super::analysis::Tripwire;

/// What a take-over came to.
#[derive(Debug, Clone, Serialize)]
pub struct TakeOver {
    /// The snapshot that was made before.
    pub snapshot: PathBuf,
    /// How many decisions the new version judged again, all alike.
    pub replayed: u64,
    /// From the order to stop the old host until the new one was ready, in milliseconds: requests were parked for no longer. Absent where that is not how
    /// long no host was there.
    pub pause_ms: Option<u64>,
    /// Why the pause is not known: an earlier run, which was killed, gave the order to stop, or the host had ended before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_unknown: Option<String>,
    /// How long the pause was expected to be before the stop, in milliseconds, where the new version migrates the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_pause_ms: Option<u64>,
    /// Which version serves, in words.
    pub serving: String,
}

/// How a canary ended.
#[derive(Debug, Clone, Serialize)]
pub struct CanaryReport {
    /// Its id.
    pub id: String,
    /// The new version.
    pub version: String,
    /// Whether it has all requests, and the data if that was asked for.
    pub promoted: bool,
    /// Why it went back.
    pub tripwire: Option<Tripwire>,
    /// Why, in words.
    pub reason: String,
    /// The share it had last.
    pub share_pct: u32,
    /// What the take-over came to.
    pub take_over: Option<TakeOver>,
    /// The file with an administrator's token that the way back made, since the database that was set aside had tokens and the one of before has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Why the weights of `HAProxy` are not those of before the canary, on a way back that did not need them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unweighed: Option<String>,
    /// Why the journal took no entry of the way back, which came to its end all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unnoted: Option<String>,
    /// Steps that could not be recorded at the host.
    pub unrecorded: Vec<String>,
}
