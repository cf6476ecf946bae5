//! The runbook has a section for each alert, and each alert of Prometheus leads to its own.

use std::collections::BTreeSet;
use std::fs;

use super::links::anchor_of;
use super::pages::repository;

/// What stands before the path of a page in `runbook_url`: the base that an operator gives as an external label.
const BASE: &str = "{{ $externalLabels.runbook_base }}";
/// What each section says, and in which forms.
const PARTS: [(&str, &[&str]); 2] = [
    ("what the alert means", &["**Means:**"]),
    (
        "what to do",
        &["**Do:**", "**Look** and **do:**", "For information:"],
    ),
];

fn read_page(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The alerts of `deploy/prometheus/rules`, each with its `runbook_url`.
fn list_alerts() -> Vec<(String, Option<String>)> {
    let mut alerts: Vec<(String, Option<String>)> = Vec::new();
    let dir = repository().join("deploy/prometheus/rules");
    for entry in fs::read_dir(dir).expect("the rules") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a file of rules");
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("- alert: ") {
                alerts.push((name.to_owned(), None));
            } else if let Some(url) = line.strip_prefix("runbook_url: ") {
                let (_, last) = alerts.last_mut().expect("an alert above its annotation");
                *last = Some(url.trim_matches('"').to_owned());
            }
        }
    }
    alerts
}

/// The kinds of the watchdog's alerts: those of the table in `docs/alerts.md`, and those that come with orders.
fn list_kinds() -> BTreeSet<String> {
    let page = read_page("docs/alerts.md");
    let (table, orders) = page
        .split_once("Orders raise alerts too")
        .expect("the paragraph about orders");
    let orders = orders.split("\n\n").next().expect("a paragraph");
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let of_orders = orders.split('`').skip(1).step_by(2);
    rows.chain(of_orders).map(str::to_owned).collect()
}

/// The sections of the runbook that are about one alert: name and text.
fn list_sections(page: &str) -> Vec<(String, String)> {
    let sections = page.split("\n### ").skip(1);
    sections
        .map(|section| {
            let (heading, text) = section.split_once('\n').expect("a text below the heading");
            let text = text.split("\n## ").next().expect("a text");
            (heading.trim_matches('`').to_owned(), text.to_owned())
        })
        .collect()
}

#[test]
fn every_alert_has_a_section_and_every_section_an_alert() {
    let page = read_page("docs/runbook.md");
    let sections = list_sections(&page);
    let named: Vec<&String> = sections.iter().map(|(name, _)| name).collect();
    let unique: BTreeSet<&String> = named.iter().copied().collect();
    assert_eq!(unique.len(), named.len(), "a section is there twice");

    let alerts = list_alerts();
    let kinds = list_kinds();
    assert!(
        alerts.len() >= 40 && kinds.len() >= 38,
        "{} alerts and {} kinds are found",
        alerts.len(),
        kinds.len()
    );
    let known: BTreeSet<&String> = alerts.iter().map(|(name, _)| name).chain(&kinds).collect();
    let without_section: Vec<_> = known.difference(&unique).collect();
    let without_alert: Vec<_> = unique.difference(&known).collect();
    assert!(
        without_section.is_empty(),
        "docs/runbook.md has no section for {without_section:?}"
    );
    assert!(
        without_alert.is_empty(),
        "docs/runbook.md has sections for alerts that there are not: {without_alert:?}"
    );
    for (name, text) in &sections {
        for (part, forms) in PARTS {
            assert!(
                forms.iter().any(|form| text.contains(form)),
                "{name} does not say {part}: {forms:?}"
            );
        }
    }
}

#[test]
fn every_alert_of_prometheus_leads_to_its_section() {
    for (name, url) in list_alerts() {
        let url = url.unwrap_or_else(|| panic!("{name} has no runbook_url"));
        let path = url
            .strip_prefix(BASE)
            .unwrap_or_else(|| panic!("{name}: {url} does not begin with {BASE}"));
        let (file, anchor) = path.split_once('#').expect("a page and its heading");
        let file = file.strip_prefix('/').expect("a path below the base");
        let page = read_page(&format!("docs/{}", file.replace(".html", ".md")));
        let heading = page
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .find(|heading| anchor_of(heading) == anchor);
        assert_eq!(heading, Some(name.as_str()), "{name}: {url}");
    }
}
