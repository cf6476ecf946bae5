//! The handle to an open store.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ark_model::control::Alert;
use ark_model::usage::{QuotaHolder, Usage};
use crossbeam_channel::{Sender, TrySendError};
use rusqlite::Connection;
use tokio::sync::watch;

use crate::config::StoreConfig;
use crate::database_limit::{DatabaseLimit, checkpoint_frames};
use crate::directory::{self, AccessMarks, DatabaseEvidence, DirLock, FileFacts, OpenFiles};
use crate::error::{CommitError, OpenError, SubmitError};
use crate::health::StoreHealth;
use crate::offline::{begin_halt, check_recent_rows};
use crate::reader::Reader;
use crate::schema;
use crate::secrets::SecretKey;
use crate::tables::audit::write_missing_rows;
use crate::unit::{CommitCallback, Receipt, Unit};
use crate::usage::UsageBook;
use crate::writer::{self, QueuedUnit, WriterConnections, WriterMessage, WriterOptions};

/// A handle to the store. Cheap to clone. It dereferences to the [`Reader`], which has the methods that read.
#[derive(Clone)]
pub struct Store {
    inner: Arc<StoreState>,
    reader: Arc<Reader>,
    /// The last field, so that it is closed after every connection: closing any descriptor of a file takes the process's locks on it away
    /// (fcntl(2)), and `SQLite` relies on them.
    database: Arc<File>,
}

struct StoreState {
    messages: Sender<WriterMessage>,
    commits: watch::Sender<u64>,
    usage: Arc<UsageBook>,
    reserve_only: Arc<AtomicBool>,
    max_bytes: Option<u64>,
    health: Arc<StoreHealth>,
    secret_key: Option<SecretKey>,
    writer: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
    dir: PathBuf,
    _lock: Arc<DirLock>,
}

impl Store {
    /// Opens the store in its directory, creates or migrates the database as needed, and starts the writer.
    ///
    /// # Errors
    /// See [`OpenError`]; each message says what to do.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        let dir = &config.dir;
        if config.require_database && !dir.exists() {
            return Err(OpenError::DatabaseRequired { dir: dir.clone() });
        }
        directory::create_dir(dir)?;
        let lock = Arc::new(DirLock::acquire(dir)?);
        let path = directory::database_path(dir);
        directory::check_restore_finished(dir)?;
        let evidence = DatabaseEvidence::collect(dir, lock.found())?;
        evidence.check_present()?;
        if config.require_database && !directory::has_database(dir) {
            return Err(OpenError::DatabaseRequired { dir: dir.clone() });
        }
        let secret_key = config.secret_key.as_ref();
        let unmigrated = schema::connect_writer(&path, config.max_bytes)?;
        evidence.check_chains(&unmigrated.connection)?;
        let mut connection = unmigrated.migrate(&path, secret_key)?;
        directory::give_made(dir).map_err(|cause| OpenError::Directory {
            dir: dir.clone(),
            cause,
        })?;
        check_recent(&connection, &path)?;
        if let Err(error) = write_missing_rows(&mut connection) {
            // E.g. a full disk. Lists derive them, and the writer writes them once it can.
            tracing::warn!(%error, "lines of the session log and rows of the indices of the audit log are not written yet");
        }
        let usage = UsageBook::load(&connection)
            .map(Arc::new)
            .map_err(|error| OpenError::from_sqlite(&path, error))?;
        let reserve_only = Arc::new(AtomicBool::new(false));
        schema::check_secret_key(&path, &connection, secret_key)?;
        keep_halt(&mut connection, &lock).map_err(|error| OpenError::from_sqlite(&path, error))?;
        // From here on the writer waits for nobody by itself.
        connection
            .busy_timeout(Duration::ZERO)
            .map_err(|error| OpenError::from_sqlite(&path, error))?;
        let reader = schema::open_reader(&path, config.readers.max(1), secret_key)?;
        let log_frames = Arc::new(AtomicU64::new(0));
        let page_bytes = schema::count_log_frames(&mut connection, Arc::clone(&log_frames))
            .map_err(|error| OpenError::from_sqlite(&path, error))?;
        let files = OpenFiles::identify(dir, &lock).map_err(|cause| OpenError::Directory {
            dir: dir.clone(),
            cause,
        })?;
        let health = Arc::new(StoreHealth::new(dir.clone()));
        let (messages, inbox) = crossbeam_channel::bounded(config.queue.max(1));
        let commits = watch::Sender::new(0);
        let options = WriterOptions {
            dir: dir.clone(),
            batch: config.batch.max(1),
            secret_key: config.secret_key.clone(),
            database_limit: config
                .max_bytes
                .map(|bytes| DatabaseLimit::new(&path, bytes)),
            commits: commits.clone(),
            health: Arc::clone(&health),
            meters: Arc::clone(&config.meters),
            usage: Arc::clone(&usage),
            reserve_only: Arc::clone(&reserve_only),
            lock: Arc::clone(&lock),
            files,
            log_frames,
            page_bytes,
            checkpoint_frames: checkpoint_frames(config.max_bytes, page_bytes),
        };
        // To be synced beside the connections.
        let database = File::open(&path)
            .map(Arc::new)
            .map_err(|cause| OpenError::Directory {
                dir: dir.clone(),
                cause,
            })?;
        let connections = WriterConnections {
            writing: connection,
            checkpoints: schema::connect_checkpoints(&path)?,
            database: Arc::clone(&database),
            rescue: schema::open_connection(&path)?,
        };
        let writer = writer::start_writer(connections, options, inbox)?;
        Ok(Self {
            inner: Arc::new(StoreState {
                messages,
                commits,
                usage,
                reserve_only,
                max_bytes: config.max_bytes,
                health,
                secret_key: config.secret_key.clone(),
                writer: std::sync::Mutex::new(Some(writer)),
                dir: config.dir.clone(),
                _lock: lock,
            }),
            reader: Arc::new(reader),
            database,
        })
    }

    /// Hands a unit to the writer without waiting. The writer's thread calls `done` once the unit is durable or has failed.
    ///
    /// # Errors
    /// The queue is full, or the store is closed. Then `done` is returned and was not called.
    pub fn submit(
        &self,
        unit: Unit,
        done: CommitCallback,
    ) -> Result<(), (SubmitError, CommitCallback)> {
        let (message, reason) = match self.inner.messages.try_send(queued(Box::new(unit), done)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(message)) => (message, SubmitError::Full),
            Err(TrySendError::Disconnected(message)) => (message, SubmitError::Closed),
        };
        match message {
            WriterMessage::Unit(queued) => Err((reason, queued.done)),
            WriterMessage::Barrier(_) | WriterMessage::Recover(_) | WriterMessage::Stop => Ok(()),
        }
    }

    /// As [`Store::submit`], but waits for room in the queue. When the store is closed, `done` gets [`CommitError::Closed`].
    pub fn submit_blocking(&self, unit: impl Into<Box<Unit>>, done: CommitCallback) {
        if let Err(error) = self.inner.messages.send(queued(unit.into(), done))
            && let WriterMessage::Unit(queued) = error.into_inner()
        {
            (queued.done)(Err(CommitError::Closed));
        }
    }

    /// Whether half of the writer's queue is used: [`Store::submit_blocking`] may wait soon.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        let messages = &self.inner.messages;
        messages
            .capacity()
            .is_some_and(|most| messages.len() >= most / 2)
    }

    /// Returns a handle that reads with a connection of its own: it waits for no reads of other handles. Its clones share the connection.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn with_own_reader(&self) -> Result<Self, OpenError> {
        let path = directory::database_path(&self.inner.dir);
        let reader = schema::open_reader(&path, 1, self.inner.secret_key.as_ref())?;
        Ok(Self {
            inner: Arc::clone(&self.inner),
            reader: Arc::new(reader),
            database: Arc::clone(&self.database),
        })
    }

    /// Commits a unit and waits until it is durable.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing of the unit was committed.
    pub fn commit(&self, unit: Unit) -> Result<Receipt, CommitError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.submit_blocking(
            unit,
            Box::new(move |result| {
                let _ = reply.send(result);
            }),
        );
        answer.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Calls `then` once everything submitted before is durable or has failed; at once when the store is closed.
    pub fn call_after_pending(&self, then: Box<dyn FnOnce() + Send>) {
        if let Err(error) = self.inner.messages.send(WriterMessage::Barrier(then))
            && let WriterMessage::Barrier(then) = error.into_inner()
        {
            then();
        }
    }

    /// Lets [chained](Unit::chained) units pass again after a failed commit, which they would build on. Returns once everything submitted
    /// before is durable or has failed.
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
        self.inner.health.is_writable()
    }

    /// Why the last commit failed, unless it succeeded.
    #[must_use]
    pub fn describe_failure(&self) -> Option<String> {
        self.inner.health.describe_failure()
    }

    /// What happened to the database's files and what to do, if they were lost while the host was running. Then nothing is written any
    /// more, and what is read is what was acknowledged before.
    #[must_use]
    pub fn describe_loss(&self) -> Option<String> {
        self.inner.health.describe_loss()
    }

    /// Takes the alerts that the store raised itself and stored since the last call, so that they can be announced.
    #[must_use]
    pub fn take_alerts(&self) -> Vec<Alert> {
        self.inner.health.take_alerts()
    }

    /// Whether only the host's reserve is left of the limit of size. Then a unit is refused that may not use it.
    #[must_use]
    pub fn is_reserve_only(&self) -> bool {
        self.inner.reserve_only.load(Ordering::Acquire)
    }

    /// The limit of the size of the database and its log, in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> Option<u64> {
        self.inner.max_bytes
    }

    /// The size of the database and its log, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let files = ["ark.db", "ark.db-wal"].map(|name| self.inner.dir.join(name));
        let facts = files.iter().filter_map(|file| FileFacts::read(file).ok());
        facts.map(|found| found.bytes).sum()
    }

    /// How much a holder uses, as of the last commit.
    #[must_use]
    pub fn read_usage(&self, holder: &QuotaHolder) -> Usage {
        self.inner.usage.read_usage(holder, Instant::now())
    }

    /// How many messages are in the outbox.
    #[must_use]
    pub fn waiting_messages(&self) -> usize {
        self.inner.usage.waiting_messages()
    }

    /// A counter that changes after every commit.
    #[must_use]
    pub fn subscribe_commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Writes what is queued, anchors the chains, writes the write-ahead log back and ends the writer.
    pub fn close(&self) {
        let _ = self.inner.messages.send(WriterMessage::Stop);
        self.inner.join_writer();
    }
}

impl Deref for Store {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl StoreState {
    fn join_writer(&self) {
        let writer = self.writer.lock().ok().and_then(|mut slot| slot.take());
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the writer ended in a panic");
        }
    }
}

impl Drop for StoreState {
    fn drop(&mut self) {
        let _ = self.messages.try_send(WriterMessage::Stop);
        self.join_writer();
    }
}

/// Halts the host when a halt or a quarantine was in force that the last host could not record before it ended.
fn keep_halt(connection: &mut Connection, lock: &DirLock) -> rusqlite::Result<()> {
    let found = lock.found_access().unwrap_or_default();
    let reason = if found.is_halted {
        "a halt was in force when the last host ended, which could not record it"
    } else if found.has_unrecorded_quarantine {
        "a quarantine was in force when the last host ended, which could not record it: find the agent in the host's log, quarantine it again, then resume"
    } else {
        return Ok(());
    };
    if AccessMarks::read(connection)?.is_halted {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    begin_halt(&transaction, "host", reason)?;
    transaction.commit()
}

/// Refuses a database whose recent rows are not what was written.
fn check_recent(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let finding = check_recent_rows(connection);
    match finding.map_err(|error| OpenError::from_sqlite(path, error))? {
        None => Ok(()),
        Some(finding) => Err(OpenError::Damaged {
            path: path.to_owned(),
            finding,
        }),
    }
}

fn queued(unit: Box<Unit>, done: CommitCallback) -> WriterMessage {
    WriterMessage::Unit(QueuedUnit {
        unit,
        done,
        submitted: Instant::now(),
    })
}
