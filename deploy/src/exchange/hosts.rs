//! The hosts in an exchange: stopped, started, and whether one is ready.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use ark_client::HostClient;

use super::commands::run_command;
use super::database::keep_before_migration;
use super::error::ExchangeError;
use super::serving::{WantedProgram, wait_ready};

/// Whether the host answers that it is ready.
pub(crate) fn is_ready(client: &HostClient) -> bool {
    client
        .get("/readyz")
        .is_ok_and(|answer| answer.status == 200)
}

/// How the host is exchanged for that of a new version.
pub(crate) struct HostExchange<'a> {
    /// The program of the new version, which must be what serves in the end.
    pub(crate) wanted: &'a WantedProgram,
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
    /// Stops the host that runs.
    pub(crate) stop_command: &'a str,
    /// Starts the new version.
    pub(crate) start_command: &'a str,
    /// How long each command, and the start, may take.
    pub(crate) timeout: Duration,
}

/// What an exchange came to.
pub(crate) struct Exchanged {
    /// From the order to stop the old host until the new one was ready.
    pub(crate) pause: Duration,
    /// Which version serves, for people.
    pub(crate) serving: String,
}

impl HostExchange<'_> {
    /// Stops the old host, keeps the database where it will be migrated, starts the new one and waits until it is ready. `begun` is told that the
    /// new version is about to be started.
    pub(crate) fn run<E: From<ExchangeError>>(
        &self,
        begun: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Exchanged, E> {
        let started = Instant::now();
        run_command(self.stop_command, self.lock, self.timeout)?;
        keep_before_migration(self.new_binary, self.data_dir, self.kept)?;
        begun()?;
        run_command(self.start_command, self.lock, self.timeout)?;
        let check = || self.wanted.check(self.data_dir);
        let serving = wait_ready(self.client, self.timeout, &check)?;
        Ok(Exchanged {
            pause: started.elapsed(),
            serving,
        })
    }
}
