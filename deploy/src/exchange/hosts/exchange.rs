//! The hosts in an exchange: one is stopped, the other started.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ark_client::HostClient;
use ark_store::{HostProcess, find_host_process};

use super::control::{HostAction, run_actions};
use super::pause::HostPause;
use super::serving::{HostWatch, WantedProgram, wait_ready};
use crate::exchange::data::database::keep_before_migration;
use crate::exchange::error::ExchangeError;

/// How the host is exchanged for that of a new version.
pub(crate) struct HostExchange<'a> {
    /// The program of the new version, which must serve at the end.
    pub(crate) wanted: &'a WantedProgram,
    /// Whether an earlier run started the new version, and it is what serves: it is left as it is.
    pub(crate) is_running: bool,
    /// Whether an earlier run gave the order to stop, so that nobody knows how long no host has been there.
    pub(crate) was_ordered: bool,
    /// Asks the host.
    pub(crate) client: &'a HostClient,
    /// The journal's lock.
    pub(crate) lock: &'a File,
    /// The `ark` of the new version.
    pub(crate) new_binary: &'a Path,
    /// The data directory.
    pub(crate) data_dir: &'a Path,
    /// Where the database is kept if it will be migrated.
    pub(crate) kept: &'a Path,
    /// Stop the host that runs.
    pub(crate) stop_actions: &'a [HostAction],
    /// Start the new version.
    pub(crate) start_actions: &'a [HostAction],
    /// How long each command, and the start, may take.
    pub(crate) timeout: Duration,
    /// Whether an operator interrupts the run.
    pub(crate) stop: &'a AtomicBool,
}

/// What an exchange came to.
pub(crate) struct Exchanged {
    /// How long no host was there.
    pub(crate) pause: HostPause,
    /// Which version serves, for people.
    pub(crate) serving: String,
}

impl HostExchange<'_> {
    /// Stops what serves, keeps the database where it will be migrated, starts the new version and waits until that is ready. `begun` is told that
    /// the new version is about to be started.
    ///
    /// Repeated after a kill at any point it comes to the same end: whatever serves by then, also a host that somebody started meanwhile, has ended
    /// before the database is kept, unless it is the new version.
    pub(crate) fn exchange_hosts<E: From<ExchangeError>>(
        &self,
        begun: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Exchanged, E> {
        let had_ended = find_host_process(self.data_dir) == HostProcess::None;
        let ordered = Instant::now();
        if !self.is_running {
            run_actions(self.stop_actions, self.lock, self.timeout, self.stop)?;
            keep_before_migration(self.new_binary, self.data_dir, self.kept)?;
            begun()?;
        }
        let mut watch = HostWatch::before_start(self.data_dir);
        let started = run_actions(self.start_actions, self.lock, self.timeout, self.stop)?;
        watch.note_start(started);
        let check = || self.wanted.check_serving(self.data_dir);
        let serving = wait_ready(self.client, &mut watch, self.timeout, self.stop, &check)?;
        let pause = if self.is_running || self.was_ordered {
            HostPause::OrderedEarlier
        } else if had_ended {
            HostPause::HostHadEnded(ordered.elapsed())
        } else {
            HostPause::Measured(ordered.elapsed())
        };
        Ok(Exchanged { pause, serving })
    }
}
