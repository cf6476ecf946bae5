//! Prometheus: whether it is there, scrapes the host, has ARK's rules, and somebody hears its alerts.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use crate::prometheus::PrometheusClient;

use super::inputs::CheckInputs;
use super::line::CheckLines;
use super::rules::check_rules;

/// How long a connection to the collector of traces may take.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn check_monitoring(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(url) = inputs.options.prometheus.as_deref() else {
        return lines.add_warning(
            "no Prometheus is named, so nobody may notice when the host fails",
            "run one with deploy/prometheus, and name it: --prometheus URL or ARK_PROMETHEUS",
        );
    };
    let asked = PrometheusClient::new(url).and_then(|prometheus| {
        let rules = prometheus.read_data("/api/v1/rules")?;
        let managers = prometheus.read_data("/api/v1/alertmanagers")?;
        let targets = prometheus.query_values("up{job=\"ark\"}")?;
        Ok((prometheus, rules, managers, targets))
    });
    let (prometheus, rules, managers, targets) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            return lines.add_error(
                format!("Prometheus at {url} cannot be asked: {error}"),
                "start it, or correct --prometheus",
            );
        }
    };
    check_rules(&prometheus, &rules, lines);
    let is_empty = |list: Option<&Value>| list.and_then(Value::as_array).is_none_or(Vec::is_empty);
    if is_empty(managers.get("activeAlertmanagers")) {
        lines.add_warning(
            "Prometheus sends its alerts to no Alertmanager",
            "name one in its configuration (alerting.alertmanagers)",
        );
    }
    if targets.is_empty() {
        lines.add_error(
            "Prometheus scrapes no host (job ark)",
            "add the address of telemetry_listen to the job `ark` of its configuration",
        );
    } else if inputs.running_host.is_some() && targets.iter().all(|up| *up < 1.0) {
        lines.add_error(
            "Prometheus does not reach the host that runs here (job ark is down)",
            "correct the job's target: it is the address of telemetry_listen",
        );
    }
    if lines.is_good() {
        lines.add_ok(format!(
            "{url} has all rules and scrapes {} hosts",
            targets.len()
        ));
    }
}

/// Where traces are sent to, somebody listens.
pub(super) fn check_traces(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(endpoint) = inputs.config.telemetry.otlp_endpoint.as_deref() else {
        return;
    };
    let Some(address) = find_address(endpoint) else {
        return lines.add_error(
            "telemetry.otlp_endpoint is no address of a collector",
            "give one like http://127.0.0.1:4318/v1/traces",
        );
    };
    match connect_to(&address) {
        Ok(()) => lines.add_ok(format!("somebody listens on {address} for traces")),
        Err(error) => lines.add_error(
            format!("nobody takes the traces on {address}: {error}"),
            "start the collector, or correct telemetry.otlp_endpoint",
        ),
    }
}

/// Host and port of an address, without user and password.
fn find_address(endpoint: &str) -> Option<String> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    let has_port = after_brackets.contains(':');
    let port = if scheme == "https" { 443 } else { 80 };
    match (host.is_empty(), has_port) {
        (true, _) => None,
        (false, true) => Some(host.to_owned()),
        (false, false) => Some(format!("{host}:{port}")),
    }
}

fn connect_to(address: &str) -> std::io::Result<()> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for each in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&each, TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::find_address;

    #[test]
    fn the_address_of_a_collector_is_found_in_its_endpoint() {
        for (endpoint, address) in [
            ("http://127.0.0.1:4318/v1/traces", Some("127.0.0.1:4318")),
            ("https://u:p@c.example/v1", Some("c.example:443")),
            ("http://[::1]/v1", Some("[::1]:80")),
            ("http://[::1]:4318", Some("[::1]:4318")),
            ("c.example", None),
            ("http:///v1", None),
        ] {
            assert_eq!(find_address(endpoint).as_deref(), address, "{endpoint}");
        }
    }
}
