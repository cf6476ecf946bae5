//! The writer's thread.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ark_model::ids::Millis;
use ark_model::meters::StoreMeters;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::Connection;
use tokio::sync::watch;

use crate::anchors::count_anchor_bytes;
use crate::database_limit::DatabaseLimit;
use crate::directory::{AccessMarks, DirLock, OpenFiles, WRITE_BYTES, name_holders};
use crate::error::{CommitError, OpenError, StorageError, WriteError};
use crate::health::StoreHealth;
use crate::query::execute_cached;
use crate::secrets::SecretKey;
use crate::tables::audit::{BodyPacker, DerivedRows, read_audit_head};
use crate::tables::state::{delete_expired_memories, read_state_head};
use crate::unit::{CommitCallback, Receipt, Unit};
use crate::usage::{UnitUsage, UsageBook};

use super::alerts::{DATABASE_LOCKED, WriterAlerts};
use super::checkpointer::Checkpointer;
use super::failures::FailureSpell;
use super::metering::count_unit;
use super::unit::{Heads, KeptRows, write_unit};

/// The heads are anchored after this many rows.
const ANCHOR_ROWS: u64 = 10_000;
/// The heads are anchored after this time at the latest, if anything was written.
const ANCHOR_INTERVAL: Duration = Duration::from_mins(1);
/// How often expired memories are deleted and the files are looked at.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(2);
/// How often, after a failed commit, it is tried whether the database can be written again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long a transaction waits for the lock of another process, or for who reads from a log that has outgrown its part. Later transactions do not wait
/// until that has ended.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_millis(250);
/// The pause between two tries to get the lock, or to empty the log.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A message to the writer.
pub(crate) enum WriterMessage {
    /// Writes a unit.
    Unit(QueuedUnit),
    /// Calls a function once everything before it is durable or has failed.
    Barrier(Box<dyn FnOnce() + Send>),
    /// Lets chained units pass again after a failed commit, and replies.
    Recover(Sender<()>),
    /// Ends the writer once everything before it is durable or has failed.
    Stop,
}

/// A unit that waits for the writer.
pub(crate) struct QueuedUnit {
    pub(crate) unit: Box<Unit>,
    pub(crate) done: CommitCallback,
    /// When it was submitted.
    pub(crate) submitted: Instant,
}

/// How the writer works.
pub(crate) struct WriterOptions {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// How many units are written in one transaction at most.
    pub(crate) batch: usize,
    /// The key that encrypts secrets.
    pub(crate) secret_key: Option<SecretKey>,
    /// The limit of the database's size.
    pub(crate) database_limit: Option<DatabaseLimit>,
    /// A counter of commits.
    pub(crate) commits: watch::Sender<u64>,
    /// Whether the database can be written, for anyone who shows it.
    pub(crate) health: Arc<StoreHealth>,
    /// Where commits are counted.
    pub(crate) meters: Arc<StoreMeters>,
    /// How much each holder uses.
    pub(crate) usage: Arc<UsageBook>,
    /// Whether only the host's reserve is left of the limit.
    pub(crate) reserve_only: Arc<AtomicBool>,
    /// The lock of the data directory, whose file attests what was committed.
    pub(crate) lock: Arc<DirLock>,
    /// The files as they were opened.
    pub(crate) files: OpenFiles,
    /// How many frames the write-ahead log has: kept by the connection.
    pub(crate) log_frames: Arc<AtomicU64>,
    /// The bytes of a page.
    pub(crate) page_bytes: u64,
    /// After how many frames in the log it is written back.
    pub(crate) checkpoint_frames: u64,
}

/// The connections of the writer.
pub(crate) struct WriterConnections {
    /// The one that writes.
    pub(crate) writing: Connection,
    /// Writes the log back to the database, and nothing else.
    pub(crate) checkpoints: Connection,
    /// The database's file, to sync it.
    pub(crate) database: Arc<File>,
    /// Only reads: the database is copied from it should its files be lost.
    pub(crate) rescue: Connection,
}

/// Starts the writer's thread and that of its checkpoints. They end with [`WriterMessage::Stop`], or when nobody can send any more.
pub(crate) fn start_writer(
    connections: WriterConnections,
    options: WriterOptions,
    inbox: Receiver<WriterMessage>,
) -> Result<JoinHandle<()>, OpenError> {
    let WriterConnections {
        writing: connection,
        checkpoints,
        database,
        rescue,
    } = connections;
    let dir = options.dir.clone();
    let failed = |error| OpenError::from_sqlite(&dir, error);
    let heads = Heads {
        audit: read_audit_head(&connection).map_err(failed)?,
        state: read_state_head(&connection).map_err(failed)?,
    };
    options
        .meters
        .record_audit_head(heads.audit.seq, heads.audit.hash);
    let access = AccessMarks::read(&connection).map_err(failed)?;
    let anchors_bytes = count_anchor_bytes(&dir).map_err(|cause| OpenError::Directory {
        dir: dir.clone(),
        cause,
    })?;
    let checkpointer = Checkpointer::start(checkpoints, database, dir.clone())?;
    let mut writer = Writer {
        connection,
        checkpointer,
        held: None,
        rescue_connection: Some(rescue),
        rescue_thread: None,
        access,
        attests: true,
        options,
        heads,
        packer: BodyPacker::default(),
        derived: DerivedRows::default(),
        anchored: heads,
        anchored_at: Instant::now(),
        anchors_bytes,
        failed_commit: None,
        maintained_at: Instant::now(),
        log_is_full: false,
        alerts: WriterAlerts::default(),
        failures: FailureSpell::default(),
    };
    // Before the store is open: anyone who is refused the lock from then on reads whose it is.
    writer.attest_heads();
    std::thread::Builder::new()
        .name("ark-writer".to_owned())
        .spawn(move || writer.run(&inbox))
        .map_err(|cause| OpenError::Directory { dir, cause })
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) checkpointer: Checkpointer,
    /// Up to which frame a reader lets the log be written back, and since when.
    pub(super) held: Option<(u64, Instant)>,
    /// Copies the database should its files be lost.
    pub(super) rescue_connection: Option<Connection>,
    pub(super) rescue_thread: Option<JoinHandle<()>>,
    /// What the database holds that keeps the host closed.
    pub(super) access: AccessMarks,
    /// Whether the last attestation could be written.
    pub(super) attests: bool,
    pub(super) options: WriterOptions,
    pub(super) heads: Heads,
    /// Packs the bodies of decisions.
    packer: BodyPacker,
    /// What is derived from the audit log and not written yet.
    pub(super) derived: DerivedRows,
    /// The heads that were anchored last, and when.
    pub(super) anchored: Heads,
    pub(super) anchored_at: Instant,
    /// How many bytes the file of the anchors had after the last one.
    pub(super) anchors_bytes: u64,
    /// Why the last commit failed. Until [`WriterMessage::Recover`] comes, chained units are refused with it.
    pub(super) failed_commit: Option<Arc<StorageError>>,
    maintained_at: Instant,
    /// Whether the log had no room for the last batch.
    pub(super) log_is_full: bool,
    pub(super) alerts: WriterAlerts,
    pub(super) failures: FailureSpell,
}

/// What the writer takes from its queue at once.
#[derive(Default)]
struct CommitBatch {
    units: Vec<QueuedUnit>,
    barriers: Vec<Box<dyn FnOnce() + Send>>,
    recover: Option<Sender<()>>,
    stop: bool,
}

impl CommitBatch {
    /// Takes the first message and what waits behind it, up to `most` units.
    fn collect_units(
        first: Option<WriterMessage>,
        inbox: &Receiver<WriterMessage>,
        most: usize,
    ) -> Self {
        let mut batch = Self::default();
        let mut next = first;
        while let Some(message) = next {
            match message {
                WriterMessage::Unit(queued) => batch.units.push(queued),
                WriterMessage::Barrier(then) => batch.barriers.push(then),
                WriterMessage::Recover(reply) => batch.recover = Some(reply),
                WriterMessage::Stop => batch.stop = true,
            }
            // What is behind a recovery belongs to the next batch: it would be refused together with what is before it.
            next = if batch.stop || batch.recover.is_some() || batch.units.len() >= most {
                None
            } else {
                inbox.try_recv().ok()
            };
        }
        batch
    }
}

impl Writer {
    /// Raises an alert, unless the same was raised within a minute. To be called outside a transaction.
    pub(super) fn raise_alert(
        &mut self,
        kind: &'static str,
        message: String,
        observed: Option<u64>,
    ) {
        if self.alerts.raise(kind, message, observed) {
            self.store_alerts();
        }
    }

    /// Stores the alerts that could not be stored before; what still cannot be is kept.
    fn store_alerts(&mut self) {
        let health = &self.options.health;
        if self
            .alerts
            .store_all(&self.connection, |alert| health.record_alert(alert))
        {
            self.options
                .commits
                .send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    fn run(mut self, inbox: &Receiver<WriterMessage>) {
        loop {
            let pause = self.maintenance_interval();
            let first = match inbox.recv_timeout(pause) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let batch = CommitBatch::collect_units(first, inbox, self.options.batch);
            if !batch.units.is_empty() {
                self.write_units(batch.units);
            }
            for then in batch.barriers {
                then();
            }
            if let Some(reply) = batch.recover {
                self.failed_commit = None;
                let _ = reply.send(());
            }
            if self.maintained_at.elapsed() >= self.maintenance_interval() {
                self.maintained_at = Instant::now();
                match self.check_files() {
                    Ok(()) => self.run_maintenance(),
                    Err(loss) => self.record_loss(loss),
                }
            }
            if batch.stop {
                break;
            }
        }
        for message in inbox.try_iter() {
            match message {
                WriterMessage::Unit(queued) => (queued.done)(Err(CommitError::Closed)),
                WriterMessage::Barrier(then) => then(),
                WriterMessage::Recover(_) | WriterMessage::Stop => {}
            }
        }
        self.write_derived_rows();
        self.checkpointer.stop();
        self.finish_rescue();
        self.anchor_heads();
        if self.options.health.loss().is_some() {
            return;
        }
        if let Err(error) = self
            .connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        {
            tracing::warn!(%error, "the last checkpoint failed; the next start repeats it");
        }
    }

    /// How often [`Writer::run_maintenance`] is due.
    fn maintenance_interval(&self) -> Duration {
        if self.options.health.is_writable() || self.options.health.loss().is_some() {
            MAINTENANCE_INTERVAL
        } else {
            RETRY_INTERVAL
        }
    }

    /// Writes units in one transaction and answers all of them.
    fn write_units(&mut self, units: Vec<QueuedUnit>) {
        let units = self.refuse_without_room(units);
        if units.is_empty() {
            return;
        }
        let before = self.heads;
        let derived_before = self.derived.mark();
        let started = Instant::now();
        match self.run_transaction(&units) {
            Ok(results) => self.finish_commit(units, results, started),
            Err(cause) => {
                let cause = self.find_cause(cause);
                self.heads = before;
                self.derived.go_back(derived_before);
                self.packer.forget();
                self.roll_back();
                self.fail_commit(&cause, units.len());
                match &cause {
                    StorageError::FilesLost(loss) => self.record_loss(loss.clone()),
                    StorageError::Locked { holder } => {
                        let message = format!(
                            "another process holds the database's lock ({holder}), so nothing is approved: end it, or its transaction"
                        );
                        self.raise_alert(DATABASE_LOCKED, message, None);
                    }
                    _ => {}
                }
                self.attest_orders(&units);
                for queued in units {
                    (queued.done)(Err(CommitError::Storage(cause.clone())));
                }
            }
        }
    }

    /// Attests, counts and answers units that are durable.
    fn finish_commit(
        &mut self,
        units: Vec<QueuedUnit>,
        results: Vec<Result<Receipt, CommitError>>,
        started: Instant,
    ) {
        if !self.log_is_full {
            self.options.health.record_success();
        }
        if units.iter().any(|queued| queued.unit.changes_access()) {
            self.refresh_access();
        }
        self.attest_heads();
        self.options
            .commits
            .send_modify(|count| *count = count.wrapping_add(1));
        let meters = &self.options.meters;
        meters.commit.record_since(started);
        meters.record_audit_head(self.heads.audit.seq, self.heads.audit.hash);
        for (queued, result) in units.into_iter().zip(results) {
            if let Ok(receipt) = &result {
                let usage = &self.options.usage;
                let messages = (queued.unit.outbox.len(), queued.unit.outbox_done.len());
                usage.apply_unit(&receipt.usage, messages, started);
                count_unit(meters, &queued.unit, receipt, queued.submitted);
            }
            (queued.done)(result);
        }
        if self.rows_since_anchor() >= ANCHOR_ROWS {
            self.anchor_heads();
        }
        self.store_alerts();
        self.checkpoint_when_due();
    }

    /// Returns the result of each unit, in their order. An error means that the transaction failed, and with it every unit.
    fn run_transaction(
        &mut self,
        units: &[QueuedUnit],
    ) -> Result<Vec<Result<Receipt, CommitError>>, StorageError> {
        self.check_log().map_err(StorageError::FilesLost)?;
        self.begin_transaction()?;
        let reserve_only = self.check_reserve()?;
        self.packer.begin(&self.connection, !reserve_only)?;
        let mut kept = KeptRows::default();
        let mut results = Vec::with_capacity(units.len());
        for QueuedUnit { unit, .. } in units {
            let result = match &self.failed_commit {
                Some(cause) if unit.chained => Err(CommitError::Storage(
                    StorageError::Predecessor(Arc::clone(cause)),
                )),
                _ if reserve_only && !unit.may_use_reserve => {
                    Err(CommitError::Storage(StorageError::ReserveOnly))
                }
                _ if unit.needs_savepoint() => self.write_with_savepoint(unit, &mut kept)?,
                _ => self.write_one(unit, &mut kept)?,
            };
            results.push(result);
        }
        kept.write(&self.connection)?;
        let committed = results.iter().filter_map(|result| result.as_ref().ok());
        let usages = committed.map(|receipt| &receipt.usage);
        self.options.usage.save_totals(&self.connection, usages)?;
        let derived = self.choose_derived(units, reserve_only);
        if let Some(part) = derived {
            self.derived
                .write(&self.connection, self.heads.audit.seq, part)?;
        }
        // What is acknowledged must be where the next start looks for it.
        self.options
            .files
            .check()
            .map_err(StorageError::FilesLost)?;
        execute_cached(&self.connection, "COMMIT", [])?;
        if let Some(part) = derived {
            self.derived.forget_written(part);
        }
        self.derived.forget_excess();
        Ok(results)
    }

    /// Begins a transaction that writes. Another process's lock is waited for shortly, and not at all while it made the last commit fail.
    fn begin_transaction(&self) -> Result<(), StorageError> {
        let patience = if self.options.health.is_writable() {
            LOCK_PATIENCE
        } else {
            Duration::ZERO
        };
        let started = Instant::now();
        loop {
            let Err(error) = execute_cached(&self.connection, "BEGIN IMMEDIATE", []) else {
                return Ok(());
            };
            if error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) {
                return Err(error.into());
            }
            if started.elapsed() >= patience {
                let inode = self.options.files.index_inode();
                return Err(StorageError::Locked {
                    holder: name_holders(inode, &WRITE_BYTES),
                });
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }

    fn write_with_savepoint<'u>(
        &mut self,
        unit: &'u Unit,
        kept: &mut KeptRows<'u>,
    ) -> rusqlite::Result<Result<Receipt, CommitError>> {
        let heads = self.heads;
        let derived = self.derived.mark();
        kept.write(&self.connection)?;
        execute_cached(&self.connection, "SAVEPOINT unit", [])?;
        let result = self.write_one(unit, kept)?;
        if result.is_err() {
            kept.forget();
            execute_cached(&self.connection, "ROLLBACK TO unit", [])?;
            self.heads = heads;
            self.derived.go_back(derived);
        }
        execute_cached(&self.connection, "RELEASE unit", [])?;
        Ok(result)
    }

    fn write_one<'u>(
        &mut self,
        unit: &'u Unit,
        kept: &mut KeptRows<'u>,
    ) -> rusqlite::Result<Result<Receipt, CommitError>> {
        let secret_key = self.options.secret_key.as_ref();
        match write_unit(
            &self.connection,
            secret_key,
            &mut self.heads,
            (&mut self.packer, &mut self.derived, kept),
            unit,
        ) {
            Ok(receipt) => Ok(Ok(receipt)),
            Err(WriteError::Refused(refusal)) => Ok(Err(refusal)),
            Err(WriteError::Storage(error)) => Err(error),
        }
    }

    /// Ends a transaction that failed, unless `SQLite` has ended it.
    pub(super) fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rollback failed");
        }
    }

    /// Anchors the heads when it is time, deletes expired memories and, after a failed commit, tries whether the database can be written
    /// again.
    fn run_maintenance(&mut self) {
        self.failures.end_if_quiet(Instant::now());
        self.check_anchors();
        if self.anchored_at.elapsed() >= ANCHOR_INTERVAL {
            self.anchor_heads();
        }
        if self.options.health.is_writable() {
            if let Err(error) = self.delete_expired_memories() {
                tracing::warn!(%error, "expired memories could not be deleted");
            }
            if let Err(error) = self.check_reserve() {
                tracing::warn!(%error, "the size of the database cannot be read");
            }
            if !self.options.reserve_only.load(Ordering::Acquire) {
                self.write_derived_rows();
            }
            self.checkpoint_when_due();
            return;
        }
        self.log_is_full = !self.make_room(Duration::ZERO);
        if self.log_is_full {
            return;
        }
        match self.try_write() {
            Ok(()) => {
                self.options.health.record_success();
                self.store_alerts();
            }
            Err(error) => {
                tracing::debug!(%error, "the database still cannot be written");
                self.roll_back();
            }
        }
    }

    /// Deletes expired memories, whose agents get the bytes back in the same transaction.
    fn delete_expired_memories(&self) -> rusqlite::Result<()> {
        let mut usage = UnitUsage::default();
        let transaction = self.connection.unchecked_transaction()?;
        delete_expired_memories(&transaction, Millis::now(), &mut usage)?;
        self.options.usage.save_totals(&transaction, [&usage])?;
        transaction.commit()?;
        self.options.usage.apply_usage(&usage, Instant::now());
        Ok(())
    }

    /// Returns whether only the host's reserve is left of the limit, and lets readers know.
    fn check_reserve(&self) -> rusqlite::Result<bool> {
        let Some(database_limit) = &self.options.database_limit else {
            return Ok(false);
        };
        let reserve_only =
            database_limit.is_only_reserve_left(&self.connection, self.options.page_bytes)?;
        let before = self
            .options
            .reserve_only
            .swap(reserve_only, Ordering::AcqRel);
        if reserve_only && !before {
            tracing::error!("{}", StorageError::ReserveOnly);
        }
        Ok(reserve_only)
    }

    /// Writes a row and deletes it again.
    fn try_write(&self) -> rusqlite::Result<()> {
        // The row is larger than a page, so that a page is really written.
        self.connection.execute_batch(
            "BEGIN IMMEDIATE;
             INSERT INTO truth_map (key, value, confidence, sources, agent, at)
             VALUES ('ark.probe', hex(zeroblob(8192)), 1, '[]', 'ark', 0);
             DELETE FROM truth_map WHERE key = 'ark.probe';
             COMMIT;",
        )
    }
}
