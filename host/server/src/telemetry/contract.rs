//! The contract of `/metrics`: every name, its type, its labels and what it says. Dashboards and alert rules are written against it.
//!
//! Names follow Prometheus: base units, `_total` for what only grows. Label values are those of loaded agents, loaded policies and of the
//! fixed lists in `meters`; none is an id or free text. `deploy/metrics.md` is this table; a test compares the two, and another this table
//! with what a host shows.

use std::fmt::Write as _;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows, and starts at 0 with the process.
    Counter,
    /// It is what it is now.
    Gauge,
    /// A distribution in buckets.
    Histogram,
    /// A distribution as quantiles over the last five minutes; its count and sum are those since the start.
    Summary,
}

impl MetricKind {
    /// As Prometheus names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// Its labels, in the order of the alphabet; without `le` and `quantile`.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Histogram,
        labels,
        help,
    }
}

const fn summary(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Summary,
        labels: &[],
        help,
    }
}

/// Bounds of the buckets of all histograms, in seconds: finer than a millisecond below, and the SLOs' targets (0.12 and 0.4) among them, so
/// that what a rule computes from the buckets is exact there.
pub const BUCKETS: [f64; 22] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.12, 0.25, 0.4, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The quantiles of summaries.
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

const AGENT_LABELS: &[&str] = &["agent", "deployment"];

/// All metrics.
pub const CONTRACT: &[Metric] = &[
    // Decisions.
    counter(
        "ark_decisions_total",
        &["outcome"],
        "Decisions on disk, by outcome: approved, held, denied. Equals the audit log's rows.",
    ),
    histogram(
        "ark_decision_duration_seconds",
        &[],
        "From the moment a proposal is accepted until its decision is durable.",
    ),
    summary(
        "ark_decision_latency_seconds",
        "The same as quantiles over the last five minutes.",
    ),
    histogram(
        "ark_decision_phase_duration_seconds",
        &["phase"],
        "The phases: queue (until the HRM takes it), instantiate and guest (of an invocation), policy, commit.",
    ),
    histogram(
        "ark_hrm_evaluation_duration_seconds",
        &[],
        "One evaluation: facts, all policies, combination. Dry runs are in it.",
    ),
    summary(
        "ark_hrm_evaluation_latency_seconds",
        "The same as quantiles over the last five minutes.",
    ),
    counter(
        "ark_rule_violations_total",
        &["policy", "rule", "severity"],
        "Rules broken in decisions.",
    ),
    counter(
        "ark_rule_answers_total",
        &["answer", "policy", "rule", "severity"],
        "Rules that answered hold, warn or error in decisions.",
    ),
    counter(
        "ark_policy_failures_total",
        &["policy"],
        "Decisions for which a policy could not answer: they were denied.",
    ),
    counter(
        "ark_policy_evaluations_total",
        &["mode", "policy"],
        "Evaluations of operator policies, dry runs too: enforce, or shadow (on trial, counts for nothing).",
    ),
    counter(
        "ark_policy_evaluation_seconds_total",
        &["mode", "policy"],
        "Time they took.",
    ),
    counter(
        "ark_policy_shadow_decisions_total",
        &["policy", "result"],
        "Decisions of which a policy on trial said something: same (the outcome would be), different, failed (it could not answer).",
    ),
    gauge(
        "ark_policies_in_force",
        &["kind"],
        "Operator policies: enforce, shadow, broken (it cannot be loaded, so everything is denied in its name).",
    ),
    counter(
        "ark_proposals_refused_total",
        &["reason"],
        "Proposals without a decision: busy (too many were waiting), not_recorded (the commit failed: denied).",
    ),
    gauge(
        "ark_approvals_open",
        &[],
        "Held decisions that wait for an approval.",
    ),
    gauge(
        "ark_approvals_oldest_age_seconds",
        &[],
        "How long the oldest of them waits; 0 when none does.",
    ),
    counter(
        "ark_executions_total",
        &["status"],
        "Execution reports, by status.",
    ),
    // Signals.
    counter(
        "ark_signals_total",
        &["source"],
        "Signals stored: external (from outside), internal (messages of agents and of the host).",
    ),
    counter(
        "ark_signals_duplicate_total",
        &[],
        "Signals whose key had been seen: nothing ran.",
    ),
    counter(
        "ark_deliveries_total",
        &["result"],
        "Deliveries settled: done, failed, shed (no room for it).",
    ),
    gauge(
        "ark_backlog_deliveries",
        &[],
        "Deliveries that are not settled yet.",
    ),
    gauge("ark_backlog_limit_deliveries", &[], "How many may be."),
    // Agents.
    gauge("ark_agents_loaded", &[], "Agents in force."),
    counter(
        "ark_agent_invocations_total",
        &["agent", "deployment", "result"],
        "Invocations settled: success, failure.",
    ),
    counter(
        "ark_agent_busy_seconds_total",
        AGENT_LABELS,
        "Time from a worker's start to the commit, of all invocations.",
    ),
    counter(
        "ark_agent_fuel_total",
        AGENT_LABELS,
        "Fuel used; about one a WebAssembly instruction.",
    ),
    gauge(
        "ark_agent_memory_peak_bytes",
        AGENT_LABELS,
        "The most memory one of its invocations held since the start.",
    ),
    counter(
        "ark_agent_failures_total",
        &["agent", "deployment", "reason"],
        "Invocations that failed, by what ended them, e.g. fuel, deadline, trap, reported. Those of a reason appear with the first.",
    ),
    counter(
        "ark_agent_kills_total",
        &["agent", "deployment", "reason"],
        "Of these the invocations that the host ended: a limit, the deadline, a trap.",
    ),
    counter(
        "ark_agent_heartbeats_missed_total",
        AGENT_LABELS,
        "Heartbeats it did not give in time.",
    ),
    counter(
        "ark_agent_quarantines_total",
        &["agent", "deployment", "reason"],
        "Quarantines, by reason. Those of a reason appear with the first.",
    ),
    gauge(
        "ark_agent_quarantined",
        &["agent"],
        "1 while it is in quarantine.",
    ),
    gauge(
        "ark_agent_health_score",
        &["agent"],
        "0 to 1: 0.5 success + 0.3 latency + 0.2 recency.",
    ),
    gauge(
        "ark_agent_waiting_deliveries",
        &["agent"],
        "Deliveries to it that are not settled yet.",
    ),
    counter(
        "ark_agent_decisions_total",
        &["agent", "deployment", "outcome"],
        "Decisions on what it proposed.",
    ),
    histogram(
        "ark_invocation_duration_seconds",
        &[],
        "An invocation of any agent, from a worker's start to the commit.",
    ),
    // HTTP.
    counter(
        "ark_http_requests_total",
        &["call", "status"],
        "Answers of the API, by kind of call and class of status.",
    ),
    histogram(
        "ark_http_request_duration_seconds",
        &["call"],
        "From a request's head to its answer's.",
    ),
    // The store.
    histogram(
        "ark_store_commit_duration_seconds",
        &[],
        "One transaction, its sync included.",
    ),
    histogram(
        "ark_state_write_duration_seconds",
        &[],
        "A write of state, memory, truth or settings, from its submission until it is durable.",
    ),
    counter(
        "ark_store_units_total",
        &[],
        "Units committed; divided by the number of commits, how many share one sync.",
    ),
    counter(
        "ark_store_failed_commits_total",
        &[],
        "Transactions that failed.",
    ),
    counter(
        "ark_audit_rows_total",
        &[],
        "Rows appended to the audit log.",
    ),
    gauge(
        "ark_audit_head_sequence",
        &[],
        "The number of the audit log's last row. Its hash is in /metrics/json.",
    ),
    gauge(
        "ark_audit_writable",
        &[],
        "1 while the last commit succeeded.",
    ),
    gauge(
        "ark_database_bytes",
        &[],
        "The database and its write-ahead log.",
    ),
    gauge(
        "ark_disk_available_bytes",
        &[],
        "What is free on the disk of the data directory.",
    ),
    gauge("ark_disk_size_bytes", &[], "How large it is."),
    // Guards.
    gauge(
        "ark_graveyard_info",
        &["digest", "version"],
        "1: the Graveyard in force.",
    ),
    counter(
        "ark_graveyard_validations_total",
        &["result"],
        "Re-hashes of the Graveyard: held, broken.",
    ),
    gauge(
        "ark_graveyard_pin_holds",
        &[],
        "1 while its bytes match the pin.",
    ),
    gauge(
        "ark_graveyard_vectors_passed",
        &[],
        "Test vectors it passed at the start.",
    ),
    gauge("ark_halted", &[], "1 while nothing but reads is approved."),
    gauge("ark_watchdog_beating", &[], "1 while the watchdog beats."),
    gauge("ark_ready", &[], "1 while /readyz says 200."),
    // Redis, when one is watched.
    gauge(
        "ark_redis_up",
        &[],
        "1 when the watched Redis answered at the last look. Absent without one.",
    ),
    gauge(
        "ark_redis_latency_seconds",
        &[],
        "How long its answer took.",
    ),
    gauge("ark_redis_queue_depth", &[], "How much waits in its queue."),
    // SLOs, as the host computes them; absent where there is not enough data.
    gauge(
        "ark_slo_met",
        &["slo", "window"],
        "1 when the SLO is met over the window (5m, 1h). Absent without enough data.",
    ),
    gauge(
        "ark_slo_burn_rate",
        &["slo", "window"],
        "How fast its error budget burns; 1: it is used up exactly at the end of the period.",
    ),
    // The process.
    gauge("ark_build_info", &["version"], "1: the program that runs."),
    counter(
        "ark_spans_total",
        &["result"],
        "Spans for the OTLP endpoint: exported, failed, dropped. Absent without one.",
    ),
    gauge("process_resident_memory_bytes", &[], "Resident memory."),
    gauge("process_open_fds", &[], "Open file descriptors."),
    gauge("process_threads", &[], "Threads."),
    counter(
        "process_cpu_seconds_total",
        &[],
        "Processor time, user and system.",
    ),
    gauge(
        "process_start_time_seconds",
        &[],
        "When the process started, since the Unix epoch.",
    ),
];

/// The metric of this name.
#[must_use]
pub fn find_metric(name: &str) -> Option<&'static Metric> {
    CONTRACT.iter().find(|metric| metric.name == name)
}

/// The table of `deploy/metrics.md`.
#[must_use]
pub fn markdown_table() -> String {
    let mut table = String::from("| metric | type | labels | what it says |\n|---|---|---|---|\n");
    for metric in CONTRACT {
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
        for (index, metric) in CONTRACT.iter().enumerate() {
            let name = metric.name;
            assert!(
                CONTRACT
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.name != name),
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
    fn the_documented_table_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/metrics.md");
        let document = std::fs::read_to_string(path).unwrap();
        assert!(
            document.contains(&markdown_table()),
            "deploy/metrics.md does not hold this table:\n{}",
            markdown_table()
        );
    }
}
