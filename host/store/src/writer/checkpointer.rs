//! The thread that writes the log back to the database beside the commits.
//!
//! `SQLite` lets one connection write while another makes a checkpoint. A pass copies the pages of thousands of frames and syncs the
//! database, which takes tens of milliseconds: on the writer's thread every answer would wait for it. The log is restarted only when all
//! of it is written back as a transaction begins, which never is so while commits go on; so the writer makes the last pass itself, over the
//! few frames that this thread has left (`checkpoint.rs`).
//!
//! Must not know: units, alerts.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use crate::error::OpenError;

/// How far a checkpoint got, in frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogState {
    /// How many frames the log has.
    pub(super) frames: u64,
    /// How many of them are written back.
    pub(super) written_back: u64,
}

/// Writes back what can be written back now, and waits for nobody.
///
/// # Errors
/// The log or the database cannot be read or written.
pub(super) fn write_log_back(connection: &Connection) -> rusqlite::Result<LogState> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        // -1: there is no log.
        let frames = |column| -> rusqlite::Result<u64> {
            Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
        };
        Ok(LogState {
            frames: frames(1)?,
            written_back: frames(2)?,
        })
    })
}

/// The handle to the thread.
pub(super) struct Checkpointer {
    requests: Option<Sender<()>>,
    shared: Arc<CheckpointState>,
    thread: Option<JoinHandle<()>>,
}

struct CheckpointState {
    /// Held while a checkpoint is made: `SQLite` makes one at a time, and refuses a second.
    turn: Mutex<()>,
    pass: Mutex<Pass>,
}

/// What is known of the last pass over the log.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pass {
    /// None was made since the log was begun.
    None,
    /// One was asked for, or is being made.
    Running,
    /// It got this far; `None`: it failed, which is logged.
    Ended(Option<LogState>),
}

impl Checkpointer {
    /// Starts the thread on a connection of its own, which writes nothing else.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        connection: Connection,
        database: Arc<File>,
        dir: PathBuf,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(CheckpointState {
            turn: Mutex::new(()),
            pass: Mutex::new(Pass::None),
        });
        let (requests, inbox) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("ark-checkpoint".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run_checkpoints(&connection, &database, &inbox, &shared)
            })
            .map_err(|cause| OpenError::Directory { dir, cause })?;
        Ok(Self {
            requests: Some(requests),
            shared,
            thread: Some(thread),
        })
    }

    /// What is known of the last pass.
    pub(super) fn last_pass(&self) -> Pass {
        *self.shared.pass.lock()
    }

    /// Whether the thread has ended, which only a panic makes it do before [`Checkpointer::stop`].
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Notes a pass that the writer made itself.
    pub(super) fn set_last_pass(&self, state: LogState) {
        *self.shared.pass.lock() = Pass::Ended(Some(state));
    }

    /// Forgets the last pass: the log was restarted.
    pub(super) fn forget_pass(&self) {
        let mut pass = self.shared.pass.lock();
        if matches!(*pass, Pass::Ended(_)) {
            *pass = Pass::None;
        }
    }

    /// Asks for a pass. Waits for nothing.
    pub(super) fn request_pass(&self) {
        *self.shared.pass.lock() = Pass::Running;
        if let Some(requests) = &self.requests {
            // A request that already waits will do.
            let _ = requests.try_send(());
        }
    }

    /// Waits until no pass is being made, and keeps the next one from beginning while the guard lives.
    pub(super) fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.shared.turn.lock()
    }

    /// Ends the thread, after the pass that is being made.
    pub(super) fn stop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that makes checkpoints ended in a panic");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run_checkpoints(
    connection: &Connection,
    database: &File,
    inbox: &Receiver<()>,
    shared: &CheckpointState,
) {
    while inbox.recv().is_ok() {
        let made = {
            let _turn = shared.turn.lock();
            write_log_back(connection)
        };
        if let Err(error) = &made {
            tracing::warn!(%error, "the write-ahead log could not be written back");
        }
        // `SQLite` syncs the database only in a pass that reaches the end of the log. Without this the writer's last pass would sync it all.
        if let Err(error) = database.sync_data() {
            tracing::warn!(%error, "the database could not be synced after a checkpoint; the last pass does it");
        }
        *shared.pass.lock() = Pass::Ended(made.ok());
    }
}
