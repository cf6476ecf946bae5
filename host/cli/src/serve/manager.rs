//! The service manager that started this process, if one did: the listeners that it passes (`LISTEN_FDS`), and the notices that it gets (`sd_notify`).
//!
//! A listener that is passed stays open when this process ends: what connects meanwhile waits for the next process. It takes at least the connections
//! that the configured address would: a socket unit that nobody adapted must not cut other machines off unsaid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::{Context, ensure};
use listenfd::ListenFd;
use rustix::net::sockopt::ipv6_v6only;
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
    /// What is passed does not listen on TCP, or does not take all that the configured address would.
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
        let is_v6_only = address.is_ipv6()
            && ipv6_v6only(&listener)
                .with_context(|| format!("the socket passed for {key}: IPV6_V6ONLY"))?;
        ensure!(
            covers_address(address, is_v6_only, listen),
            "the service manager passes a socket on {address}{only}, and `{key}` is {listen}, of which it does not take every connection: \
             give `ListenStream=` of the socket unit and `{key}` the same address and port, or stop and disable the socket unit, so that the host binds {listen} itself",
            only = if is_v6_only { " (IPv6 only)" } else { "" },
        );
        listener
            .set_nonblocking(true)
            .with_context(|| format!("the socket passed for {key}"))?;
        Ok(Some(listener))
    }
}

/// Whether a socket on `passed` takes every connection that one on `listen` would; it may take more. What it may take without TLS is decided by its own
/// address. The port must be the same, since commands find the host by its configuration; port 0 asks for any. `is_v6_only`: the socket takes no IPv4
/// connection (`BindIPv6Only=ipv6-only`).
fn covers_address(passed: SocketAddr, is_v6_only: bool, listen: SocketAddr) -> bool {
    if listen.port() != 0 && listen.port() != passed.port() {
        return false;
    }
    if let (SocketAddr::V6(passed), SocketAddr::V6(listen)) = (passed, listen)
        && passed.ip() == listen.ip()
    {
        // A link-local address belongs to one network.
        return passed.scope_id() == listen.scope_id();
    }
    // `::ffff:127.0.0.1` is 127.0.0.1.
    match (passed.ip().to_canonical(), listen.ip().to_canonical()) {
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), wanted) => wanted.is_ipv6() || !is_v6_only,
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), wanted) => wanted.is_ipv4(),
        (own, wanted) => own == wanted,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_socket_takes_at_least_what_the_configured_address_would() {
        let cases = [
            // The same address, also where any port will do.
            ("127.0.0.1:8000", "127.0.0.1:8000", true),
            ("0.0.0.0:8000", "0.0.0.0:8000", true),
            ("[::1]:8000", "[::1]:8000", true),
            ("[::]:8000", "[::]:8000", true),
            ("127.0.0.1:8000", "127.0.0.1:0", true),
            ("[fe80::1%2]:8000", "[fe80::1%2]:8000", true),
            // Another port.
            ("127.0.0.1:8000", "127.0.0.1:8001", false),
            ("0.0.0.0:8000", "127.0.0.1:8001", false),
            // Less than was configured.
            ("127.0.0.1:8000", "0.0.0.0:8000", false),
            ("127.0.0.1:8000", "0.0.0.0:0", false),
            ("127.0.0.1:8000", "192.0.2.1:8000", false),
            ("127.0.0.1:8000", "127.0.0.2:8000", false),
            ("127.0.0.1:8000", "[::]:8000", false),
            ("[::1]:8000", "[::]:8000", false),
            ("[::1]:8000", "127.0.0.1:8000", false),
            ("[fe80::1%2]:8000", "[fe80::1%3]:8000", false),
            // All addresses of IPv4 are none of IPv6.
            ("0.0.0.0:8000", "[::]:8000", false),
            ("0.0.0.0:8000", "[::1]:8000", false),
            // More than was configured.
            ("0.0.0.0:8000", "127.0.0.1:8000", true),
            ("0.0.0.0:8000", "192.0.2.1:8000", true),
            ("[::]:8000", "[::1]:8000", true),
            ("[::]:8000", "[fe80::1%2]:8000", true),
            // An address of IPv4 in the form of IPv6.
            ("[::ffff:127.0.0.1]:8000", "127.0.0.1:8000", true),
            ("127.0.0.1:8000", "[::ffff:127.0.0.1]:8000", true),
            ("[::ffff:0.0.0.0]:8000", "127.0.0.1:8000", true),
            ("[::ffff:127.0.0.1]:8000", "0.0.0.0:8000", false),
        ];
        for (passed, listen, expected) in cases {
            let covers = |is_v6_only| {
                covers_address(passed.parse().unwrap(), is_v6_only, listen.parse().unwrap())
            };
            assert_eq!(covers(false), expected, "{passed} for {listen}");
        }
        // A socket on all addresses of IPv6 takes IPv4 too, as `ListenStream=8000` does, unless it is told not to.
        for (listen, is_v6_only, expected) in [
            ("0.0.0.0:8000", false, true),
            ("127.0.0.1:8000", false, true),
            ("0.0.0.0:8000", true, false),
            ("127.0.0.1:8000", true, false),
            ("[::ffff:127.0.0.1]:8000", true, false),
            ("[::1]:8000", true, true),
            ("[::]:8000", true, true),
        ] {
            let passed = "[::]:8000".parse().unwrap();
            let found = covers_address(passed, is_v6_only, listen.parse().unwrap());
            assert_eq!(found, expected, "{listen}, IPv6 only: {is_v6_only}");
        }
    }
}
