//! The addresses on which the host listens.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use ark_host::telemetry::TelemetryListen;

use super::inputs::CheckInputs;
use super::line::CheckLines;
use super::port_holder::{HostListener, PortHolder, are_one_port, find_holder, has_listener};

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

/// The ports are free together, the host of this data directory listens on them, or systemd holds them for it.
pub(super) fn check_ports(inputs: &CheckInputs, lines: &mut CheckLines) {
    // Each is held while the next one is tried.
    let mut held: Vec<TcpListener> = Vec::new();
    let mut tried: Vec<SocketAddr> = Vec::new();
    let mut are_told = true;
    // What systemd holds, in words.
    let mut passed: Vec<String> = Vec::new();
    for (key, address) in list_addresses(inputs) {
        // Two that are one port have a line of their own.
        if tried.iter().any(|other| are_one_port(*other, address)) {
            continue;
        }
        tried.push(address);
        let bound = TcpListener::bind(address);
        let is_in_use = is_kind(&bound, ErrorKind::AddrInUse);
        // A port below 1024, as a user who may not listen there, and the host may.
        let is_refused = is_kind(&bound, ErrorKind::PermissionDenied);
        match (&inputs.running_host, bound) {
            (Some(pid), Ok(_)) if address.port() != 0 => warn_of_silence(pid, key, address, lines),
            (_, Ok(listener)) => held.push(listener),
            (Some(pid), Err(_)) if is_in_use || is_refused => {
                match has_listener(inputs.data_dir(), address.port()) {
                    HostListener::Own => {}
                    HostListener::Other => lines.add_error(
                        format!("{key} {address} is in use by another process than the host of the data directory (process {pid})"),
                        find_remedy(key),
                    ),
                    HostListener::Nobody if is_refused => warn_of_silence(pid, key, address, lines),
                    HostListener::Nobody | HostListener::Hidden => are_told = false,
                }
            }
            (None, Err(_)) if is_in_use => {
                passed.extend(judge_holder(key, address, &find_holder(address), lines));
            }
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
            None if passed.is_empty() => "free".to_owned(),
            None => passed.join(", "),
        });
    }
}

fn is_kind(bound: &std::io::Result<TcpListener>, kind: ErrorKind) -> bool {
    bound.as_ref().is_err_and(|error| error.kind() == kind)
}

fn warn_of_silence(pid: &str, key: &str, address: SocketAddr, lines: &mut CheckLines) {
    lines.add_warning(
        format!(
            "the host of the data directory (process {pid}) does not listen on {key} {address}"
        ),
        "it was started with another configuration; restart it, or check the one it runs with",
    );
}

fn find_remedy(key: &str) -> String {
    format!("stop what listens there (ss -ltnp), or set {key} to another port")
}

/// Judges who listens where the host would, which does not run. Returns what is as it should be, in words: systemd holds the port for an `ark`.
fn judge_holder(
    key: &str,
    address: SocketAddr,
    holder: &PortHolder,
    lines: &mut CheckLines,
) -> Option<String> {
    match holder {
        PortHolder::Socket(socket) if !socket.is_of_ark => lines.add_warning(
            format!(
                "{key} {address} is held by systemd ({unit}), which starts {service} on it, and that is no ark as far as can be seen",
                unit = socket.unit,
                service = socket.service
            ),
            format!("if that is not the service of this host stop the socket unit (systemctl disable --now {}), or set {key} to another port", socket.unit),
        ),
        PortHolder::Socket(socket) if !socket.takes_all(address) => lines.add_error(
            format!(
                "{key} {address} is held by systemd ({unit}), whose socket is on {listen} and does not take every connection that {key} would, so that the host would not start",
                unit = socket.unit,
                listen = socket.address
            ),
            format!("give ListenStream= of {} and {key} the same address and port", socket.unit),
        ),
        PortHolder::Socket(socket) => {
            return Some(format!(
                "{key} {address} is held by systemd ({}) for {}",
                socket.unit, socket.service
            ));
        }
        PortHolder::Systemd => lines.add_warning(
            format!("{key} {address} is held by systemd, which does not say for which unit"),
            format!("see that it is the socket unit of this host (systemctl list-sockets), or set {key} to another port"),
        ),
        PortHolder::PerhapsSocket(unit) => lines.add_warning(
            format!("{key} {address} is in use, and this user may not see by whom; {unit} names the port, so that it may be systemd"),
            format!("see that {unit} is active (systemctl status {unit}), or run the check as root"),
        ),
        PortHolder::Process(pid) => lines.add_error(
            format!("{key} {address} is in use by another process ({pid})"),
            find_remedy(key),
        ),
        PortHolder::Hidden => lines.add_error(
            format!("{key} {address} is in use by another process, which this user may not see"),
            find_remedy(key),
        ),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::super::port_holder::SystemdSocket;
    use super::*;

    #[test]
    fn a_port_that_systemd_holds_for_an_ark_is_as_good_as_free() {
        let socket = |address: &str, is_of_ark| {
            PortHolder::Socket(SystemdSocket {
                address: address.parse().unwrap(),
                unit: "ark.socket".to_owned(),
                service: "ark.service".to_owned(),
                is_of_ark,
            })
        };
        for (holder, expected, part) in [
            (
                socket("127.0.0.1:8000", true),
                None,
                "listen 127.0.0.1:8000 is held by systemd (ark.socket) for ark.service",
            ),
            (socket("[::]:8000", true), None, "held by systemd"),
            (
                socket("127.0.0.1:8000", false),
                Some(Status::Warning),
                "that is no ark",
            ),
            (
                socket("[::1]:8000", true),
                Some(Status::Error),
                "does not take every connection",
            ),
            (
                PortHolder::Systemd,
                Some(Status::Warning),
                "is held by systemd, which does not say",
            ),
            (
                PortHolder::PerhapsSocket("ark.socket".to_owned()),
                Some(Status::Warning),
                "may not see by whom; ark.socket names the port",
            ),
            (
                PortHolder::Process(4711),
                Some(Status::Error),
                "another process (4711)",
            ),
            (
                PortHolder::Hidden,
                Some(Status::Error),
                "which this user may not see",
            ),
        ] {
            let mut lines = CheckLines::for_check("ports");
            let address = "127.0.0.1:8000".parse().unwrap();
            let told = judge_holder("listen", address, &holder, &mut lines);
            let line = lines.found.first();
            assert_eq!(line.map(|line| line.status), expected, "{holder:?}");
            let text = line.map(|line| line.found.clone()).or(told);
            let text = text.unwrap_or_default();
            assert!(text.contains(part), "{holder:?}: {text}");
        }
    }
}
