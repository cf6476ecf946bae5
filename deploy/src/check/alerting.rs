//! The way of an alert from Prometheus to a person: an Alertmanager that is there, and no rule on the way that drops the alert.

use std::time::Duration;

use ark_client::HostClient;
use regex::Regex;
use serde_json::Value;

use crate::prometheus::PrometheusClient;

use super::line::CheckLines;

/// How long an Alertmanager, and the page of Prometheus' own metrics, may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Where Prometheus sends alerts to, below an Alertmanager's address.
const ALERT_PATHS: [&str; 2] = ["/api/v2/alerts", "/api/v1/alerts"];
/// The labels of an alert by which an Alertmanager decides whom it wakes.
const ROUTED_LABELS: [&str; 2] = ["alertname", "severity"];

/// Whether an Alertmanager hears of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AlertmanagerState {
    /// It is ready, or Prometheus reaches it.
    Hears,
    /// It cannot be reached from here, and Prometheus has not sent it anything yet: why.
    Unknown(String),
    /// It is not ready, or Prometheus does not reach it: why.
    Deaf(String),
}

/// What Prometheus counts of what it sent to one Alertmanager since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct SentCount {
    sent: f64,
    failed: f64,
}

/// An alert of Prometheus reaches somebody. `managers` is the `data` of `/api/v1/alertmanagers`, `config` Prometheus' configuration.
pub(super) fn check_alerting(
    prometheus: &PrometheusClient,
    managers: &Value,
    config: &str,
    lines: &mut CheckLines,
) {
    check_relabeling(config, lines);
    let active = managers
        .get("activeAlertmanagers")
        .and_then(Value::as_array);
    let urls: Vec<&str> = active
        .into_iter()
        .flatten()
        .filter_map(|manager| manager.get("url")?.as_str())
        .collect();
    if urls.is_empty() {
        return lines.add_warning(
            "Prometheus sends its alerts to no Alertmanager",
            "name one in its configuration (alerting.alertmanagers)",
        );
    }
    let metrics = prometheus
        .read_text("/metrics", TIMEOUT)
        .unwrap_or_default();
    let states: Vec<AlertmanagerState> = urls
        .iter()
        .map(|url| judge_alertmanager(ask_alertmanager(url), find_sent(&metrics, url)))
        .collect();
    let is_heard = states.contains(&AlertmanagerState::Hears);
    for state in states {
        match state {
            AlertmanagerState::Hears => {}
            AlertmanagerState::Unknown(why) => lines.add_warning(
                format!("whether an Alertmanager hears of alerts is not known: {why}, and Prometheus has sent it nothing yet"),
                "see that it runs, at the address in Prometheus' configuration (alerting.alertmanagers), and that prometheus_notifications_errors_total stays at 0",
            ),
            // Another one wakes somebody.
            AlertmanagerState::Deaf(why) if is_heard => lines.add_warning(
                format!("one of the Alertmanagers hears no alert: {why}"),
                "start it, or correct its address in Prometheus' configuration (alerting.alertmanagers)",
            ),
            AlertmanagerState::Deaf(why) => lines.add_error(
                format!("no alert of Prometheus reaches anybody: {why}"),
                "start the Alertmanager, or correct its address in Prometheus' configuration (alerting.alertmanagers)",
            ),
        }
    }
}

/// Whether the Alertmanager to which Prometheus sends at `url` answers that it is ready.
///
/// # Errors
/// It says that it is not (`Ok`), or it cannot be asked from here (`Err`): why.
fn ask_alertmanager(url: &str) -> Result<Result<(), String>, String> {
    let base = ALERT_PATHS
        .iter()
        .find_map(|path| url.strip_suffix(path))
        .unwrap_or(url);
    let client = HostClient::of_alertmanager(base).map_err(|error| error.to_string())?;
    match client.get_text("/-/ready", TIMEOUT) {
        Ok((200..=299, _)) => Ok(Ok(())),
        // What stands before it asks who is there: only Prometheus can tell whether it is let in.
        Ok((status @ (401 | 403), _)) => {
            Err(format!("{base} does not let this check in ({status})"))
        }
        Ok((status, _)) => Ok(Err(format!("{base}/-/ready answers {status}"))),
        Err(error) => Err(error.to_string()),
    }
}

/// Decides by what an Alertmanager says, and, where it cannot be asked from here, by what Prometheus counts.
fn judge_alertmanager(
    asked: Result<Result<(), String>, String>,
    count: SentCount,
) -> AlertmanagerState {
    match asked {
        Ok(Ok(())) => AlertmanagerState::Hears,
        Ok(Err(why)) => AlertmanagerState::Deaf(why),
        Err(why) if count.failed > 0.0 => AlertmanagerState::Deaf(format!(
            "{why}, and Prometheus counts {} failures of sending since its start",
            count.failed
        )),
        Err(_) if count.sent > 0.0 => AlertmanagerState::Hears,
        Err(why) => AlertmanagerState::Unknown(why),
    }
}

/// What Prometheus' own metrics say of the Alertmanager at `url`.
fn find_sent(metrics: &str, url: &str) -> SentCount {
    let label = format!("alertmanager=\"{url}\"");
    let find = |name: &str| {
        let values = metrics.lines().filter_map(|line| {
            let (labels, value) = line
                .strip_prefix(name)?
                .strip_prefix('{')?
                .rsplit_once('}')?;
            labels
                .contains(&label)
                .then(|| value.trim().parse::<f64>().ok())?
        });
        values.sum()
    };
    SentCount {
        sent: find("prometheus_notifications_sent_total"),
        failed: find("prometheus_notifications_errors_total"),
    }
}

/// No rule drops alerts, or takes from them what they are routed by, before they are sent.
fn check_relabeling(config: &str, lines: &mut CheckLines) {
    for rule in list_relabelings(config) {
        let Some(harm) = rule.find_harm() else {
            continue;
        };
        lines.add_warning(
            format!("a rule in alert_relabel_configs of Prometheus {harm}, so an alert may reach nobody"),
            "take the rule out of Prometheus' configuration, and silence or route alerts in the Alertmanager",
        );
    }
}

/// A rule of `alert_relabel_configs`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Relabeling {
    action: String,
    regex: String,
    target: String,
}

impl Relabeling {
    /// What the rule can do to an alert that keeps it from a person; `None`: nothing.
    fn find_harm(&self) -> Option<String> {
        let action = self.action.to_ascii_lowercase();
        // Prometheus' expressions are anchored. One that cannot be read here may match everything.
        let matches = |label: &str| {
            Regex::new(&format!("^(?:{})$", self.regex)).map_or(true, |regex| regex.is_match(label))
        };
        let routed =
            |is_hit: &dyn Fn(&str) -> bool| ROUTED_LABELS.into_iter().find(|label| is_hit(label));
        match action.as_str() {
            "drop" | "keep" | "dropequal" | "keepequal" => {
                Some(format!("can drop alerts (action {action})"))
            }
            "labeldrop" => routed(&matches).map(|label| format!("takes their label {label}")),
            "labelkeep" => {
                routed(&|label| !matches(label)).map(|label| format!("takes their label {label}"))
            }
            "labelmap" => None,
            _ => routed(&|label| self.target == label)
                .map(|label| format!("changes their label {label}")),
        }
    }
}

/// The rules of every `alert_relabel_configs` in a configuration, in the form in which Prometheus shows it: a list, an item of which begins with
/// a dash at the column of its key or behind it, with one member a line.
fn list_relabelings(config: &str) -> Vec<Relabeling> {
    let indent_of = |line: &str| line.len() - line.trim_start().len();
    let mut rules: Vec<Relabeling> = Vec::new();
    // The column of the key, while its list is read.
    let mut list = None;
    for line in config.lines().filter(|line| !line.trim().is_empty()) {
        let text = line.trim_start();
        let indent = indent_of(line);
        if list.is_some_and(|key| indent < key || (indent == key && !text.starts_with("- "))) {
            list = None;
        }
        if list.is_none() {
            let key = text.trim_start_matches("- ");
            if key.trim_end() == "alert_relabel_configs:" {
                list = Some(line.len() - key.len());
            }
            continue;
        }
        let member = text.strip_prefix("- ");
        if member.is_some() {
            rules.push(Relabeling {
                action: "replace".to_owned(),
                regex: "(.*)".to_owned(),
                ..Relabeling::default()
            });
        }
        let member = member.unwrap_or(text);
        let (Some((name, value)), Some(rule)) = (member.split_once(':'), rules.last_mut()) else {
            continue;
        };
        let value = value.trim().trim_matches(['"', '\'']).to_owned();
        match name {
            "action" => rule.action = value,
            "regex" => rule.regex = value,
            "target_label" => rule.target = value,
            _ => {}
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alertmanager_that_cannot_be_asked_from_here_is_judged_by_what_prometheus_counts() {
        let count = |sent, failed| SentCount { sent, failed };
        let unreached = || Err("it is elsewhere".to_owned());
        let is_deaf = |state| matches!(state, AlertmanagerState::Deaf(_));
        assert_eq!(
            judge_alertmanager(Ok(Ok(())), count(9.0, 9.0)),
            AlertmanagerState::Hears
        );
        assert!(is_deaf(judge_alertmanager(
            Ok(Err("503".to_owned())),
            count(9.0, 0.0)
        )));
        assert_eq!(
            judge_alertmanager(unreached(), count(9.0, 0.0)),
            AlertmanagerState::Hears
        );
        assert!(is_deaf(judge_alertmanager(unreached(), count(9.0, 1.0))));
        assert_eq!(
            judge_alertmanager(unreached(), count(0.0, 0.0)),
            AlertmanagerState::Unknown("it is elsewhere".to_owned())
        );
    }

    #[test]
    fn what_prometheus_counts_is_found_by_the_address() {
        let metrics = "# TYPE prometheus_notifications_errors_total counter\n\
             prometheus_notifications_errors_total{alertmanager=\"http://a:9093/api/v2/alerts\"} 3\n\
             prometheus_notifications_errors_total{alertmanager=\"http://b:9093/api/v2/alerts\"} 4\n\
             prometheus_notifications_sent_total{alertmanager=\"http://a:9093/api/v2/alerts\"} 1.2e+01\n";
        let found = find_sent(metrics, "http://a:9093/api/v2/alerts");
        assert_eq!(
            found,
            SentCount {
                sent: 12.0,
                failed: 3.0
            }
        );
        assert_eq!(
            find_sent(metrics, "http://c/api/v2/alerts"),
            SentCount::default()
        );
    }

    #[test]
    fn rules_that_keep_an_alert_from_a_person_are_found() {
        let shown = |rules: &str| {
            format!(
                "global:\n  scrape_interval: 5s\nalerting:\n  alert_relabel_configs:\n{rules}  alertmanagers:\n  - scheme: http\n    relabel_configs:\n    - action: drop\n"
            )
        };
        for (rules, harm) in [
            (
                "  - separator: ;\n    regex: runbook_base\n    replacement: $1\n    action: labeldrop\n",
                None,
            ),
            (
                "  - source_labels: [severity]\n    separator: ;\n    regex: critical\n    action: drop\n",
                Some("can drop alerts (action drop)"),
            ),
            (
                "  - source_labels: [severity]\n    regex: page\n    action: keep\n",
                Some("can drop alerts (action keep)"),
            ),
            (
                "  - regex: runbook_base\n    action: labeldrop\n  - regex: sev.*\n    action: labeldrop\n",
                Some("takes their label severity"),
            ),
            (
                "  - regex: alertname|job\n    action: labelkeep\n",
                Some("takes their label severity"),
            ),
            (
                "  - regex: severity|alertname|job\n    action: labelkeep\n",
                None,
            ),
            (
                "  - target_label: severity\n    replacement: info\n    action: replace\n",
                Some("changes their label severity"),
            ),
            (
                "  - target_label: replica\n    replacement: a\n    action: replace\n",
                None,
            ),
        ] {
            let harms: Vec<String> = list_relabelings(&shown(rules))
                .iter()
                .filter_map(Relabeling::find_harm)
                .collect();
            let expected: Vec<String> = harm.into_iter().map(str::to_owned).collect();
            assert_eq!(harms, expected, "{rules}");
        }
        // Each Alertmanager can have some of its own.
        let own = "alerting:\n  alertmanagers:\n  - alert_relabel_configs:\n    - regex: x\n      action: drop\n    scheme: http\n  - scheme: http\n    alert_relabel_configs:\n    - action: keep\n";
        let actions: Vec<String> = list_relabelings(own)
            .into_iter()
            .map(|rule| rule.action)
            .collect();
        assert_eq!(actions, ["drop", "keep"]);
        assert_eq!(list_relabelings("alerting: {}\n"), []);
    }
}
