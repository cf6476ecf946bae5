//! The service manager that started this process, if one did: the listeners that it passes (`LISTEN_FDS`), and the notices that it gets (`sd_notify`).
//!
//! A listener that is passed stays open when this process ends: what connects meanwhile waits for the next process.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, ensure};
use listenfd::ListenFd;
use sd_notify::NotifyState;

/// How many listeners a host takes: that of the API, and that of telemetry.
const MAX_LISTENERS: usize = 2;

/// The listeners that were passed, in the order of the socket unit.
pub(super) struct PassedListeners(ListenFd);

impl PassedListeners {
    /// Takes them out of the environment. Call it before a second thread runs.
    ///
    /// # Errors
    /// There are more than a host has.
    pub(super) fn from_environment() -> anyhow::Result<Self> {
        let passed = ListenFd::from_env();
        ensure!(
            passed.len() <= MAX_LISTENERS,
            "the service manager passes {} sockets, and a host has {MAX_LISTENERS}: that of the API first, then that of telemetry",
            passed.len()
        );
        Ok(Self(passed))
    }

    /// Takes the listener of the API.
    ///
    /// # Errors
    /// As [`Self::take_telemetry`].
    pub(super) fn take_api(&mut self, listen: SocketAddr) -> anyhow::Result<Option<TcpListener>> {
        self.take_listeners(0, "listen", listen)
    }

    /// Takes the listener of telemetry.
    ///
    /// # Errors
    /// What is passed does not listen on TCP, or on another port than is configured.
    pub(super) fn take_telemetry(
        &mut self,
        listen: SocketAddr,
    ) -> anyhow::Result<Option<TcpListener>> {
        self.take_listeners(1, "telemetry_listen", listen)
    }

    /// Whether a listener of telemetry was passed.
    pub(super) fn has_telemetry(&self) -> bool {
        self.0.len() == MAX_LISTENERS
    }

    fn take_listeners(
        &mut self,
        index: usize,
        key: &str,
        listen: SocketAddr,
    ) -> anyhow::Result<Option<TcpListener>> {
        if index >= self.0.len() {
            return Ok(None);
        }
        let listener = self.0.take_tcp_listener(index);
        let Some(listener) = listener.with_context(|| format!("the socket passed for {key}"))?
        else {
            return Ok(None);
        };
        let address = listener
            .local_addr()
            .with_context(|| format!("the socket passed for {key}"))?;
        // Commands find the host by its configuration.
        ensure!(
            listen.port() == 0 || listen.port() == address.port(),
            "the service manager passes a socket on {address}, and `{key}` is {listen}: give the socket unit and the configuration the same port"
        );
        listener
            .set_nonblocking(true)
            .with_context(|| format!("the socket passed for {key}"))?;
        Ok(Some(listener))
    }
}

/// Tells the service manager that this process serves.
pub(super) fn tell_ready() {
    notify_manager(NotifyState::Ready);
}

/// Tells it that this process ends.
pub(super) fn tell_stopping() {
    notify_manager(NotifyState::Stopping);
}

fn notify_manager(state: NotifyState<'_>) {
    // Without a service manager nothing is sent.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
