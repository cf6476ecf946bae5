//! The way of an alert from Prometheus to a person: an Alertmanager that is there, and no rule on the way that drops the alert.

use std::time::Duration;

use ark_client::members::text_field;
use ark_client::{HostClient, escape_query};
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

/// What Prometheus counts for each Alertmanager: alerts, also those whose sending failed; requests, each with some of these; and failures.
const ALERTS: &str = "prometheus_notifications_sent_total";
const REQUESTS: &str = "prometheus_notifications_latency_seconds_count";
const FAILURES: &str = "prometheus_notifications_errors_total";
/// The first version whose failures are alerts; before, they are requests (prometheus/prometheus#15428).
const FAILED_ALERTS_SINCE: (u32, u32) = (3, 1);
/// The times whose counts are looked at, from the shortest on, as Prometheus and as people write them.
const SPANS: [(&str, &str); 2] = [("15m", "15 minutes"), ("1d", "day")];

/// Whether an Alertmanager hears of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AlertmanagerState {
    /// It is ready, or Prometheus reaches it.
    Hears,
    /// It cannot be reached from here, and Prometheus has not sent it anything yet: why.
    Unknown(String),
    /// It cannot be reached from here, and took a part of what Prometheus sent: what failed.
    Failing(String),
    /// It is not ready, or Prometheus does not reach it: why.
    Deaf(String),
}

/// What Prometheus counts of what it sent to one Alertmanager in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct SentCount {
    alerts: f64,
    requests: f64,
    failed: f64,
    /// Whether alerts are counted as failed, and not requests.
    fails_by_alert: bool,
}

/// What Prometheus counts of what it sent to one Alertmanager.
#[derive(Debug, Default)]
struct SentHistory {
    /// Since its start.
    total: SentCount,
    /// In the last times, each with its name, from the shortest on; empty: Prometheus does not scrape itself.
    recent: Vec<(&'static str, SentCount)>,
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
        .map(|url| match ask_alertmanager(url) {
            Ok(Ok(())) => AlertmanagerState::Hears,
            Ok(Err(why)) => AlertmanagerState::Deaf(why),
            // Only Prometheus can tell.
            Err(why) => SentHistory::read(prometheus, &metrics, url).judge_alertmanager(&why),
        })
        .collect();
    let is_heard = states.contains(&AlertmanagerState::Hears);
    for state in states {
        match state {
            AlertmanagerState::Hears => {}
            AlertmanagerState::Unknown(why) => lines.add_warning(
                format!("whether an Alertmanager hears of alerts is not known: {why}, and Prometheus has sent it nothing yet"),
                "see that it runs, at the address in Prometheus' configuration (alerting.alertmanagers), and that prometheus_notifications_errors_total does not grow",
            ),
            AlertmanagerState::Failing(what) => lines.add_warning(
                format!("a part of the alerts may reach nobody: {what}"),
                "see the logs of Prometheus and of the Alertmanager, and that prometheus_notifications_errors_total does not grow; let Prometheus scrape itself, so that this can be told from what is long over",
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

impl SentCount {
    /// How often it was tried, in what failures are counted in.
    fn attempts(&self) -> f64 {
        if self.fails_by_alert {
            self.alerts
        } else {
            self.requests
        }
    }

    fn has_failures(&self) -> bool {
        self.failed > 0.0
    }

    fn has_success(&self) -> bool {
        self.attempts() > self.failed
    }

    /// The count of one of Prometheus' metrics is this.
    fn set(&mut self, metric: &str, value: f64) {
        match metric {
            ALERTS => self.alerts = value,
            REQUESTS => self.requests = value,
            _ => self.failed = value,
        }
    }

    /// What failed, in words.
    fn describe_failures(&self) -> String {
        let unit = if self.fails_by_alert {
            "alerts"
        } else {
            "notifications"
        };
        format!("{} of {} {unit}", self.failed, self.attempts())
    }
}

impl SentHistory {
    /// What Prometheus counts for the Alertmanager at `url`. `metrics`: its page of its own.
    fn read(prometheus: &PrometheusClient, metrics: &str, url: &str) -> Self {
        let total = find_sent(metrics, url);
        let recent = SPANS.iter().filter_map(|(span, name)| {
            let count = query_sent(prometheus, url, span, total.fails_by_alert)?;
            Some((*name, count))
        });
        Self {
            recent: recent.collect(),
            total,
        }
    }

    /// Judges an Alertmanager that cannot be asked from here by the shortest time in which something was sent to it. `why`: it cannot be asked.
    fn judge_alertmanager(&self, why: &str) -> AlertmanagerState {
        let of_time = |span: String, count: &SentCount| {
            if !count.has_failures() {
                AlertmanagerState::Hears
            } else if count.has_success() {
                AlertmanagerState::Failing(format!(
                    "{why}, and Prometheus could not send it {} {span}",
                    count.describe_failures()
                ))
            } else {
                AlertmanagerState::Deaf(format!(
                    "{why}, and Prometheus counts {} failures of sending {span} and nothing that it took",
                    count.failed
                ))
            }
        };
        let latest = self
            .recent
            .iter()
            .find(|(_, count)| count.has_success() || count.has_failures());
        let total = &self.total;
        if let Some((name, count)) = latest {
            return of_time(format!("in the last {name}"), count);
        }
        if !total.has_success() && !total.has_failures() {
            return AlertmanagerState::Unknown(why.to_owned());
        }
        // It took something, and what failed is longer ago than the longest of the times.
        if total.has_success() && !self.recent.is_empty() {
            return AlertmanagerState::Hears;
        }
        of_time("since its start".to_owned(), total)
    }
}

/// What Prometheus' own metrics say of the Alertmanager at `url`, since its start.
fn find_sent(metrics: &str, url: &str) -> SentCount {
    let label = format!("alertmanager=\"{url}\"");
    let rows = |name: &'static str| {
        metrics
            .lines()
            .filter_map(move |line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once('}'))
    };
    let mut count = SentCount {
        fails_by_alert: rows("prometheus_build_info")
            .find_map(|(labels, _)| read_version(labels))
            .is_some_and(|version| version >= FAILED_ALERTS_SINCE),
        ..SentCount::default()
    };
    for metric in [ALERTS, REQUESTS, FAILURES] {
        let of_url = rows(metric).filter(|(labels, _)| labels.contains(&label));
        let values = of_url.filter_map(|(_, value)| value.trim().parse::<f64>().ok());
        count.set(metric, values.sum());
    }
    count
}

/// The first two numbers of the version among the labels of `prometheus_build_info`.
fn read_version(labels: &str) -> Option<(u32, u32)> {
    let (_, version) = labels.split_once(",version=\"")?;
    let mut numbers = version.split(['.', '-', '+', '"']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What a Prometheus that scrapes itself counted in the last time for the Alertmanager at `url`; `None`: it has no such series.
fn query_sent(
    prometheus: &PrometheusClient,
    url: &str,
    span: &str,
    fails_by_alert: bool,
) -> Option<SentCount> {
    // It is to be a string of the query.
    if url.contains(['"', '\\', '\n']) {
        return None;
    }
    // `increase` extrapolates, and is not whole. A series that did not count then, or was less, has begun since.
    let grown = |metric: &str| {
        let now = format!("{metric}{{alertmanager=\"{url}\"}}");
        let grown = format!("sum({now} - ({now} offset {span} <= {now} or {now} * 0))");
        format!("label_replace({grown}, \"metric\", \"{metric}\", \"\", \"\")")
    };
    let all = [ALERTS, REQUESTS, FAILURES].map(grown).join(" or ");
    let query = format!("/api/v1/query?query={}", escape_query(&all));
    let found = prometheus.read_data(&query).ok()?;
    let rows = found.get("result")?.as_array()?;
    let mut count = SentCount {
        fails_by_alert,
        ..SentCount::default()
    };
    for row in rows {
        let value = row.get("value")?.get(1)?.as_str()?.parse().ok()?;
        count.set(text_field(&row["metric"], "metric"), value);
    }
    (!rows.is_empty()).then_some(count)
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
        // Each request has two alerts, as where two rules fire together. A count is: requests, failed ones.
        let count = |(requests, failed): (u32, u32), fails_by_alert| SentCount {
            alerts: f64::from(requests * 2),
            requests: f64::from(requests),
            failed: f64::from(if fails_by_alert { failed * 2 } else { failed }),
            fails_by_alert,
        };
        let (nothing, taken, failed, mixed) = ((0, 0), (9, 0), (3, 3), (9, 1));
        for (total, recent, expected) in [
            (nothing, None, "unknown"),
            (taken, None, "hears"),
            (failed, None, "deaf: failures of sending since its start"),
            // Once is not for good, and cannot be dated.
            (mixed, None, "failing: since its start"),
            (nothing, Some([nothing, nothing]), "unknown"),
            (mixed, Some([taken, mixed]), "hears"),
            (mixed, Some([nothing, taken]), "hears"),
            (mixed, Some([nothing, nothing]), "hears"),
            (taken, Some([nothing, nothing]), "hears"),
            (
                failed,
                Some([nothing, nothing]),
                "deaf: failures of sending since its start",
            ),
            (
                mixed,
                Some([mixed, mixed]),
                "failing: in the last 15 minutes",
            ),
            (mixed, Some([nothing, mixed]), "failing: in the last day"),
            // What it took an hour ago is no comfort.
            (
                (90, 3),
                Some([failed, (90, 3)]),
                "deaf: failures of sending in the last 15 minutes",
            ),
            (
                (90, 3),
                Some([nothing, failed]),
                "deaf: failures of sending in the last day",
            ),
        ] {
            for fails_by_alert in [false, true] {
                let names = SPANS.iter().map(|(_, name)| *name);
                let counts = recent.into_iter().flatten();
                let history = SentHistory {
                    total: count(total, fails_by_alert),
                    recent: names
                        .zip(counts.map(|one| count(one, fails_by_alert)))
                        .collect(),
                };
                let found = history.judge_alertmanager("it is elsewhere");
                let (word, text) = match &found {
                    AlertmanagerState::Hears => ("hears", ""),
                    AlertmanagerState::Unknown(text) => ("unknown", &**text),
                    AlertmanagerState::Failing(text) => ("failing", &**text),
                    AlertmanagerState::Deaf(text) => ("deaf", &**text),
                };
                let (expected, part) = expected.split_once(": ").unwrap_or((expected, ""));
                assert_eq!(word, expected, "{history:?}: {found:?}");
                assert!(text.contains(part), "{part}: {text}");
                assert!(word == "hears" || text.starts_with("it is elsewhere"));
            }
        }
    }

    #[test]
    fn what_prometheus_counts_is_found_by_the_address() {
        let metrics = "# TYPE prometheus_notifications_errors_total counter\n\
             prometheus_build_info{branch=\"x\",goversion=\"go1.19.8\",revision=\"2.42.0+ds\",version=\"2.42.0+ds\"} 1\n\
             prometheus_notifications_errors_total{alertmanager=\"http://a:9093/api/v2/alerts\"} 3\n\
             prometheus_notifications_errors_total{alertmanager=\"http://b:9093/api/v2/alerts\"} 4\n\
             prometheus_notifications_latency_seconds{alertmanager=\"http://a:9093/api/v2/alerts\",quantile=\"0.5\"} 0.1\n\
             prometheus_notifications_latency_seconds_count{alertmanager=\"http://a:9093/api/v2/alerts\"} 7\n\
             prometheus_notifications_sent_total{alertmanager=\"http://a:9093/api/v2/alerts\"} 1.2e+01\n";
        let found = find_sent(metrics, "http://a:9093/api/v2/alerts");
        assert_eq!(
            found,
            SentCount {
                alerts: 12.0,
                requests: 7.0,
                failed: 3.0,
                fails_by_alert: false
            }
        );
        assert_eq!(
            find_sent(metrics, "http://c/api/v2/alerts"),
            SentCount::default()
        );
        for (version, fails_by_alert) in [
            ("2.55.1", false),
            ("3.0.1", false),
            ("3.1.0", true),
            ("3.10.0-rc.0", true),
            ("4.0.0", true),
            ("unknown", false),
        ] {
            let metrics =
                metrics.replace("version=\"2.42.0+ds\"", &format!("version=\"{version}\""));
            let found = find_sent(&metrics, "http://a:9093/api/v2/alerts");
            assert_eq!(found.fails_by_alert, fails_by_alert, "{version}");
        }
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
