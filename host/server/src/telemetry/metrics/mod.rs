//! Every metric of `/metrics`, stated once: its name, type, labels and help text, and where its value comes from.
//!
//! Dashboards and alert rules are written against these names, so they are a contract; `docs/metrics-reference.md` is generated from them, and tests
//! compare it with them and with what a host shows. Names follow Prometheus: base units, `_total` for counters. Label values are those of
//! loaded agents, loaded policies, configured streams and webhooks, and of fixed lists ([`ark_model::meters`]); none is an id or free text but the name of the process that is there now, so that the number of series is bounded.

mod agents;
mod decisions;
mod front;
mod guards;
mod http;
mod metric;
mod process;
mod redis;
mod signals;
mod slos;
mod store;
mod webhooks;

use std::fmt::Write as _;

pub(super) use metric::{Emit, MetricContext, Observe};
pub use metric::{Metric, MetricKind, MetricSources, OpenApprovals};

/// Bounds of the buckets of all histograms, in seconds. They are finer than a millisecond at the lower end, and the targets of the objectives
/// (0.12 and 0.4) are among them, so that what an alert rule computes from the buckets is exact there.
pub const BUCKETS: [f64; 22] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.12, 0.25, 0.4, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The quantiles of summaries.
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// The tables of a host's metrics, in the order of the documented table.
const TABLES: [&[Metric]; 11] = [
    decisions::METRICS,
    signals::METRICS,
    agents::METRICS,
    http::METRICS,
    store::METRICS,
    guards::METRICS,
    redis::METRICS,
    webhooks::METRICS,
    slos::METRICS,
    process::SPAN_METRICS,
    process::METRICS,
];

/// The tables of a front's metrics.
const FRONT_TABLES: [&[Metric]; 2] = [front::METRICS, process::METRICS];

/// Returns all metrics of a host.
pub fn all_metrics() -> impl Iterator<Item = &'static Metric> {
    TABLES.into_iter().flatten()
}

/// Returns all metrics of a front.
pub fn front_metrics() -> impl Iterator<Item = &'static Metric> {
    FRONT_TABLES.into_iter().flatten()
}

/// Returns the metric of this name, of a host or of a front.
#[must_use]
pub fn find_metric(name: &str) -> Option<&'static Metric> {
    let mut metrics = all_metrics().chain(front::METRICS);
    metrics.find(|metric| metric.name == name)
}

/// Returns metrics as a table of `docs/metrics-reference.md`.
#[must_use]
pub fn markdown_table(metrics: impl Iterator<Item = &'static Metric>) -> String {
    let mut table = String::from("| metric | type | labels | what it says |\n|---|---|---|---|\n");
    for metric in metrics {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let every = || all_metrics().chain(front::METRICS);
        for (index, metric) in every().enumerate() {
            let name = metric.name;
            assert!(
                every().skip(index + 1).all(|other| other.name != name),
                "{name} is listed twice"
            );
            assert_eq!(
                metric.kind == MetricKind::Counter,
                name.ends_with("_total"),
                "{name}"
            );
            assert!(
                name.starts_with("ark_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(
                !["_ms", "_millis", "_micros", "_percent", "_kb"]
                    .iter()
                    .any(|unit| name.ends_with(unit)),
                "{name} is not in base units"
            );
            assert!(metric.labels.is_sorted(), "{name}: {:?}", metric.labels);
        }
        assert!(BUCKETS.is_sorted() && BUCKETS.contains(&0.12) && BUCKETS.contains(&0.4));
    }

    #[test]
    fn the_documented_tables_are_these() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/metrics-reference.md"
        );
        let document = std::fs::read_to_string(path).unwrap();
        for table in [
            markdown_table(all_metrics()),
            markdown_table(front_metrics()),
        ] {
            assert!(
                document.contains(&table),
                "docs/metrics-reference.md does not hold this table:\n{table}"
            );
        }
    }
}
