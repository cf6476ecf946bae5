//! The Mutable Core: everything the host must not forget, in one `SQLite` database.
//!
//! One thread ([`writer`]) owns the only writing connection: it drains its queue, writes all units in one transaction, syncs once and
//! answers everyone. Readers have connections of their own and never block it. What is answered is on disk (`synchronous=FULL`).
//!
//! Invariants: audit rows form a hash chain from row 1 without a gap ([`audit`]); revisions are contiguous per (agent, key) from 1
//! ([`state`]); a signal is stored once per idempotency key and each of its deliveries is settled once ([`signals`]); a unit is committed
//! whole or not at all, in the order of submission.
//!
//! Must not know: wasmtime, policies, HTTP.

mod account;
mod agents;
mod approvals;
mod audit;
mod control;
mod error;
mod events;
mod fleet;
mod history;
mod ledger;
mod lists;
mod lock;
mod maintenance;
mod memory;
mod metering;
mod operation;
mod policies;
mod quota;
mod readers;
mod retention;
mod schema;
mod secrets;
mod session_log;
mod settings;
mod signals;
mod snapshot;
mod state;
mod tokens;
mod truth;
mod unit;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Sender, TrySendError};

use ark_model::meters::StoreMeters;

pub use account::{AccountChange, AccountRow};
pub use agents::{AGENT_DELETED, AgentChange, AgentVersion, NewAgentVersion, Rollout, Trial};
pub use approvals::{Approval, ApprovalChange, ApprovalFilter, ApprovalStatus};
pub use audit::{
    Anchor, AuditEntry, AuditFilter, AuditKind, AuditRow, ChainFault, ChainHead, ChainReport,
    audit_row_hash,
};
pub use control::{AlertFilter, AlertRow, ControlChange, ControlRows};
pub use error::{CommitError, OpenError, ReadError, SubmitError};
pub use events::EventCursor;
pub use fleet::FleetCursor;
pub use history::{Content, Revision, StateReport};
pub use ledger::{LedgerChange, LedgerRows, Position, PositionStatus};
pub use lists::{List, ListChange, ListEntry, ListRow};
pub use maintenance::{MaintenanceError, rekey_secrets};
pub use memory::{MemoryFilter, MemoryRow};
pub use operation::{Operation, OperatorChange};
pub use policies::{NewPolicyVersion, PolicyChange, PolicySlot, PolicyVersion};
pub use retention::{
    ARCHIVE_FORMAT, ArchiveHeader, ArchiveReport, ArchivedRows, archive_audit, check_archive,
};
pub use secrets::{SecretError, SecretKey, SecretKeyError};
pub use session_log::{SessionFilter, SessionRow};
pub use settings::Setting;
pub use signals::{
    DeliveryCompletion, DeliveryResult, DeliveryRow, ExpiredDelivery, NewSignal, OutboxMessage,
    OutboxRow, SignalKey, SignalReceipt, TRACE_ROWS, TraceRows,
};
pub use snapshot::{
    Manifest as SnapshotManifest, RestoreReport, SnapshotFile, check_snapshot, create_snapshot,
    restore_snapshot,
};
pub use state::{RollbackTarget, StateRow};
pub use tokens::{NewToken, TOKEN_PREFIX, TokenChange, TokenRefusal, TokenRow, TokenSecret};
pub use truth::TruthRow;
pub use unit::{CommitCallback, IdempotencyRecord, PolicyRecord, Receipt, Unit};

use readers::Readers;
use writer::WriterMessage;

/// Where and how the store keeps its data.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The data directory; made (mode 0700) when it is not there.
    pub dir: PathBuf,
    /// How many units may wait to be written.
    pub queue: usize,
    /// How many units go into one transaction at most.
    pub batch: usize,
    /// How many connections readers share.
    pub readers: usize,
    /// The size the database and its write-ahead log may grow to together, in bytes; `None`: until the disk is full.
    pub max_bytes: Option<u64>,
    /// What encrypts secrets; `None`: they can neither be read nor written.
    pub secret_key: Option<SecretKey>,
    /// What counts commits.
    pub meters: Arc<StoreMeters>,
}

impl StoreConfig {
    /// The defaults, in this directory.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            queue: 8192,
            batch: 512,
            readers: 4,
            max_bytes: None,
            secret_key: None,
            meters: Arc::default(),
        }
    }
}

/// A handle to the store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    messages: Sender<WriterMessage>,
    commits: tokio::sync::watch::Sender<u64>,
    writable: Arc<AtomicBool>,
    readers: Readers,
    secret: Option<SecretKey>,
    writer: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
    dir: PathBuf,
    _lock: lock::DirLock,
}

impl Store {
    /// Opens the store in its directory, making or migrating it as needed, and starts the writer.
    ///
    /// # Errors
    /// See [`OpenError`]: each says what to do.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        lock::create_dir(&config.dir)?;
        let lock = lock::DirLock::acquire(&config.dir)?;
        let path = database_path(&config.dir);
        lock::check_restore_finished(&config.dir)?;
        let connection = schema::open_writer(&path, config.max_bytes, config.secret_key.as_ref())?;
        schema::check_secret_key(&path, &connection, config.secret_key.as_ref())?;
        let writable = Arc::new(AtomicBool::new(true));
        let readers = Readers::open(&path, config.readers.max(1))?;
        let (messages, inbox) = crossbeam_channel::bounded(config.queue.max(1));
        let commits = tokio::sync::watch::Sender::new(0);
        let writer = writer::start_writer(
            connection,
            &config.dir,
            writer::WriterOptions {
                commits: commits.clone(),
                batch: config.batch.max(1),
                secret: config.secret_key.clone(),
                quota: config
                    .max_bytes
                    .map(|bytes| quota::Quota::new(&path, bytes)),
                meters: Arc::clone(&config.meters),
            },
            inbox,
            Arc::clone(&writable),
        )?;
        let inner = Inner {
            messages,
            commits,
            writable,
            readers,
            secret: config.secret_key.clone(),
            writer: std::sync::Mutex::new(Some(writer)),
            dir: config.dir.clone(),
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Hands a unit to the writer without waiting. `done` is called on the writer's thread once the unit is durable or has failed.
    ///
    /// # Errors
    /// The queue is full, or the store closed: `done` comes back, uncalled.
    pub fn submit(
        &self,
        unit: Unit,
        done: CommitCallback,
    ) -> Result<(), (SubmitError, CommitCallback)> {
        let unit = WriterMessage::Unit(Box::new(unit), done, Instant::now());
        let (message, reason) = match self.inner.messages.try_send(unit) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(message)) => (message, SubmitError::Full),
            Err(TrySendError::Disconnected(message)) => (message, SubmitError::Closed),
        };
        match message {
            WriterMessage::Unit(_, done, _) => Err((reason, done)),
            WriterMessage::Barrier(_) | WriterMessage::Recover(_) | WriterMessage::Stop => Ok(()),
        }
    }

    /// As [`Store::submit`], but waits for a place in the queue. When the store is closed, `done` is told so.
    pub fn submit_wait(&self, unit: Unit, done: CommitCallback) {
        if let Err(error) =
            self.inner
                .messages
                .send(WriterMessage::Unit(Box::new(unit), done, Instant::now()))
            && let WriterMessage::Unit(_, done, _) = error.into_inner()
        {
            done(Err(CommitError::Closed));
        }
    }

    /// Commits a unit and waits until it is durable.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing of the unit was committed.
    pub fn commit(&self, unit: Unit) -> Result<Receipt, CommitError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.submit_wait(
            unit,
            Box::new(move |result| {
                let _ = reply.send(result);
            }),
        );
        answer.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Calls `then` once everything submitted before is settled.
    pub fn call_after_pending(&self, then: Box<dyn FnOnce() + Send>) {
        if let Err(error) = self.inner.messages.send(WriterMessage::Barrier(then))
            && let WriterMessage::Barrier(then) = error.into_inner()
        {
            then();
        }
    }

    /// After a failed commit, units submitted as [`Unit::chained`] are refused until this was called: they were made on top of what failed.
    /// Returns when everything submitted before is settled.
    ///
    /// # Errors
    /// The store is closed.
    pub fn recover_writer(&self) -> Result<(), CommitError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.inner
            .messages
            .send(WriterMessage::Recover(reply))
            .map_err(|_| CommitError::Closed)?;
        answer.recv().map_err(|_| CommitError::Closed)
    }

    /// Whether the last commit succeeded.
    #[must_use]
    pub fn audit_writable(&self) -> bool {
        self.inner.writable.load(Ordering::Acquire)
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Writes what is queued, anchors the chain, checkpoints and ends the writer.
    pub fn close(&self) {
        let _ = self.inner.messages.send(WriterMessage::Stop);
        let writer = self
            .inner
            .writer
            .lock()
            .ok()
            .and_then(|mut writer| writer.take());
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the writer ended in a panic");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.messages.try_send(WriterMessage::Stop);
        if let Ok(mut writer) = self.writer.lock()
            && let Some(writer) = writer.take()
        {
            let _ = writer.join();
        }
    }
}

/// A store that is only read, while no host or another one runs on it: for `ark audit`.
pub struct ReadOnlyStore {
    readers: Readers,
    dir: PathBuf,
}

impl ReadOnlyStore {
    /// Opens the database of a data directory for reading.
    ///
    /// # Errors
    /// There is none, it is broken, or newer than this program.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = database_path(dir);
        if !path.is_file() {
            return Err(OpenError::Missing { path });
        }
        Ok(Self {
            // One for whoever walks the log, one for what is looked up on the way.
            readers: Readers::open(&path, 2)?,
            dir: dir.to_owned(),
        })
    }

    /// What is read stands in the tables of this program's schema.
    pub(crate) fn require_current_schema(&self) -> Result<(), ReadError> {
        let found = self.readers.with_connection(schema::read_version)?;
        if found == schema::SCHEMA_VERSION {
            return Ok(());
        }
        Err(ReadError(format!(
            "it has schema {found}, this program's is {}; start the host on it once",
            schema::SCHEMA_VERSION
        )))
    }

    pub(crate) const fn readers(&self) -> &Readers {
        &self.readers
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

fn database_path(dir: &Path) -> PathBuf {
    dir.join("ark.db")
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_maintenance;
#[cfg(test)]
mod tests_state;
