//! The table: medians of what was measured, beside the goals.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;

use crate::growth::Grown;
use crate::load::LoadResult;
use crate::sandbox::Sandbox;

/// A measured quantity, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MeasuredQuantity {
    /// A figure over HTTP at a number of connections.
    Http(u64, Load, Figure),
    /// Bytes written for an approved decision at a number of connections.
    Written(u64),
    /// Microseconds of an evaluation in the warm instance.
    Warm(Figure),
    /// Microseconds of an evaluation in a fresh instance.
    Fresh(Figure),
    /// Microseconds of an invocation that is not recorded.
    Invoke(Figure),
    /// Durable invocations a second.
    Invocations,
    /// Milliseconds until the first start is ready.
    ColdStart,
    /// Milliseconds until a start with compiled modules in the cache is ready.
    WarmStart,
    /// Resident memory of an idle host, in MiB.
    Resident,
    /// Decisions a second at a number of connections, with telemetry (`true`) or without.
    Telemetry(u64, bool),
    /// The rate with telemetry divided by the rate without, in each pair of turns.
    TelemetryRatio(u64),
    /// Microseconds of processor time a decision, with telemetry (`true`) or without.
    TelemetryCost(u64, bool),
    /// Durable writes of state a second by a number of writers.
    Writes(u64, StoreKind),
    /// A read of state while 16 writers write.
    Read(StoreKind, Figure),
    /// A query of a key with a number of revisions.
    History(u64, Question, Figure),
    /// A figure over HTTP where a quantity has grown.
    Growth(Grown, Load, Figure),
}

/// The store under test: ARK's, or `SQLite` with the same table and settings and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreKind {
    /// ARK's store.
    Store,
    /// Bare `SQLite`.
    Bare,
}

/// A query of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Read the value now.
    Latest,
    /// Read the value at a moment.
    Moment,
    /// Go back to an earlier revision, durably.
    Rollback,
}

/// The server and the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// The bare echo.
    Echo,
    /// Actions that are approved.
    Approved,
    /// Actions that are denied.
    Denied,
}

/// A figure of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Answers per second.
    Rate,
    /// The rate divided by the echo's in the same round.
    Ratio,
    /// The median latency, in microseconds.
    P50,
    /// The 99th percentile of the latency, in microseconds.
    P99,
}

/// All samples.
#[derive(Default)]
pub struct BenchReport {
    samples: BTreeMap<MeasuredQuantity, Vec<f64>>,
}

impl BenchReport {
    /// Adds one figure of a round.
    pub fn add_sample(&mut self, sample: MeasuredQuantity, value: f64) {
        self.samples.entry(sample).or_default().push(value);
    }

    /// Adds the figures of a round over HTTP.
    pub fn add_http(
        &mut self,
        connections: u64,
        echo: &LoadResult,
        approved: &LoadResult,
        denied: &LoadResult,
    ) {
        for (load, measured) in [
            (Load::Echo, echo),
            (Load::Approved, approved),
            (Load::Denied, denied),
        ] {
            let sample = |figure| MeasuredQuantity::Http(connections, load, figure);
            self.add_sample(sample(Figure::Rate), measured.rate);
            self.add_sample(sample(Figure::Ratio), measured.rate / echo.rate);
            self.add_latency(&measured.latency, sample);
        }
    }

    /// Adds the figures of the sandbox in a round.
    pub fn add_sandbox(&mut self, sandbox: &Sandbox) {
        self.add_latency(&sandbox.warm, MeasuredQuantity::Warm);
        self.add_latency(&sandbox.fresh, MeasuredQuantity::Fresh);
        self.add_latency(&sandbox.invocation, MeasuredQuantity::Invoke);
    }

    /// Adds the latencies of a round.
    pub fn add_latency(
        &mut self,
        latency: &Histogram<u64>,
        sample: impl Fn(Figure) -> MeasuredQuantity,
    ) {
        let micros = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        self.add_sample(sample(Figure::P50), micros(0.5));
        self.add_sample(sample(Figure::P99), micros(0.99));
    }

    fn median(&self, sample: MeasuredQuantity) -> Option<f64> {
        let mut values = self.samples.get(&sample)?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        if values.len() % 2 == 1 {
            return Some(upper);
        }
        Some(f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper))
    }
}

const fn of(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Store => "state",
        StoreKind::Bare => "bare SQLite",
    }
}

/// Returns the label of a row, its unit and its goal; `None` for a sample that has no row.
#[expect(clippy::too_many_lines, reason = "a table of all samples")]
fn describe_row(sample: MeasuredQuantity) -> Option<(String, &'static str, &'static str)> {
    let http = |load| match load {
        Load::Echo => "bare hyper echo",
        Load::Approved => "durable decisions, approved",
        Load::Denied => "durable decisions, denied",
    };
    let quantile = |figure| match figure {
        Figure::P50 => Some("p50"),
        Figure::P99 => Some("p99"),
        Figure::Rate | Figure::Ratio => None,
    };
    Some(match sample {
        MeasuredQuantity::Http(connections, load, figure) => {
            let goal = match (connections, load, figure) {
                (64, Load::Approved, Figure::Ratio) => ">= 0.30",
                (16, Load::Approved, Figure::Ratio) => ">= 0.20",
                (1, Load::Approved, Figure::P50) => "<= 450",
                (16, Load::Approved, Figure::P99) => "<= 3,000",
                (64, Load::Approved, Figure::P99) => "<= 8,000",
                _ => "",
            };
            let (shows, unit) = match figure {
                Figure::Rate => ("rate", "/s"),
                Figure::Ratio if load == Load::Echo => return None,
                Figure::Ratio => ("part of the echo", ""),
                Figure::P50 => ("p50", " µs"),
                Figure::P99 => ("p99", " µs"),
            };
            (
                format!("{}, {connections} connections: {shows}", http(load)),
                unit,
                goal,
            )
        }
        MeasuredQuantity::Written(connections) => (
            format!("written to disk for an approved decision, {connections} connections"),
            " bytes",
            "<= 5,000",
        ),
        MeasuredQuantity::Warm(figure) => {
            let goal = if figure == Figure::P99 {
                "<= 100 µs"
            } else {
                ""
            };
            (
                format!("HRM evaluation, warm instance: {}", quantile(figure)?),
                " µs",
                goal,
            )
        }
        MeasuredQuantity::Fresh(figure) => (
            format!("HRM evaluation, fresh instance: {}", quantile(figure)?),
            " µs",
            "",
        ),
        MeasuredQuantity::Invoke(figure) => (
            format!("invocation, not recorded: {}", quantile(figure)?),
            " µs",
            "",
        ),
        MeasuredQuantity::Invocations => (
            "durable invocations, 16 agents".to_owned(),
            "/s",
            ">= 10,000/s",
        ),
        MeasuredQuantity::ColdStart => (
            "first start to ready, with the example agents".to_owned(),
            " ms",
            "",
        ),
        MeasuredQuantity::WarmStart => (
            "start to ready, compiled modules cached".to_owned(),
            " ms",
            "<= 60 ms",
        ),
        MeasuredQuantity::Resident => (
            "resident memory, idle, with the example agents".to_owned(),
            " MiB",
            "<= 120 MB",
        ),
        MeasuredQuantity::Telemetry(connections, on) => {
            let telemetry = if on { "with" } else { "without" };
            (
                format!("decisions, {connections} connections, {telemetry} telemetry"),
                "/s",
                "",
            )
        }
        MeasuredQuantity::TelemetryCost(connections, on) => {
            let telemetry = if on { "with" } else { "without" };
            (
                format!("processor a decision, {connections} connections, {telemetry} telemetry"),
                " µs",
                "",
            )
        }
        MeasuredQuantity::TelemetryRatio(connections) => (
            format!("{connections} connections: with telemetry, as a part of without"),
            "",
            ">= 0.95",
        ),
        MeasuredQuantity::Writes(writers, kind) => (
            format!("{}, {writers} writers: durable writes", of(kind)),
            "/s",
            "",
        ),
        MeasuredQuantity::Read(kind, figure) => (
            format!(
                "{}: read beside 16 writers: {}",
                of(kind),
                quantile(figure)?
            ),
            " µs",
            "",
        ),
        MeasuredQuantity::Growth(grown, load, figure) => {
            let (shows, unit) = match figure {
                Figure::Rate => ("rate", "/s"),
                Figure::Ratio => return None,
                Figure::P50 => ("p50", " µs"),
                Figure::P99 => ("p99", " µs"),
            };
            let grown = match grown {
                Grown::Log(n) => format!("{n} decisions in the log"),
                Grown::Agents(n) => format!("agents in turn: {n}"),
                Grown::Policies(n) => format!("operator policies: {n}"),
                Grown::Reservations(n) => format!("open reservations at first: {n}"),
            };
            (format!("{grown}; {}: {shows}", http(load)), unit, "")
        }
        MeasuredQuantity::History(rows, question, figure) => {
            let question = match question {
                Question::Latest => "latest",
                Question::Moment => "at a moment",
                Question::Rollback => "rollback, durable",
            };
            let figure = quantile(figure)?;
            (format!("{rows} revisions: {question}: {figure}"), " µs", "")
        }
    })
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| measured | median | lowest .. highest | goal |")?;
        writeln!(f, "|---|---:|---:|---:|")?;
        for (&sample, values) in &self.samples {
            let (Some((what, unit, goal)), Some(median)) =
                (describe_row(sample), self.median(sample))
            else {
                continue;
            };
            let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let number = |value: f64| match value.abs() {
                1000.0.. => format!("{value:.0}"),
                10.0.. => format!("{value:.1}"),
                _ => format!("{value:.3}"),
            };
            let (median, lowest, highest) = (number(median), number(lowest), number(highest));
            writeln!(
                f,
                "| {what} | {median}{unit} | {lowest} .. {highest} | {goal} |"
            )?;
        }
        Ok(())
    }
}
