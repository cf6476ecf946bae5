//! Capsules: what a failed invocation leaves behind, so that it can be run again offline.
//!
//! A capsule helps to find a cause; it is no record. The record is the failure's row in the audit log, which holds the capsule's digest. So a
//! capsule that cannot be written is logged, and the failure is recorded without it.
//!
//! A capsule holds the signal and the recorded answers of host calls as they came, unredacted, since a replay needs them. The agent's own words
//! (reason, backtrace, log) are redacted.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hrm::redaction::redact_text;
use ark_model::check::clip_for_error;
use ark_model::ids::{Digest, Millis};
use ark_model::signal::Signal;
use ark_runtime::{
    Agent, InvocationFailure, InvocationReport, Limits, LogLine, Manifest, Recording,
};

/// The version of the file format. Files of another version are not read.
const VERSION: u32 = 1;
/// How many lines of the log a capsule keeps that is too large with all of them.
const MAX_CLIPPED_LINES: usize = 20;

/// What a failed invocation leaves behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// The version of the file format.
    pub version: u32,
    /// The id of the failure in the audit log.
    pub id: String,
    /// When the invocation failed.
    pub at_ms: Millis,
    /// SHA-256 of the component.
    pub component: Digest,
    /// The agent's manifest.
    pub manifest: Manifest,
    /// The limits it ran under.
    pub limits: Limits,
    /// The kind of failure.
    pub kind: String,
    /// Why it failed, redacted.
    pub reason: String,
    /// The WebAssembly backtrace or what the agent reports beyond its reason, redacted; empty when there is none.
    pub backtrace: String,
    /// Fuel used.
    pub fuel: u64,
    /// The most memory held at one time, in bytes.
    pub memory_peak: usize,
    /// Host calls made.
    pub host_calls: u32,
    /// How long it ran, in microseconds.
    pub duration_us: u64,
    /// What it logged, redacted.
    pub log: Vec<LogLine>,
    /// The signal it handled.
    pub signal: Signal,
    /// The answers to its host calls, its clock readings and the seed of its randomness.
    pub recording: Recording,
}

/// Why a capsule cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleError {
    /// No capsule has this id.
    #[error("there is no capsule {0}; `ark agent capsules` lists them")]
    Unknown(String),
    /// The file or directory cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The file is no capsule of this version of the format.
    #[error("{path} is no capsule of version {VERSION}: {problem}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Capsule {
    /// Returns the capsule of a failed invocation. `id` is the failure's id in the audit log.
    #[must_use]
    pub fn from_failure(
        id: &str,
        at: Millis,
        agent: &Agent,
        signal: &Signal,
        report: &InvocationReport,
        failure: &InvocationFailure,
    ) -> Self {
        let redact = |line: &LogLine| LogLine {
            level: line.level,
            text: redact_text(&line.text),
        };
        Self {
            version: VERSION,
            id: id.to_owned(),
            at_ms: at,
            component: agent.digest(),
            manifest: Manifest::clone(agent.manifest()),
            limits: agent.limits().clone(),
            kind: failure.kind().to_owned(),
            reason: redact_text(&agent.describe_failure(failure)),
            backtrace: redact_text(failure.backtrace()),
            fuel: report.fuel,
            memory_peak: report.memory_peak,
            host_calls: report.host_calls,
            duration_us: u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX),
            log: report.log.iter().map(redact).collect(),
            signal: signal.clone(),
            recording: report.recording.clone(),
        }
    }

    /// Returns the file's bytes. A capsule of more than `max_bytes` loses its recorded host calls and most of its log, then its payload and
    /// backtrace are clipped; what is dropped is counted, and its replay says that it is not exact. What is left can still be larger than
    /// `max_bytes`, by what the manifest and the clipped texts take.
    pub(super) fn encode_within(mut self, max_bytes: usize) -> Result<Vec<u8>, serde_json::Error> {
        let bytes = serde_json::to_vec_pretty(&self)?;
        if bytes.len() <= max_bytes {
            return Ok(bytes);
        }
        let dropped = u32::try_from(self.recording.calls.len()).unwrap_or(u32::MAX);
        self.recording.dropped = self.recording.dropped.saturating_add(dropped);
        self.recording.calls.clear();
        self.log.truncate(MAX_CLIPPED_LINES);
        for line in &mut self.log {
            line.text = clip_for_error(&line.text);
        }
        let bytes = serde_json::to_vec_pretty(&self)?;
        if bytes.len() <= max_bytes {
            return Ok(bytes);
        }
        self.recording.dropped = self.recording.dropped.saturating_add(1);
        let payload = clip_for_error(&self.signal.payload_json);
        self.signal.payload_json = serde_json::json!(payload).to_string();
        self.backtrace = clip_for_error(&self.backtrace);
        serde_json::to_vec_pretty(&self)
    }
}

/// Reads a capsule's file.
///
/// # Errors
/// [`CapsuleError::Unreadable`] and [`CapsuleError::Malformed`].
pub fn read_capsule(path: &Path) -> Result<Capsule, CapsuleError> {
    let bytes = fs::read(path).map_err(|source| CapsuleError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let malformed = |problem: String| CapsuleError::Malformed {
        path: path.to_owned(),
        problem,
    };
    let capsule: Capsule =
        serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    if capsule.version != VERSION {
        return Err(malformed(format!("it is of version {}", capsule.version)));
    }
    Ok(capsule)
}
