//! SIGTERM and SIGINT: the first one drains the host, a second one ends it at once.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop the host.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// The operating system refuses a handler.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?,
        })
    }

    /// Resolves at the first signal. From then on the process ends at the next one, and after `drain`, whatever still runs.
    pub(super) async fn wait_then_limit_drain(mut self, drain: Duration) {
        self.next().await;
        tracing::info!("stopping: no new connections are accepted");
        super::manager::tell_stopping();
        tokio::spawn(async move {
            tokio::select! {
                () = self.next() => exit_now("a second signal asks for the end"),
                () = tokio::time::sleep(drain) => exit_now("the time to drain is over (capacity.drain_ms)"),
            }
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Ends the process at once. What was acknowledged is on disk, and the next start resumes what is pending, as after a kill.
fn exit_now(reason: &str) {
    tracing::warn!(
        reason,
        "ended before everything that runs was finished; the next start resumes it"
    );
    std::process::exit(0);
}
