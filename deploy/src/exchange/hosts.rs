//! The hosts in an exchange: stopped, started, and whether one is ready.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use ark_client::HostClient;

use super::commands::run_command;
use super::database::keep_before_migration;
use super::error::ExchangeError;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether the host answers that it is ready.
pub(crate) fn is_ready(client: &HostClient) -> bool {
    client
        .get("/readyz")
        .is_ok_and(|answer| answer.status == 200)
}

pub(crate) fn wait_ready(client: &HostClient, timeout: Duration) -> Result<(), ExchangeError> {
    let ends = Instant::now() + timeout;
    while !is_ready(client) {
        if Instant::now() > ends {
            return Err(ExchangeError::NotReady(timeout));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// How the host is exchanged for that of a new version.
pub(crate) struct HostExchange<'a> {
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

impl HostExchange<'_> {
    /// Stops the old host, keeps the database where it will be migrated, starts the new one and waits until it is ready. Returns how long that
    /// took. `begun` is told that the new version is about to be started.
    pub(crate) fn run<E: From<ExchangeError>>(
        &self,
        begun: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Duration, E> {
        let started = Instant::now();
        run_command(self.stop_command, self.lock, self.timeout)?;
        keep_before_migration(self.new_binary, self.data_dir, self.kept)?;
        begun()?;
        run_command(self.start_command, self.lock, self.timeout)?;
        wait_ready(self.client, self.timeout)?;
        Ok(started.elapsed())
    }
}
