//! The rules that a Prometheus has loaded, against those that this release ships: each is there, with its expression and its durations.

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
/// What to do about rules that are missing or differ.
const REMEDY: &str = "load deploy/prometheus/rules/*.yml of this release (rule_files)";

/// A rule of this release.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ShippedRule {
    pub(super) name: &'static str,
    expression: String,
    /// How long an alert is pending, in seconds.
    pending_s: u64,
}

/// The rules in a file of rules. The files are of this project, and of one form: `- alert:` or `- record:`, then `expr:` with a
/// block or a plain text, then `for:`.
pub(super) fn list_rules(file: &'static str) -> Vec<ShippedRule> {
    let mut rules: Vec<ShippedRule> = Vec::new();
    // How far the lines of the expression are indented at least, while it is read.
    let mut block = None;
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
        let name = text
            .strip_prefix("- alert: ")
            .or_else(|| text.strip_prefix("- record: "));
        if let Some(name) = name {
            rules.push(ShippedRule {
                name,
                ..ShippedRule::default()
            });
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
    let rules: Vec<&Value> = groups
        .into_iter()
        .flatten()
        .filter_map(|group| group.get("rules")?.as_array())
        .flatten()
        .collect();
    let mut loaded: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for rule in &rules {
        loaded
            .entry(read_text(rule, "name"))
            .or_default()
            .push(rule);
    }
    let (mut missing, mut different) = (Vec::new(), Vec::new());
    for rule in RULES.into_iter().flat_map(list_rules) {
        match loaded.get(rule.name) {
            None => missing.push(rule.name.to_owned()),
            Some(alike) => {
                if let Some(difference) = find_difference(prometheus, &rule, alike) {
                    different.push(format!("{} ({difference})", rule.name));
                }
            }
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
    for rule in rules
        .iter()
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
    loaded: &[&Value],
) -> Option<String> {
    let mut difference = None;
    for one in loaded {
        let pending = one.get("duration").and_then(Value::as_f64).unwrap_or(0.0);
        if (pending - rule.pending_s as f64).abs() >= 0.5 {
            difference = Some(format!("for {pending} s, not {} s", rule.pending_s));
        } else if is_alike(prometheus, &rule.expression, read_text(one, "query")) {
            return None;
        } else {
            difference = Some("another expression".to_owned());
        }
    }
    difference
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
    use super::{RULES, list_rules, parse_duration};

    #[test]
    fn the_rules_are_read_with_expression_and_duration() {
        let rules: Vec<_> = RULES.into_iter().flat_map(list_rules).collect();
        assert!(rules.len() > 40, "{rules:?}");
        assert!(rules.iter().all(|rule| !rule.expression.trim().is_empty()));
        let find = |name: &str| {
            let found = rules.iter().find(|rule| rule.name == name);
            found.unwrap_or_else(|| panic!("{name}"))
        };
        assert_eq!(find("ArkDown").expression, "up{job=\"ark\"} == 0\n");
        assert_eq!(find("ArkDown").pending_s, 60);
        assert_eq!(find("ArkAvailabilityBurnFast").pending_s, 120);
        let ratio = find("ark:availability:bad_ratio_5m");
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
