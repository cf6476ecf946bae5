//! How a canary ended.

use std::path::PathBuf;

use serde::Serialize;

use super::analysis::Tripwire;
use super::takeover::TakeOver;

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
    /// Steps that could not be recorded at the host.
    pub unrecorded: Vec<String>,
}
