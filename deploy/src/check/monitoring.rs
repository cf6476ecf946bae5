//! Prometheus: whether it is there, scrapes this host, has ARK's rules, and somebody hears its alerts.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use ark_client::ClientError;
use ark_client::members::text_field;

use crate::prometheus::PrometheusClient;

use super::address::find_address;
use super::alerting::check_alerting;
use super::inputs::CheckInputs;
use super::line::CheckLines;
use super::rules::check_rules;
use super::scraping::check_scraping;

/// The external label with which the links of alerts to the runbook begin.
const RUNBOOK_LABEL: &str = "runbook_base";
/// What it says in the configurations that ARK ships.
const RUNBOOK_PLACEHOLDER: &str = "https://docs.example.com/ark";
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
        Ok((prometheus, rules, managers))
    });
    let (prometheus, rules, managers) = match asked {
        Ok(asked) => asked,
        Err(error) => return refuse_prometheus(url, &error, lines),
    };
    check_rules(&prometheus, &rules, lines);
    // One that does not show its configuration (what only speaks Prometheus' API) is no fault by itself.
    let config = prometheus
        .read_data("/api/v1/status/config")
        .unwrap_or_default();
    let config = text_field(&config, "yaml");
    check_runbook_base(config, lines);
    check_alerting(&prometheus, &managers, config, lines);
    let targets = match check_scraping(inputs, &prometheus, url, lines) {
        Ok(targets) => targets,
        Err(error) => return refuse_prometheus(url, &error, lines),
    };
    if lines.is_good() {
        lines.add_ok(format!(
            "{url} has all rules and scrapes this host ({targets} targets in all)"
        ));
    }
}

fn refuse_prometheus(url: &str, error: &ClientError, lines: &mut CheckLines) {
    lines.add_error(
        format!("Prometheus at {url} cannot be asked: {error}"),
        "start it, or correct --prometheus (ARK_PROMETHEUS)",
    );
}

/// The links of alerts to the runbook lead to a page of the operator's own.
fn check_runbook_base(config: &str, lines: &mut CheckLines) {
    let remedy = format!(
        "publish the book (mdbook build docs) and give its address, e.g. {RUNBOOK_PLACEHOLDER}, as global.external_labels.{RUNBOOK_LABEL} of Prometheus"
    );
    match find_external_label(config, RUNBOOK_LABEL) {
        None => lines.add_warning(
            format!(
                "Prometheus has no external label {RUNBOOK_LABEL}, so the links of alerts to the runbook lead nowhere"
            ),
            remedy,
        ),
        Some(RUNBOOK_PLACEHOLDER) => lines.add_warning(
            format!(
                "the external label {RUNBOOK_LABEL} of Prometheus is still that of the example, so the links of alerts to the runbook lead nowhere"
            ),
            remedy,
        ),
        Some(base) if find_address(base).is_none() || !base.starts_with("http") => lines.add_warning(
            format!(
                "the external label {RUNBOOK_LABEL} of Prometheus is no address of a page ({base}), so the links of alerts to the runbook lead nowhere"
            ),
            remedy,
        ),
        Some(_) => {}
    }
}

/// The value of an external label in a configuration, in the form in which Prometheus shows it: one label a line, indented below
/// `external_labels`.
fn find_external_label<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = config.lines();
    let head = lines.find(|line| line.trim() == "external_labels:")?;
    let labels = lines.take_while(|line| indent(line) > indent(head));
    let mut values = labels.filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    values
        .next()
        .map(|value| value.trim().trim_matches(['"', '\'']))
        .filter(|value| !value.is_empty())
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
    use super::super::rules::RULES;
    use super::{RUNBOOK_LABEL, RUNBOOK_PLACEHOLDER, find_external_label};
    use crate::{SYNTHETIC_REQUESTER, VALIDATION_PROBE};

    /// The configurations of Prometheus that ARK ships.
    const CONFIGURATIONS: [&str; 2] = [
        include_str!("../../prometheus/prometheus.yml"),
        include_str!("../../compose/prometheus.yml"),
    ];

    #[test]
    fn the_base_of_the_runbook_is_found_in_a_configuration() {
        for (config, found) in [
            (
                "global:\n  external_labels:\n    runbook_base: https://a.b/ark\nrule_files: []\n",
                Some("https://a.b/ark"),
            ),
            (
                "global:\n  external_labels:\n    a: b\n    runbook_base: \"https://a.b\"\n",
                Some("https://a.b"),
            ),
            (
                "global:\n  external_labels:\n    runbook_base: \"\"\n",
                None,
            ),
            (
                "global:\n  external_labels:\n    a: b\nalerting:\n  runbook_base: https://a.b\n",
                None,
            ),
            ("global:\n  scrape_interval: 5s\n", None),
            ("", None),
        ] {
            assert_eq!(
                find_external_label(config, RUNBOOK_LABEL),
                found,
                "{config}"
            );
        }
        for shipped in CONFIGURATIONS {
            assert_eq!(
                find_external_label(shipped, RUNBOOK_LABEL),
                Some(RUNBOOK_PLACEHOLDER)
            );
        }
    }

    /// The alerts in the files of rules: name and expression.
    fn list_alerts() -> Vec<(&'static str, String)> {
        let alerts = RULES
            .into_iter()
            .flat_map(|file| file.split("- alert: ").skip(1));
        alerts
            .map(|alert| {
                let (name, rest) = alert.split_once('\n').unwrap();
                let (_, expression) = rest.split_once("expr: |\n").unwrap();
                let (expression, _) = expression.split_once(" for: ").unwrap();
                (name, expression.trim().to_owned())
            })
            .collect()
    }

    #[test]
    fn no_alert_on_agents_is_about_the_probe_of_a_validation() {
        let left_out = format!("{{agent!=\"{VALIDATION_PROBE}\"}}");
        // An agent is on trial there, and the probe never is.
        let on_trial = "{deployment=\"canary\"}";
        let mut of_agents = 0;
        for (name, expression) in list_alerts() {
            assert!(
                !expression.contains(SYNTHETIC_REQUESTER),
                "{name}: {expression}"
            );
            let is_canary = expression.contains(on_trial);
            for metric in ["ark_agent_", "ark:agent_"] {
                for (at, _) in expression.match_indices(metric) {
                    of_agents += 1;
                    let rest = &expression[at..];
                    let end =
                        rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
                    let selector = &rest[end.unwrap_or(rest.len())..];
                    assert!(
                        is_canary || selector.starts_with(&left_out),
                        "{name}: {expression}"
                    );
                }
            }
        }
        assert!(of_agents >= 8, "{of_agents} selections of agents");
    }
}
