//! The metrics' registry: OpenTelemetry instruments, shown to Prometheus by its exporter, and what that has no type for (summaries).
//!
//! Every instrument is made from the contract; one that is not in it cannot be made.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_prometheus::ResourceSelector;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};

use super::contract::{BUCKETS, Metric, MetricKind, QUANTILES, find_metric};
use super::recent::{RecentDurations, Window};
use super::{Emit, TelemetryError};
use ark_model::meters::Timing;

/// The most label sets of one metric; what comes past it is shown as one row with the label `otel_metric_overflow`. Enough for 5,000
/// agents; memory is what it bounds.
const MAX_LABEL_SETS: usize = 20_000;

/// The registry.
pub struct MetricRegistry {
    prometheus: prometheus::Registry,
    /// Kept: instruments of a provider that is dropped are dead.
    _provider: SdkMeterProvider,
    meter: Meter,
}

impl MetricRegistry {
    /// An empty one.
    ///
    /// # Errors
    /// The exporter cannot be made.
    pub fn new() -> Result<Self, TelemetryError> {
        let registry = prometheus::Registry::new();
        let failed = |error: &dyn std::fmt::Display| TelemetryError::Registry(error.to_string());
        // The contract has whole names: nothing is to be added to them.
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .with_resource_selector(ResourceSelector::None)
            .build()
            .map_err(|error| failed(&error))?;
        let provider = SdkMeterProvider::builder()
            .with_reader(exporter)
            .with_view(|_: &Instrument| {
                Stream::builder()
                    .with_cardinality_limit(MAX_LABEL_SETS)
                    .build()
                    .ok()
            })
            .build();
        Ok(Self {
            prometheus: registry,
            meter: provider.meter("ark"),
            _provider: provider,
        })
    }

    /// A histogram of the contract.
    ///
    /// # Errors
    /// The contract has none of this name.
    pub fn build_histogram(&self, name: &'static str) -> Result<Histogram<f64>, TelemetryError> {
        let metric = require_metric(name, &[MetricKind::Histogram])?;
        Ok(self
            .meter
            .f64_histogram(name)
            .with_description(metric.help)
            .with_boundaries(BUCKETS.to_vec())
            .build())
    }

    /// Lets `observe` say what a counter or gauge of the contract is, whenever somebody asks.
    ///
    /// # Errors
    /// The contract has none of this name.
    pub fn register_observed(
        &self,
        name: &'static str,
        observe: impl Fn(&mut Emit<'_>) + Send + Sync + 'static,
    ) -> Result<(), TelemetryError> {
        let metric = require_metric(name, &[MetricKind::Counter, MetricKind::Gauge])?;
        // The instruments need not be kept: their callbacks belong to the provider.
        if metric.kind == MetricKind::Counter {
            let _ = self
                .meter
                .f64_observable_counter(name)
                .with_description(metric.help)
                .with_callback(move |observer| {
                    observe(&mut |value, labels| observer.observe(value, labels));
                })
                .build();
        } else {
            let _ = self
                .meter
                .f64_observable_gauge(name)
                .with_description(metric.help)
                .with_callback(move |observer| {
                    observe(&mut |value, labels| observer.observe(value, labels));
                })
                .build();
        }
        Ok(())
    }

    /// As [`Registry::observe`], for what has a row for each agent: past OpenTelemetry, whose way to Prometheus costs several microseconds a
    /// row, which with a thousand agents is most of a scrape.
    ///
    /// # Errors
    /// The contract has none of this name.
    pub fn register_rows(
        &self,
        name: &'static str,
        observe: impl Fn(&mut Emit<'_>) + Send + Sync + 'static,
    ) -> Result<(), TelemetryError> {
        let metric = require_metric(name, &[MetricKind::Counter, MetricKind::Gauge])?;
        self.register_collector(RowCollector {
            metric,
            desc: build_desc(metric)?,
            observe: Box::new(observe),
        })
    }

    fn register_collector(
        &self,
        collector: impl Collector + 'static,
    ) -> Result<(), TelemetryError> {
        self.prometheus
            .register(Box::new(collector))
            .map_err(|error| TelemetryError::Registry(error.to_string()))
    }

    /// Shows durations as a summary of the contract.
    ///
    /// # Errors
    /// The contract has none of this name.
    pub fn register_summary(
        &self,
        name: &'static str,
        recent: &Arc<RecentDurations>,
    ) -> Result<(), TelemetryError> {
        let metric = require_metric(name, &[MetricKind::Summary])?;
        self.register_collector(SummaryCollector {
            metric,
            desc: build_desc(metric)?,
            recent: Arc::clone(recent),
        })
    }

    /// Everything, as it is now.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.prometheus.gather()
    }
}

fn require_metric(name: &str, kinds: &[MetricKind]) -> Result<&'static Metric, TelemetryError> {
    find_metric(name)
        .filter(|metric| kinds.contains(&metric.kind))
        .ok_or_else(|| TelemetryError::Registry(format!("{name} is not in the contract")))
}

/// Collectors are told apart by their descriptions.
fn build_desc(metric: &Metric) -> Result<Desc, TelemetryError> {
    Desc::new(
        metric.name.to_owned(),
        metric.help.to_owned(),
        metric
            .labels
            .iter()
            .map(|&label| label.to_owned())
            .collect(),
        std::collections::HashMap::new(),
    )
    .map_err(|error| TelemetryError::Registry(error.to_string()))
}

fn build_family(metric: &Metric, kind: MetricType, rows: Vec<proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(kind);
    family.set_metric(rows);
    family
}

/// A timing that goes into a histogram under fixed labels, and to `recent`.
#[must_use]
pub fn bind_timing(
    histogram: &Histogram<f64>,
    labels: &[KeyValue],
    recent: Option<Arc<RecentDurations>>,
) -> Timing {
    let bound = histogram.bind(labels);
    match recent {
        None => Timing::with_sink(move |duration: Duration| bound.record(duration.as_secs_f64())),
        Some(recent) => Timing::with_sink(move |duration: Duration| {
            bound.record(duration.as_secs_f64());
            recent.record_duration(duration);
        }),
    }
}

/// OpenTelemetry has no summaries: this shows recent durations as one.
struct SummaryCollector {
    metric: &'static Metric,
    desc: Desc,
    recent: Arc<RecentDurations>,
}

impl Collector for SummaryCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = self.recent.quantiles(Window::Short, QUANTILES);
        let quantiles = QUANTILES.iter().enumerate().map(|(index, quantile)| {
            let value = values.and_then(|values| values.get(index).copied());
            let mut row = proto::Quantile::default();
            row.set_quantile(*quantile);
            // As Prometheus' own clients show a window without a value.
            row.set_value(value.map_or(f64::NAN, |value| value.as_secs_f64()));
            row
        });
        let mut summary = proto::Summary::default();
        summary.set_quantile(quantiles.collect());
        summary.set_sample_count(self.recent.total.get());
        summary.set_sample_sum(self.recent.sum().as_secs_f64());
        let mut row = proto::Metric::default();
        row.set_summary(summary);
        vec![build_family(self.metric, MetricType::SUMMARY, vec![row])]
    }
}

/// A counter or gauge with many rows.
struct RowCollector {
    metric: &'static Metric,
    desc: Desc,
    observe: Box<dyn Fn(&mut Emit<'_>) + Send + Sync>,
}

impl Collector for RowCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let is_counter = self.metric.kind == MetricKind::Counter;
        let mut rows = Vec::new();
        (self.observe)(&mut |value, labels| {
            let mut pairs: Vec<proto::LabelPair> = labels
                .iter()
                .map(|label| {
                    let mut pair = proto::LabelPair::default();
                    pair.set_name(label.key.as_str().to_owned());
                    pair.set_value(label.value.as_str().into_owned());
                    pair
                })
                .collect();
            // As the exporter of all others: in the order of their names.
            pairs.sort_unstable_by(|one, other| one.name().cmp(other.name()));
            let mut row = proto::Metric::default();
            row.set_label(pairs);
            if is_counter {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                row.set_counter(counter);
            } else {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                row.set_gauge(gauge);
            }
            rows.push(row);
        });
        if rows.is_empty() {
            return Vec::new();
        }
        let kind = if is_counter {
            MetricType::COUNTER
        } else {
            MetricType::GAUGE
        };
        vec![build_family(self.metric, kind, rows)]
    }
}
