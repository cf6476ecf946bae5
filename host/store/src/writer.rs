//! The writer: one thread, one connection, one transaction for everything that waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::Connection;

use ark_model::meters::StoreMeters;

use super::audit::{self, Head};
use super::error::{CommitError, OpenError};
use super::metering;
use super::quota::Quota;
use super::secrets::SecretKey;
use super::unit::{CommitCallback, Receipt, Unit};
use super::{
    account, agents, approvals, control, fleet, history, ledger, lists, memory, operation,
    policies, session_log, signals, state, truth, verify,
};

/// After so many rows the head of the chain is anchored.
const ANCHOR_ROWS: u64 = 10_000;
/// After so long, at the latest, the heads are anchored, if anything was written.
const ANCHOR_INTERVAL: Duration = Duration::from_mins(1);
/// How often expired memories are dropped and, after a failure, it is tried whether the database can be written again.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(2);

pub(super) enum WriterMessage {
    /// With the moment it was submitted.
    Unit(Box<Unit>, CommitCallback, Instant),
    Barrier(Box<dyn FnOnce() + Send>),
    Recover(Sender<()>),
    Stop,
}

/// Why a unit is not part of the transaction.
pub(super) enum WriteError {
    /// The unit itself cannot be committed; the others can.
    Refused(CommitError),
    /// The database failed.
    Storage(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error)
    }
}

/// How the writer works.
pub(super) struct WriterOptions {
    /// How many units go into one transaction at most.
    pub(super) batch: usize,
    /// What encrypts secrets.
    pub(super) secret: Option<SecretKey>,
    /// The limit of the database's size.
    pub(super) quota: Option<Quota>,
    /// Rings at every commit.
    pub(super) commits: tokio::sync::watch::Sender<u64>,
    /// What counts commits.
    pub(super) meters: Arc<StoreMeters>,
}

pub(super) fn start_writer(
    connection: Connection,
    dir: &Path,
    options: WriterOptions,
    inbox: Receiver<WriterMessage>,
    writable: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, OpenError> {
    let failed = |error| OpenError::from_sqlite(dir, &error);
    let head = audit::read_audit_head(&connection).map_err(failed)?;
    let history = history::read_state_head(&connection).map_err(failed)?;
    options.meters.record_audit_head(head.seq, head.hash);
    let writer = Writer {
        connection,
        dir: dir.to_owned(),
        options,
        writable,
        head,
        history,
        anchored: (head.seq, history.seq),
        anchored_at: Instant::now(),
        failed_commit: None,
        maintained_at: Instant::now(),
    };
    std::thread::Builder::new()
        .name("ark-writer".to_owned())
        .spawn(move || writer.run(&inbox))
        .map_err(|source| OpenError::Directory {
            dir: dir.to_owned(),
            source,
        })
}

struct Writer {
    connection: Connection,
    dir: PathBuf,
    options: WriterOptions,
    writable: Arc<AtomicBool>,
    /// The head of the audit log.
    head: Head,
    /// The head of the state's history.
    history: Head,
    /// How far both were anchored, and when.
    anchored: (u64, u64),
    anchored_at: Instant,
    /// A commit failed and [`Message::Recover`] has not come yet: chained units are refused.
    failed_commit: Option<String>,
    maintained_at: Instant,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<WriterMessage>) {
        loop {
            let first = match inbox.recv_timeout(MAINTENANCE_INTERVAL) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut units = Vec::new();
            let mut barriers = Vec::new();
            let mut recover = None;
            let mut stop = false;
            let mut next = first;
            while let Some(message) = next {
                match message {
                    WriterMessage::Unit(unit, done, submitted) => {
                        units.push((unit, done, submitted))
                    }
                    WriterMessage::Barrier(then) => barriers.push(then),
                    WriterMessage::Recover(reply) => recover = Some(reply),
                    WriterMessage::Stop => stop = true,
                }
                // What stands behind a recovery belongs to the next batch, or it would be refused with the one before it.
                next = if stop || recover.is_some() || units.len() >= self.options.batch {
                    None
                } else {
                    inbox.try_recv().ok()
                };
            }
            if !units.is_empty() {
                self.write_units(units);
            }
            for then in barriers {
                then();
            }
            if let Some(reply) = recover {
                self.failed_commit = None;
                let _ = reply.send(());
            }
            if self.maintained_at.elapsed() >= MAINTENANCE_INTERVAL {
                self.run_maintenance();
            }
            if stop {
                break;
            }
        }
        for message in inbox.try_iter() {
            match message {
                WriterMessage::Unit(_, done, _) => done(Err(CommitError::Closed)),
                WriterMessage::Barrier(then) => then(),
                WriterMessage::Recover(_) | WriterMessage::Stop => {}
            }
        }
        self.anchor_heads();
        if let Err(error) = self
            .connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        {
            tracing::warn!(%error, "the last checkpoint failed; the next start will do it");
        }
    }

    fn write_units(&mut self, units: Vec<(Box<Unit>, CommitCallback, Instant)>) {
        let before = (self.head, self.history);
        let started = Instant::now();
        match self.run_transaction(&units) {
            Ok(results) => {
                self.writable.store(true, Ordering::Release);
                self.options
                    .commits
                    .send_modify(|count| *count = count.wrapping_add(1));
                let meters = &self.options.meters;
                meters.commit.record_since(started);
                meters.record_audit_head(self.head.seq, self.head.hash);
                for ((unit, done, submitted), result) in units.into_iter().zip(results) {
                    metering::count_unit(meters, &unit, &result, submitted);
                    done(result);
                }
                if self.head.seq - self.anchored.0 + self.history.seq - self.anchored.1
                    >= ANCHOR_ROWS
                {
                    self.anchor_heads();
                }
            }
            Err(error) => {
                self.writable.store(false, Ordering::Release);
                (self.head, self.history) = before;
                if !self.connection.is_autocommit()
                    && let Err(error) = self.connection.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "rollback failed");
                }
                tracing::error!(%error, units = units.len(), "commit failed: nothing of it counts");
                let reason = describe_storage_error(&error);
                self.failed_commit = Some(reason.clone());
                self.options.meters.failed_commits.increment();
                for (_, done, _) in units {
                    done(Err(CommitError::Storage(reason.clone())));
                }
            }
        }
    }

    fn run_transaction(
        &mut self,
        units: &[(Box<Unit>, CommitCallback, Instant)],
    ) -> rusqlite::Result<Vec<Result<Receipt, CommitError>>> {
        if let Some(quota) = &self.options.quota {
            quota.make_room(&self.connection)?;
        }
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let mut results = Vec::with_capacity(units.len());
        for (unit, ..) in units {
            if let Some(reason) = self.failed_commit.as_ref().filter(|_| unit.chained) {
                results.push(Err(CommitError::Storage(format!(
                    "a commit it was made on top of has failed: {reason}"
                ))));
                continue;
            }
            if !unit.needs_savepoint() {
                match self.write_unit(unit) {
                    Ok(receipt) => results.push(Ok(receipt)),
                    Err(WriteError::Refused(refusal)) => results.push(Err(refusal)),
                    Err(WriteError::Storage(error)) => return Err(error),
                }
                continue;
            }
            let heads = (self.head, self.history);
            self.connection
                .prepare_cached("SAVEPOINT unit")?
                .execute([])?;
            match self.write_unit(unit) {
                Ok(receipt) => results.push(Ok(receipt)),
                Err(WriteError::Refused(refusal)) => {
                    self.connection
                        .prepare_cached("ROLLBACK TO unit")?
                        .execute([])?;
                    (self.head, self.history) = heads;
                    results.push(Err(refusal));
                }
                Err(WriteError::Storage(error)) => return Err(error),
            }
            self.connection
                .prepare_cached("RELEASE unit")?
                .execute([])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(results)
    }

    fn write_unit(&mut self, unit: &Unit) -> Result<Receipt, WriteError> {
        let mut receipt = Receipt::default();
        if unit
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(WriteError::Refused(CommitError::DeadlineExceeded));
        }
        // What the HRM hands in it has compared already, with what is still on its way too.
        if let Some(record) = unit.idempotency.as_ref().filter(|_| !unit.chained)
            && let Some(seen) =
                ledger::find_idempotency(&self.connection, &record.scope, &record.key)?
        {
            return Err(WriteError::Refused(CommitError::AlreadyAnswered(seen)));
        }
        if !unit.operations.is_empty() {
            self.apply_operations(unit, &mut receipt)?;
        }
        let connection = &self.connection;
        if let Some(done) = &unit.delivery {
            signals::complete_delivery(connection, done)?;
        }
        for change in &unit.approvals {
            approvals::write_approval_change(connection, change)?;
        }
        for change in &unit.lists {
            lists::write_list_change(connection, change)?;
        }
        state::write_unit_state(
            connection,
            self.options.secret.as_ref(),
            &mut self.history,
            unit,
            &mut receipt.revisions,
        )?;
        if let Some(agent) = &unit.agent {
            let trace_id = unit.trace_id.map(|id| id.to_string());
            for new in &unit.memories {
                memory::write_memory(connection, agent, new, unit.at)?;
            }
            for write in &unit.truths {
                truth::write_truth(connection, agent, write, None, unit.at, trace_id.as_deref())?;
            }
        }
        for signal in &unit.signals {
            let written = signals::write_signal(connection, signal)?;
            let duplicate = matches!(written, signals::SignalReceipt::Duplicate { .. });
            if let Some(entry) = signal.audit_entry().filter(|_| !duplicate) {
                session_log::write_audit_line(connection, &entry)?;
                audit::append_entry(connection, &mut self.head, &entry)?;
            }
            receipt.signals.push(written);
        }
        for seq in &unit.outbox_done {
            signals::delete_outbox_row(connection, *seq)?;
        }
        session_log::write_unit_lines(connection, unit)?;
        for entry in &unit.audit {
            receipt
                .audit_seqs
                .push(audit::append_entry(connection, &mut self.head, entry)?);
        }
        for change in &unit.ledger {
            ledger::write_ledger_change(connection, change)?;
        }
        for message in &unit.outbox {
            signals::insert_outbox_message(connection, message)?;
        }
        if let Some(record) = &unit.idempotency {
            ledger::write_idempotency(connection, record, receipt.operations.first().copied())?;
        }
        for policy in &unit.policies {
            ledger::write_policy_record(connection, policy)?;
        }
        for change in &unit.policy_changes {
            policies::write_policy_change(connection, change)?;
        }
        for change in &unit.control {
            control::write_control_change(connection, change)?;
        }
        for change in &unit.agents {
            receipt.closed_deliveries += agents::write_agent_change(connection, change)?;
        }
        if let Some(place) = &unit.fleet {
            fleet::write_fleet_cursor(connection, place)?;
        }
        for alert in &unit.alerts {
            control::write_alert(connection, alert)?;
        }
        for change in &unit.account {
            account::write_account_change(connection, change)?;
        }
        if let Some(entries) = &unit.configured_lists {
            lists::replace_configured(connection, entries)?;
        }
        Ok(receipt)
    }

    fn apply_operations(&mut self, unit: &Unit, receipt: &mut Receipt) -> Result<(), WriteError> {
        let trace_id = unit.trace_id.map(|id| id.to_string());
        let mut writer = state::StateWriter {
            connection: &self.connection,
            secret: self.options.secret.as_ref(),
            head: &mut self.history,
            at: unit.at,
            trace_id: trace_id.as_deref(),
        };
        for change in &unit.operations {
            let (number, entry) = operation::apply_operation(&mut writer, change, unit.trace_id)?;
            session_log::write_audit_line(&self.connection, &entry)?;
            receipt.audit_seqs.push(audit::append_entry(
                &self.connection,
                &mut self.head,
                &entry,
            )?);
            receipt.operations.push(number);
        }
        Ok(())
    }

    /// Drops expired memories; and, since that is a write, finds out whether the database can be written again.
    fn run_maintenance(&mut self) {
        self.maintained_at = Instant::now();
        if self.anchored_at.elapsed() >= ANCHOR_INTERVAL {
            self.anchor_heads();
        }
        let dropped =
            memory::delete_expired_memories(&self.connection, ark_model::ids::Millis::now());
        if let Err(error) = &dropped {
            tracing::warn!(%error, "expired memories could not be dropped");
        }
        if self.writable.load(Ordering::Acquire) {
            return;
        }
        let room = match &self.options.quota {
            Some(quota) => quota.make_room(&self.connection),
            None => Ok(()),
        };
        // The new value differs from the old, so that a page is really written.
        let tried = room.and_then(|()| {
            self.connection.execute_batch(
                "BEGIN IMMEDIATE;
             INSERT INTO truth_map (key, value, confidence, sources, agent, at)
             VALUES ('ark.probe', hex(zeroblob(8192)), 1, '[]', 'ark', 0);
             DELETE FROM truth_map WHERE key = 'ark.probe';
             COMMIT;",
            )
        });
        match tried {
            Ok(()) => {
                tracing::info!("the database can be written again");
                self.writable.store(true, Ordering::Release);
            }
            Err(error) => {
                tracing::warn!(%error, "the database still cannot be written");
                if !self.connection.is_autocommit() {
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
            }
        }
    }

    fn anchor_heads(&mut self) {
        self.anchored_at = Instant::now();
        let heads = (self.head.seq, self.history.seq);
        if heads == self.anchored {
            return;
        }
        match verify::write_anchor(&self.dir, self.head, self.history) {
            Ok(()) => self.anchored = heads,
            Err(error) => {
                tracing::warn!(%error, "the audit log could not be anchored; tried again later");
            }
        }
    }
}

fn describe_storage_error(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => {
            "the disk (or the database's own limit) is full; free some space".to_owned()
        }
        Some(rusqlite::ErrorCode::ReadOnly) => {
            "the file system is read-only; remount it for writing".to_owned()
        }
        _ => error.to_string(),
    }
}
