//! The declaration of one metric and its constructors.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;

use ark_model::decision::PolicyIdentity;
use ark_model::meters::{Counter, FrontMeters, Meters};

use crate::quotas::QuotaKeeper;
use crate::readiness::Readiness;
use crate::router::Router;

use crate::telemetry::slo::SloTracker;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, and starts at 0 with the process.
    Counter,
    /// Is the value of this moment.
    Gauge,
    /// A distribution in buckets.
    Histogram,
    /// Quantiles over the last five minutes; its count and sum are those since the start.
    Summary,
}

impl MetricKind {
    /// Returns the name of the type in Prometheus.
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
    /// The name.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The labels, sorted; without `le` and `quantile`.
    pub labels: &'static [&'static str],
    /// What it measures: the help text.
    pub help: &'static str,
    /// Reads the value on demand; `None`: the values are recorded as they come (histograms and summaries).
    pub(in crate::telemetry) observe: Option<Observe>,
}

/// Where a metric's values are read from; each is emitted with its labels.
#[derive(Debug, Clone, Copy)]
pub(in crate::telemetry) enum Observe {
    /// The value comes from the parts of a host.
    Host(HostObserve),
    /// The value comes from what a front counts.
    Front(FrontObserve),
    /// The value comes from the process, for a host and a front alike.
    Process(ProcessObserve),
}

type HostObserve = fn(&MetricContext, &mut Emit<'_>);
type FrontObserve = fn(&FrontMeters, &mut Emit<'_>);
type ProcessObserve = fn(&mut Emit<'_>);

/// Takes a value and its labels.
pub(in crate::telemetry) type Emit<'a> = dyn FnMut(f64, &[KeyValue]) + 'a;

impl Metric {
    const fn new(
        name: &'static str,
        kind: MetricKind,
        labels: &'static [&'static str],
        help: &'static str,
        observe: Option<Observe>,
    ) -> Self {
        Self {
            name,
            kind,
            labels,
            help,
            observe,
        }
    }
}

pub(super) const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    observe: HostObserve,
) -> Metric {
    Metric::new(
        name,
        MetricKind::Counter,
        labels,
        help,
        Some(Observe::Host(observe)),
    )
}

pub(super) const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    observe: HostObserve,
) -> Metric {
    Metric::new(
        name,
        MetricKind::Gauge,
        labels,
        help,
        Some(Observe::Host(observe)),
    )
}

pub(super) const fn front_counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    observe: FrontObserve,
) -> Metric {
    Metric::new(
        name,
        MetricKind::Counter,
        labels,
        help,
        Some(Observe::Front(observe)),
    )
}

pub(super) const fn front_gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    observe: FrontObserve,
) -> Metric {
    Metric::new(
        name,
        MetricKind::Gauge,
        labels,
        help,
        Some(Observe::Front(observe)),
    )
}

pub(super) const fn process_counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    observe: ProcessObserve,
) -> Metric {
    Metric::new(
        name,
        MetricKind::Counter,
        labels,
        help,
        Some(Observe::Process(observe)),
    )
}

pub(super) const fn process_gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    observe: ProcessObserve,
) -> Metric {
    Metric::new(
        name,
        MetricKind::Gauge,
        labels,
        help,
        Some(Observe::Process(observe)),
    )
}

pub(super) const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric::new(name, MetricKind::Histogram, labels, help, None)
}

pub(super) const fn summary(name: &'static str, help: &'static str) -> Metric {
    Metric::new(name, MetricKind::Summary, &[], help, None)
}

/// The approvals that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenApprovals {
    /// How many are open.
    pub open: u64,
    /// The age of the oldest; 0 when none is open.
    pub oldest: Duration,
}

/// What the values are read from.
pub struct MetricSources {
    /// What the parts recorded.
    pub meters: Meters,
    /// Whether the host may judge, and the parts that this depends on.
    pub readiness: Readiness,
    /// How much of their quotas agents use.
    pub quotas: QuotaKeeper,
    /// Knows the agents that serve and their open deliveries.
    pub router: Router,
    /// What identifies the Graveyard.
    pub graveyard: Arc<PolicyIdentity>,
    /// How many test vectors it passed at the start.
    pub vectors: usize,
    /// Returns the open approvals; `None`: they cannot be read now.
    pub approvals: Box<dyn Fn() -> Option<OpenApprovals> + Send + Sync>,
}

/// The sources, and the objectives that are computed from them.
pub(in crate::telemetry) struct MetricContext {
    pub(in crate::telemetry) sources: MetricSources,
    pub(in crate::telemetry) slos: Arc<SloTracker>,
}

/// Emits the value of one counter.
pub(super) fn emit_count(emit: &mut Emit<'_>, count: &Counter, labels: &[KeyValue]) {
    emit(count.get() as f64, labels);
}

/// Emits counters that differ in one label, each with its value of that label.
pub(super) fn emit_counts<'a>(
    emit: &mut Emit<'_>,
    label: &'static str,
    counts: impl IntoIterator<Item = (&'static str, &'a Counter)>,
) {
    for (value, count) in counts {
        emit_count(emit, count, &[KeyValue::new(label, value)]);
    }
}

/// Emits 1 for true and 0 for false.
pub(super) fn emit_flag(emit: &mut Emit<'_>, flag: bool, labels: &[KeyValue]) {
    emit(f64::from(u8::from(flag)), labels);
}
