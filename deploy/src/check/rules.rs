//! The rules that a Prometheus has loaded, against those that this release ships: each is there, with its expression, its durations and its
//! labels, and is evaluated as often.

use std::collections::BTreeMap;

use ark_client::escape_query;
use serde_json::Value;

use crate::prometheus::PrometheusClient;

use super::line::CheckLines;

/// The rules that ARK ships.
pub(super) const RULES: [&str; 3] = [
    include_str!("../../prometheus/rules/alerts.yml"),
    include_str!("../../prometheus/rules/burn-rates.yml"),
    include_str!("../../prometheus/rules/recording.yml"),
];
/// How many rules are named at most.
const MAX_NAMED: usize = 3;
/// How often a rule is evaluated at least whose group has no interval of its own, in seconds: as often as Prometheus does by default.
const DEFAULT_INTERVAL_S: u64 = 60;
/// What to do about rules that are missing or differ.
const REMEDY: &str = "load deploy/prometheus/rules/*.yml of this release (rule_files)";

/// A rule of this release.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ShippedRule {
    pub(super) name: &'static str,
    expression: String,
    /// How long an alert is pending, in seconds.
    pending_s: u64,
    /// Names and values. The severity decides whom an alert wakes.
    labels: Vec<(&'static str, &'static str)>,
    /// How often its group is evaluated, in seconds; `None`: as often as this Prometheus evaluates those that do not say.
    interval_s: Option<u64>,
}

/// A rule that a Prometheus has loaded, and how often its group is evaluated, in seconds.
#[derive(Clone, Copy)]
struct LoadedRule<'a> {
    rule: &'a Value,
    interval_s: f64,
}

/// The rules in a file of rules. The files are of this project, and of one form: `- name:` of a group, its `interval:` if any, then of each rule
/// `- alert:` or `- record:`, `expr:` with a block or a plain text, `for:`, and `labels:` with one a line.
pub(super) fn list_rules(file: &'static str) -> Vec<ShippedRule> {
    let mut rules: Vec<ShippedRule> = Vec::new();
    // How far the lines of the expression are indented at least, while it is read.
    let mut block = None;
    // How far `labels:` is indented, while they are read.
    let mut labels = None;
    let mut interval_s = None;
    for line in file.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if block.is_some_and(|least| indent >= least) {
            if let Some(rule) = rules.last_mut() {
                rule.expression.push_str(text);
                rule.expression.push('\n');
            }
            continue;
        }
        block = None;
        if labels.is_some_and(|key| indent > key) {
            if let (Some((name, value)), Some(rule)) = (text.split_once(": "), rules.last_mut()) {
                rule.labels.push((name, value.trim_matches(['"', '\''])));
            }
            continue;
        }
        labels = None;
        let name = text
            .strip_prefix("- alert: ")
            .or_else(|| text.strip_prefix("- record: "));
        if let Some(name) = name {
            rules.push(ShippedRule {
                name,
                interval_s,
                ..ShippedRule::default()
            });
        } else if text.starts_with("- name: ") {
            interval_s = None;
        } else if let Some(time) = text.strip_prefix("interval: ") {
            interval_s = Some(parse_duration(time));
        } else if text == "labels:" {
            labels = Some(indent);
        } else if text.starts_with("expr: |") {
            block = Some(indent + 1);
        } else if let (Some(inline), Some(rule)) = (text.strip_prefix("expr: "), rules.last_mut()) {
            inline.clone_into(&mut rule.expression);
        } else if let (Some(time), Some(rule)) = (text.strip_prefix("for: "), rules.last_mut()) {
            rule.pending_s = parse_duration(time);
        }
    }
    rules
}

/// A duration of a rule in seconds.
fn parse_duration(text: &str) -> u64 {
    let digits = text.trim_end_matches(|one: char| !one.is_ascii_digit());
    let unit = match text.get(digits.len()..) {
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => 1,
    };
    digits.parse::<u64>().unwrap_or(0) * unit
}

/// Compares the rules that a Prometheus has loaded (`data` of `/api/v1/rules`) with those of this release.
pub(super) fn check_rules(prometheus: &PrometheusClient, data: &Value, lines: &mut CheckLines) {
    let groups = data.get("groups").and_then(Value::as_array);
    let rules: Vec<LoadedRule<'_>> = groups
        .into_iter()
        .flatten()
        .filter_map(|group| {
            let interval_s = group.get("interval").and_then(Value::as_f64);
            let rules = group.get("rules")?.as_array()?.iter();
            Some(rules.map(move |rule| LoadedRule {
                rule,
                interval_s: interval_s.unwrap_or_default(),
            }))
        })
        .flatten()
        .collect();
    let mut loaded: BTreeMap<&str, Vec<LoadedRule<'_>>> = BTreeMap::new();
    for each in &rules {
        loaded
            .entry(read_text(each.rule, "name"))
            .or_default()
            .push(*each);
    }
    let (mut missing, mut different, mut rare) = (Vec::new(), Vec::new(), Vec::new());
    for rule in RULES.into_iter().flat_map(list_rules) {
        let Some(alike) = loaded.get(rule.name) else {
            missing.push(rule.name.to_owned());
            continue;
        };
        if let Some(difference) = find_difference(prometheus, &rule, alike) {
            different.push(format!("{} ({difference})", rule.name));
        }
        let wanted = rule.interval_s.unwrap_or(DEFAULT_INTERVAL_S);
        let found = alike.iter().map(|each| each.interval_s);
        let found = found.fold(f64::INFINITY, f64::min);
        if found > wanted as f64 {
            rare.push(format!("{} (every {found} s, not {wanted} s)", rule.name));
        }
    }
    if !missing.is_empty() {
        lines.add_error(
            format!(
                "Prometheus lacks {} of ARK's rules, e.g. {}",
                missing.len(),
                name_some(&missing)
            ),
            REMEDY,
        );
    }
    if !different.is_empty() {
        lines.add_warning(
            format!(
                "Prometheus has {} of ARK's rules otherwise than this release ships them, e.g. {}",
                different.len(),
                name_some(&different)
            ),
            format!("{REMEDY}, or keep the change and mind it in the runbook"),
        );
    }
    if !rare.is_empty() {
        lines.add_warning(
            format!(
                "Prometheus evaluates {} of ARK's rules less often than this release, so an alert comes late, e.g. {}",
                rare.len(),
                name_some(&rare)
            ),
            format!("{REMEDY}, and set global.evaluation_interval to {DEFAULT_INTERVAL_S}s at most"),
        );
    }
    for rule in rules
        .iter()
        .map(|each| each.rule)
        .filter(|rule| read_text(rule, "health") == "err")
    {
        lines.add_error(
            format!(
                "the rule {} cannot be evaluated: {}",
                read_text(rule, "name"),
                read_text(rule, "lastError")
            ),
            "load the rules of this release (deploy/prometheus/rules)",
        );
    }
}

fn read_text<'a>(rule: &'a Value, name: &str) -> &'a str {
    rule.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn name_some(names: &[String]) -> String {
    let named: Vec<&str> = names.iter().take(MAX_NAMED).map(String::as_str).collect();
    named.join(", ")
}

/// What is different of a rule; `None`: one of those of its name is as it is shipped.
fn find_difference(
    prometheus: &PrometheusClient,
    rule: &ShippedRule,
    loaded: &[LoadedRule<'_>],
) -> Option<String> {
    let mut difference = None;
    for one in loaded.iter().map(|each| each.rule) {
        let pending = one.get("duration").and_then(Value::as_f64).unwrap_or(0.0);
        if (pending - rule.pending_s as f64).abs() >= 0.5 {
            difference = Some(format!("for {pending} s, not {} s", rule.pending_s));
        } else if let Some(label) = find_other_label(rule, one) {
            difference = Some(label);
        } else if is_alike(prometheus, &rule.expression, read_text(one, "query")) {
            return None;
        } else {
            difference = Some("another expression".to_owned());
        }
    }
    difference
}

/// A label that a loaded rule lacks or has with another value. More labels than those of this release are no difference.
fn find_other_label(rule: &ShippedRule, loaded: &Value) -> Option<String> {
    rule.labels.iter().find_map(|(name, wanted)| {
        let found = loaded.get("labels").and_then(|labels| labels.get(name));
        match found.and_then(Value::as_str) {
            Some(found) if found == *wanted => None,
            Some(found) => Some(format!("{name} {found}, not {wanted}")),
            None => Some(format!("no {name}, not {wanted}")),
        }
    })
}

/// Whether two expressions are one: as they stand but for blanks, or as Prometheus itself writes them. What it cannot write is no finding.
fn is_alike(prometheus: &PrometheusClient, one: &str, other: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    if squeeze(one) == squeeze(other) {
        return true;
    }
    let format = |expression: &str| {
        let path = format!("/api/v1/format_query?query={}", escape_query(expression));
        let formatted = prometheus.read_data(&path).ok()?;
        formatted.as_str().map(squeeze)
    };
    match (format(one), format(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{RULES, ShippedRule, list_rules, parse_duration};

    #[test]
    fn the_rules_are_read_with_expression_and_duration() {
        let rules: Vec<_> = RULES.into_iter().flat_map(list_rules).collect();
        assert!(rules.len() > 40, "{rules:?}");
        assert!(rules.iter().all(|rule| !rule.expression.trim().is_empty()));
        let find = |name: &str| {
            let found = rules.iter().find(|rule| rule.name == name);
            found.unwrap_or_else(|| panic!("{name}"))
        };
        assert_eq!(
            find("ArkDown").expression,
            "absent(up{job=\"ark\"})\nor up{job=\"ark\"} == 0\n"
        );
        assert_eq!(find("ArkDown").pending_s, 60);
        assert_eq!(find("ArkAvailabilityBurnFast").pending_s, 120);
        assert_eq!(find("ArkDown").labels, [("severity", "critical")]);
        assert_eq!(find("ArkDown").interval_s, None);
        assert_eq!(
            find("ArkAvailabilityBurnSlow").labels,
            [("severity", "warning")]
        );
        assert_eq!(find("ArkAvailabilityBurnFast").interval_s, None);
        let is_alert = |rule: &&ShippedRule| rule.name.starts_with("Ark");
        assert!(
            rules
                .iter()
                .filter(is_alert)
                .all(|rule| rule.labels.len() == 1)
        );
        let ratio = find("ark:availability:bad_ratio_5m");
        assert_eq!((ratio.interval_s, ratio.labels.len()), (Some(30), 0));
        assert_eq!(ratio.pending_s, 0);
        assert!(ratio.expression.starts_with("(\n") && ratio.expression.contains("[5m])"));
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("15m", 900),
            ("1h", 3600),
            ("3d", 259_200),
        ] {
            assert_eq!(parse_duration(text), seconds, "{text}");
        }
    }
}
