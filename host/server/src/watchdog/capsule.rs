//! Capsules: what a failed invocation leaves behind, so that it can be run again offline.
//!
//! One file each, `capsules/AGENT/TIME-ID.json` in the data directory, readable by the host's user only: the signal stands in it as it
//! came. Each is bounded in size, each agent in their number, all of them in their sum and their age; what has to go is the oldest.
//!
//! A capsule is a help, not a record: the record is the audit log's failure row, which holds the capsule's digest. So a capsule that cannot
//! be written is logged and the failure recorded without it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use ark_model::ids::{Digest, Millis, Name};
use ark_model::signal::Signal;
use ark_runtime::{
    Agent, InvocationFailure, InvocationReport, Limits, LogLine, Manifest, Recording,
};

/// The form of the file that this program writes.
const VERSION: u32 = 1;

/// How much is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CapsuleRetention {
    /// The largest capsule, in bytes.
    pub capsule_bytes: usize,
    /// Capsules of one agent.
    pub per_agent: usize,
    /// All capsules together, in bytes.
    pub total_bytes: u64,
    /// Days after which a capsule goes.
    pub days: u64,
}

impl Default for CapsuleRetention {
    fn default() -> Self {
        Self {
            capsule_bytes: 1024 * 1024,
            per_agent: 50,
            total_bytes: 256 * 1024 * 1024,
            days: 30,
        }
    }
}

/// What a failed invocation leaves behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// The form of this file.
    pub version: u32,
    /// The id of the failure in the audit log.
    pub id: String,
    /// When it failed.
    pub at_ms: Millis,
    /// SHA-256 of the component.
    pub component: Digest,
    /// The agent's manifest.
    pub manifest: Manifest,
    /// The limits it ran under.
    pub limits: Limits,
    /// The failure's kind.
    pub kind: String,
    /// The failure in words.
    pub reason: String,
    /// The WebAssembly backtrace, where it trapped.
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
    /// The input.
    pub signal: Signal,
    /// What it was told from outside.
    pub recording: Recording,
}

/// Why a capsule cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleError {
    /// There is none.
    #[error("there is no capsule {0}; `ark agent capsules` lists them")]
    Unknown(String),
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not one, or of another version of this program.
    #[error("{path} is no capsule of version {VERSION}: {problem}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A capsule's name on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapsuleFile {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    written: SystemTime,
}

impl Capsule {
    /// Of a failure.
    #[must_use]
    pub fn from_failure(
        id: &str,
        at: Millis,
        agent: &Agent,
        signal: &Signal,
        report: &InvocationReport,
        failure: &InvocationFailure,
    ) -> Self {
        let backtrace = match failure {
            InvocationFailure::Trap { backtrace, .. } => backtrace.clone(),
            _ => String::new(),
        };
        let redact = |line: &LogLine| LogLine {
            level: line.level,
            text: crate::hrm::redaction::redact_text(&line.text),
        };
        Self {
            version: VERSION,
            id: id.to_owned(),
            at_ms: at,
            component: agent.digest(),
            manifest: Manifest::clone(agent.manifest()),
            limits: agent.limits().clone(),
            kind: failure.kind().to_owned(),
            reason: failure.to_string(),
            backtrace,
            fuel: report.fuel,
            memory_peak: report.memory_peak,
            host_calls: report.host_calls,
            duration_us: u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX),
            log: report.log.iter().map(redact).collect(),
            signal: signal.clone(),
            recording: report.recording.clone(),
        }
    }

    /// As bytes, within the size: what is dropped for it is counted, and its replay says that it is not exact.
    fn encode_within(mut self, most: usize) -> Result<Vec<u8>, serde_json::Error> {
        let bytes = serde_json::to_vec_pretty(&self)?;
        if bytes.len() <= most {
            return Ok(bytes);
        }
        let dropped = u32::try_from(self.recording.calls.len()).unwrap_or(u32::MAX);
        self.recording.dropped = self.recording.dropped.saturating_add(dropped);
        self.recording.calls.clear();
        self.log.truncate(20);
        for line in &mut self.log {
            line.text = ark_model::check::clip_for_error(&line.text);
        }
        let bytes = serde_json::to_vec_pretty(&self)?;
        if bytes.len() <= most {
            return Ok(bytes);
        }
        self.recording.dropped = self.recording.dropped.saturating_add(1);
        self.signal.payload_json =
            serde_json::json!(ark_model::check::clip_for_error(&self.signal.payload_json))
                .to_string();
        self.backtrace = ark_model::check::clip_for_error(&self.backtrace);
        serde_json::to_vec_pretty(&self)
    }
}

/// The capsules of a data directory.
#[derive(Debug, Clone)]
pub struct CapsuleDirectory {
    dir: PathBuf,
    retention: CapsuleRetention,
}

impl CapsuleDirectory {
    /// Those in this data directory.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path, retention: CapsuleRetention) -> Self {
        Self {
            dir: data_dir.join("capsules"),
            retention,
        }
    }

    /// Writes one; its digest.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_capsule(&self, capsule: Capsule) -> std::io::Result<Digest> {
        let agent = capsule.manifest.name.clone();
        let dir = self.dir.join(agent.as_str());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        let name = format!("{:013}-{}.json", capsule.at_ms.0, capsule.id);
        let bytes = capsule
            .encode_within(self.retention.capsule_bytes)
            .map_err(std::io::Error::other)?;
        let unfinished = dir.join(format!(".{name}"));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        // Not synced: it is a help, and a failing agent must not make the disk busy for the others.
        let written = file
            .write_all(&bytes)
            .and_then(|()| fs::rename(&unfinished, dir.join(&name)));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        let mut own = list_files(&dir)?;
        own.sort_by(|a, b| a.path.cmp(&b.path));
        let surplus = own.len().saturating_sub(self.retention.per_agent);
        for old in own.iter().take(surplus) {
            let _ = fs::remove_file(&old.path);
        }
        Ok(Digest::hash_bytes(&bytes))
    }

    /// All capsules, oldest first; those of one agent when given.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn list_capsules(&self, agent: Option<&Name>) -> Result<Vec<CapsuleFile>, CapsuleError> {
        let unreadable = |path: &Path, source| CapsuleError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut found = Vec::new();
        let agents = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            other => other.map_err(|error| unreadable(&self.dir, error))?,
        };
        for entry in agents {
            let dir = entry.map_err(|error| unreadable(&self.dir, error))?;
            if agent.is_none_or(|agent| dir.file_name() == agent.as_str()) {
                found.extend(
                    list_files(&dir.path()).map_err(|error| unreadable(&dir.path(), error))?,
                );
            }
        }
        found.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
        Ok(found)
    }

    /// Finds one by its id, or by the path of its file.
    ///
    /// # Errors
    /// See [`CapsuleError`].
    pub fn find_capsule(&self, id_or_path: &str) -> Result<Capsule, CapsuleError> {
        let path = Path::new(id_or_path);
        if path.is_file() {
            return read_capsule(path);
        }
        let ending = format!("-{id_or_path}.json");
        let listed = self.list_capsules(None)?.into_iter().find(|listed| {
            listed
                .path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.ends_with(&ending))
        });
        match listed {
            Some(listed) => read_capsule(&listed.path),
            None => Err(CapsuleError::Unknown(ark_model::check::clip_for_error(
                id_or_path,
            ))),
        }
    }

    /// Removes what is too old or too much in sum.
    pub fn prune_capsules(&self) {
        let listed = match self.list_capsules(None) {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "capsules could not be looked through");
                return;
            }
        };
        let most_age = Duration::from_secs(self.retention.days.saturating_mul(86_400));
        let now = SystemTime::now();
        let mut total: u64 = listed.iter().map(|file| file.bytes).sum();
        for file in listed {
            let age = now.duration_since(file.written).unwrap_or_default();
            if age <= most_age && total <= self.retention.total_bytes {
                continue;
            }
            match fs::remove_file(&file.path) {
                Ok(()) => total = total.saturating_sub(file.bytes),
                Err(error) => {
                    tracing::warn!(%error, path = %file.path.display(), "a capsule could not be removed");
                }
            }
        }
    }
}

/// Reads a capsule's file.
///
/// # Errors
/// It cannot be read, or is none.
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

fn list_files(dir: &Path) -> std::io::Result<Vec<CapsuleFile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
            && let Ok(metadata) = fs::metadata(&path)
            && metadata.is_file()
        {
            found.push(CapsuleFile {
                path,
                bytes: metadata.len(),
                written: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
    }
    Ok(found)
}
