//! The addresses on which the host listens.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use ark_host::telemetry::TelemetryListen;

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The addresses of the API and of telemetry, with their keys.
fn list_addresses(inputs: &CheckInputs) -> Vec<(&'static str, SocketAddr)> {
    let mut addresses = vec![("listen", inputs.config.listen)];
    if let TelemetryListen::At(address) = inputs.config.telemetry.listen {
        addresses.push(("telemetry_listen", address));
    }
    addresses
}

/// The two listeners do not exclude each other, and telemetry is not shown to other machines.
pub(super) fn check_listeners(inputs: &CheckInputs, lines: &mut CheckLines) {
    let addresses = list_addresses(inputs);
    if let [(_, api), (_, telemetry)] = addresses[..] {
        let same_place = api.ip() == telemetry.ip()
            || api.ip().is_unspecified()
            || telemetry.ip().is_unspecified();
        if api.port() != 0 && api.port() == telemetry.port() && same_place {
            lines.add_error(
                format!("listen ({api}) and telemetry_listen ({telemetry}) are one port"),
                "give telemetry_listen a port of its own, e.g. 127.0.0.1:9090",
            );
        }
        if !telemetry.ip().is_loopback() {
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

/// The ports are free, or in use while the host of this data directory runs. Whether it is that host that listens is not asked.
pub(super) fn check_ports(inputs: &CheckInputs, lines: &mut CheckLines) {
    for (key, address) in list_addresses(inputs) {
        let bound = TcpListener::bind(address);
        match (&inputs.running_host, bound) {
            (_, Ok(_)) if address.port() == 0 => {}
            (Some(pid), Ok(_)) => lines.add_warning(
                format!("the host of the data directory (process {pid}) does not listen on {key} {address}"),
                "it was started with another configuration; restart it, or check the one it runs with",
            ),
            (None, Ok(_)) => {}
            (Some(_), Err(error)) if error.kind() == ErrorKind::AddrInUse => {}
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
            Some(pid) => {
                format!("in use, while the host of the data directory runs (process {pid})")
            }
            None => "free".to_owned(),
        });
    }
}
