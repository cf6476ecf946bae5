//! The addresses on which the host listens.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use ark_host::telemetry::TelemetryListen;
use ark_store::{HostProcess, find_host_process};

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The state of a socket that listens, in the kernel's table.
const LISTENING: &str = "0A";

/// The addresses of the API and of telemetry, with their keys.
fn list_addresses(inputs: &CheckInputs) -> Vec<(&'static str, SocketAddr)> {
    let mut addresses = vec![("listen", inputs.config.listen)];
    if let TelemetryListen::At(address) = inputs.config.telemetry.listen {
        addresses.push(("telemetry_listen", address));
    }
    addresses
}

/// Whether two addresses cannot both be listened on. An address of IPv4 may be written as one of IPv6.
fn are_one_port(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip().to_canonical(), other.ip().to_canonical());
    let same_place = first == second || first.is_unspecified() || second.is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_place
}

/// The two listeners do not exclude each other, and telemetry is not shown to other machines.
pub(super) fn check_listeners(inputs: &CheckInputs, lines: &mut CheckLines) {
    let addresses = list_addresses(inputs);
    if let [(_, api), (_, telemetry)] = addresses[..] {
        if are_one_port(api, telemetry) {
            lines.add_error(
                format!("listen ({api}) and telemetry_listen ({telemetry}) are one port"),
                "give telemetry_listen a port of its own, e.g. 127.0.0.1:9090",
            );
        }
        if !telemetry.ip().to_canonical().is_loopback() {
            lines.add_warning(
                format!("telemetry_listen is {telemetry}: other machines can read metrics, which ask for no token"),
                "let only Prometheus reach the port (firewall), or listen on 127.0.0.1",
            );
        }
    }
    if lines.is_good() {
        let shown: Vec<String> = addresses
            .iter()
            .map(|(key, address)| format!("{key} {address}"))
            .collect();
        lines.add_ok(shown.join(", "));
    }
}

/// The ports are free together, or the host of this data directory listens on them.
pub(super) fn check_ports(inputs: &CheckInputs, lines: &mut CheckLines) {
    // Each is held while the next one is tried.
    let mut held: Vec<TcpListener> = Vec::new();
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut are_told = true;
    for (key, address) in list_addresses(inputs) {
        // Two that are one port have a line of their own.
        if tried.iter().any(|other| are_one_port(*other, address)) {
            continue;
        }
        tried.push(address);
        match (&inputs.running_host, TcpListener::bind(address)) {
            (Some(pid), Ok(_)) if address.port() != 0 => lines.add_warning(
                format!("the host of the data directory (process {pid}) does not listen on {key} {address}"),
                "it was started with another configuration; restart it, or check the one it runs with",
            ),
            (_, Ok(listener)) => held.push(listener),
            (Some(pid), Err(error)) if error.kind() == ErrorKind::AddrInUse => {
                match has_listener(inputs.data_dir(), address.port()) {
                    Some(true) => {}
                    Some(false) => lines.add_error(
                        format!("{key} {address} is in use by another process than the host of the data directory (process {pid})"),
                        format!("stop what listens there (ss -ltnp), or set {key} to another port"),
                    ),
                    None => are_told = false,
                }
            }
            (None, Err(error)) if error.kind() == ErrorKind::AddrInUse => lines.add_error(
                format!("{key} {address} is in use by another process"),
                format!("stop what listens there (ss -ltnp), or set {key} to another port"),
            ),
            (_, Err(error)) => lines.add_error(
                format!("{key} {address} cannot be listened on: {error}"),
                format!("set {key} to an address of this machine and a port that its user may use"),
            ),
        }
    }
    if lines.is_good() {
        lines.add_ok(match &inputs.running_host {
            Some(pid) if are_told => {
                format!("in use by the host of the data directory (process {pid})")
            }
            Some(pid) => format!("in use, while the host of the data directory runs (process {pid}); whether it is that host that listens cannot be seen from here"),
            None => "free".to_owned(),
        });
    }
}

/// Whether the host that holds the data directory has a listener on a port, by the kernel's tables; `None`: its sockets cannot be seen from here.
///
/// The kernel is asked rather than the host: a certificate of an authority that is not known here, or a host that is busy, does not matter.
fn has_listener(data_dir: &Path, port: u16) -> Option<bool> {
    let HostProcess::Found(pid) = find_host_process(data_dir) else {
        return None;
    };
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    if network("self")? != network(&pid.to_string())? {
        return None;
    }
    let sockets: Vec<PathBuf> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .collect();
    let mut listening = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        // A machine without IPv6 has no table of it.
        let text = std::fs::read_to_string(table).unwrap_or_default();
        listening.extend(text.lines().filter_map(|line| read_listener(line, port)));
    }
    if listening.is_empty() {
        return None;
    }
    let mut names = listening.iter().map(|inode| format!("socket:[{inode}]"));
    Some(names.any(|name| {
        sockets
            .iter()
            .any(|socket| socket.as_os_str() == name.as_str())
    }))
}

/// The inode of the socket in a line of the kernel's table, if it listens on the port.
fn read_listener(line: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state) = (fields.get(1)?, fields.get(3)?);
    let (_, found) = local.rsplit_once(':')?;
    let listens = *state == LISTENING && u16::from_str_radix(found, 16).ok()? == port;
    listens.then(|| fields.get(9)?.parse().ok()).flatten()
}
