//! The lock of a data directory, `ark.lock`: two hosts on one directory would each believe that it is the only writer.
//!
//! The file also attests how far the database got. It is written after every commit, so a database that lost its end or was replaced by an
//! older copy shows at the next start, however the host ended. It is not synced: after a power cut it may be behind the database, which is
//! synced first, and never ahead of it.
//!
//! Its lines: the process id, the attestation, and the name of the process ([`process_instance`]).

use std::fs::{File, OpenOptions};
use std::io::{Read, Result};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use ark_model::ids::{Digest, TraceId};

use crate::chain::ChainHead;
use crate::error::OpenError;
use crate::query::{select_rows, select_value};

use super::file_facts::FileFacts;
use super::ownership::{give_to_owner, no_follow};

/// The name of the file.
const LOCK_FILE: &str = "ark.lock";

/// The name of this process, made by chance when it is first asked for: whoever finds it in the lock's file and in an answer of a host knows that both are
/// of one process.
#[must_use]
pub fn process_instance() -> &'static str {
    static INSTANCE: LazyLock<String> = LazyLock::new(|| TraceId::fresh().to_string());
    &INSTANCE
}

/// How far a database got, and what it held that keeps a host closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabaseAttestation {
    /// The head of the audit log.
    pub(crate) audit: ChainHead,
    /// The head of the state's history.
    pub(crate) state: ChainHead,
    /// What kept its host closed.
    #[serde(flatten)]
    pub(crate) access: AccessMarks,
}

/// What a database holds that keeps its host closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessMarks {
    /// Whether it holds a token, so that no call is admitted without one.
    pub(crate) has_tokens: bool,
    /// Whether it holds a halt.
    pub(crate) is_halted: bool,
    /// The beginning of the digest of the agents in quarantine; 0: there is none.
    #[serde(default)]
    pub(crate) quarantines: u64,
    /// Whether a quarantine is in force that could not be recorded.
    #[serde(default)]
    pub(crate) has_unrecorded_quarantine: bool,
}

impl AccessMarks {
    /// Reads them from a database of schema 4 or later.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let holds = |table: &str| {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
            select_value(connection, &sql, [])
        };
        Ok(Self {
            has_tokens: holds("tokens")?,
            is_halted: holds("halts")?,
            quarantines: digest_quarantines(connection)?,
            has_unrecorded_quarantine: false,
        })
    }

    /// Whether agents that were in quarantine under these marks may not be in it under others.
    pub(crate) const fn loses_quarantines(&self, now: &Self) -> bool {
        self.has_unrecorded_quarantine
            || (self.quarantines != 0 && self.quarantines != now.quarantines)
    }
}

fn digest_quarantines(connection: &Connection) -> rusqlite::Result<u64> {
    let agents: Vec<String> = select_rows(
        connection,
        "SELECT agent FROM quarantines ORDER BY agent",
        [],
        |row| row.get(0),
    )?;
    if agents.is_empty() {
        return Ok(0);
    }
    let digest = Digest::hash_bytes(agents.join("\n").as_bytes());
    let mut start = [0; 8];
    start.copy_from_slice(&digest.as_bytes()[..8]);
    // 0 says that there is none.
    Ok(u64::from_le_bytes(start).max(1))
}

/// What the lock's file said when the lock was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockRecord {
    /// No host has ever had a database here.
    Unused,
    /// A host was here, and attests nothing: it was of an earlier version.
    HostRan,
    /// A host was here, and its database got this far.
    Attested(DatabaseAttestation),
}

impl LockRecord {
    /// Reads what the text of the file says.
    fn parse(content: &str) -> Self {
        let record = content.lines().nth(1).unwrap_or_default();
        match serde_json::from_str(record) {
            Ok(attestation) => Self::Attested(attestation),
            Err(_) if content.is_empty() => Self::Unused,
            Err(_) => Self::HostRan,
        }
    }

    /// Reads the file of a data directory without taking the lock: a host may run there.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        match std::fs::read(dir.join(LOCK_FILE)) {
            Ok(content) => Ok(Self::parse(&String::from_utf8_lossy(&content))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::Unused),
            Err(error) => Err(error),
        }
    }
}

/// Returns whether the lock's file of a data directory says that a host, or a command that writes, had a database here.
///
/// # Errors
/// The file cannot be read.
pub fn has_lock_record(dir: &Path) -> Result<bool> {
    Ok(LockRecord::read(dir)? != LockRecord::Unused)
}

/// Returns the process id, as its lock's file states it, of the host that runs on a data directory.
///
/// The lock is asked for in a form that does not exclude other readers, and given back at once.
pub(crate) fn find_lock_holder(dir: &Path) -> Option<String> {
    let mut file = File::open(lock_path(dir)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut content = String::new();
    // The process that holds the lock may not have written its process id yet.
    let _ = file.read_to_string(&mut content);
    let pid = content.lines().next().map_or("", str::trim);
    Some(if pid.is_empty() { "unknown" } else { pid }.to_owned())
}

/// The process that has a data directory to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostProcess {
    /// There is none.
    None,
    /// It is this one: it wrote its id into the lock's file, and has that file open.
    Found(u32),
    /// There is one that cannot be told: it is in another container, or this process may not look at it.
    Hidden,
}

/// Finds the process that holds the lock of a data directory. Where it is found, the lock is not touched: a host that starts meanwhile gets it.
pub(crate) fn find_lock_process(dir: &Path) -> HostProcess {
    let path = lock_path(dir);
    if let Some(pid) = read_stated_process(&path).filter(|pid| has_open(*pid, &path)) {
        return HostProcess::Found(pid);
    }
    find_lock_holder(dir).map_or(HostProcess::None, |_| HostProcess::Hidden)
}

/// When the lock's file was written last: a process that takes the lock writes its id, and a host writes after each commit. `None`: there is no file.
pub(crate) fn read_lock_moment(dir: &Path) -> Option<SystemTime> {
    std::fs::metadata(lock_path(dir)).ok()?.modified().ok()
}

/// The name of the process that took the lock last ([`process_instance`]). `None`: it was of a version that wrote none, or the file cannot be read.
pub(crate) fn read_lock_instance(dir: &Path) -> Option<String> {
    let content = std::fs::read_to_string(lock_path(dir)).ok()?;
    let instance = content.lines().nth(2)?.trim();
    (!instance.is_empty()).then(|| instance.to_owned())
}

fn read_stated_process(path: &Path) -> Option<u32> {
    let content = std::fs::read_to_string(path).ok()?;
    content.lines().next()?.trim().parse().ok()
}

/// Whether a process has a file open. A number alone says nothing: it may be one of another container, or be in use again.
#[must_use]
pub fn has_open(pid: u32, path: &Path) -> bool {
    let (Ok(wanted), Ok(files)) = (
        std::fs::metadata(path),
        std::fs::read_dir(format!("/proc/{pid}/fd")),
    ) else {
        return false;
    };
    files.flatten().any(|file| {
        std::fs::metadata(file.path())
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    })
}

/// The path of the lock's file in a data directory.
pub(crate) fn lock_path(dir: &Path) -> PathBuf {
    dir.join(LOCK_FILE)
}

/// The lock. It is released when it is dropped or when its process ends, however that happens.
pub(crate) struct DirLock {
    file: File,
    path: PathBuf,
    found: LockRecord,
    /// How many bytes the file has.
    bytes: AtomicU64,
}

impl DirLock {
    /// Takes the lock. In the file of an earlier host, the process id is replaced for a process that is refused; an empty file stays empty until
    /// [`DirLock::attest`], when there is a database to attest.
    pub(crate) fn acquire(dir: &Path) -> std::result::Result<Self, OpenError> {
        let failed = |cause| OpenError::Directory {
            dir: dir.to_owned(),
            cause,
        };
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(&path)
            .map_err(failed)?;
        give_to_owner(&path, dir).map_err(failed)?;
        let is_taken = flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        let mut content = Vec::new();
        let read = file.read_to_end(&mut content);
        let content = String::from_utf8_lossy(&content);
        let mut lines = content.lines();
        let pid = lines.next().map_or("", str::trim);
        if is_taken {
            let pid = if pid.is_empty() { "unknown" } else { pid };
            return Err(OpenError::Locked {
                dir: dir.to_owned(),
                pid: pid.to_owned(),
            });
        }
        read.map_err(failed)?;
        let record = lines.next().unwrap_or_default();
        let found = LockRecord::parse(&content);
        let lock = Self {
            bytes: AtomicU64::new(content.len() as u64),
            file,
            path,
            found,
        };
        if found != LockRecord::Unused {
            lock.write_record(record).map_err(failed)?;
        }
        Ok(lock)
    }

    /// What the file said when the lock was taken.
    pub(crate) const fn found(&self) -> LockRecord {
        self.found
    }

    /// The heads of the audit log and of the state's history that the last host attested; `None`: it attested nothing.
    pub(crate) const fn found_heads(&self) -> Option<(ChainHead, ChainHead)> {
        match self.found {
            LockRecord::Attested(attestation) => Some((attestation.audit, attestation.state)),
            LockRecord::HostRan | LockRecord::Unused => None,
        }
    }

    /// What kept the last host closed; `None`: no host attested it.
    pub(crate) const fn found_access(&self) -> Option<AccessMarks> {
        match self.found {
            LockRecord::Attested(attestation) => Some(attestation.access),
            LockRecord::HostRan | LockRecord::Unused => None,
        }
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the facts of the file that is locked, wherever its path leads by now.
    pub(crate) fn read_facts(&self) -> Result<FileFacts> {
        FileFacts::read_open(&self.file)
    }

    /// Attests how far the database got.
    pub(crate) fn attest(&self, attestation: &DatabaseAttestation) -> Result<()> {
        self.write_record(&serde_json::to_string(attestation)?)
    }

    /// Writes process id, record and name with one call, so that a kill leaves those of before or these.
    fn write_record(&self, record: &str) -> Result<()> {
        let (pid, instance) = (std::process::id(), process_instance());
        let content = format!("{pid}\n{record}\n{instance}\n");
        self.file.write_all_at(content.as_bytes(), 0)?;
        let bytes = content.len() as u64;
        if self.bytes.swap(bytes, Ordering::Relaxed) > bytes {
            self.file.set_len(bytes)?;
        }
        Ok(())
    }
}
