//! The registry of metrics: OpenTelemetry instruments, shown to Prometheus by its exporter, and collectors for what those cannot show.
//!
//! Only metrics of [`super::metrics`] can be registered. Why there are two ways into the Prometheus registry is said in [`super`].

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_prometheus::ResourceSelector;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};

use ark_model::meters::Timing;

use super::error::TelemetryError;
use super::metrics::{BUCKETS, Emit, Metric, MetricKind, QUANTILES, find_metric};
use super::recent::{RecentDurations, Window};

/// The most label sets of a metric with a label `rule`: enough for three answers of each rule of 64 policies that have a hundred. Further ones are shown as
/// one row with the label `otel_metric_overflow`.
const MAX_RULE_LABEL_SETS: usize = 20_000;
/// The most label sets of another metric that has labels: more than calls, policies, streams and webhooks there can be, with all their results. What is
/// shown of each agent has no such limit, since collectors show it.
const MAX_LABEL_SETS: usize = 2_000;

/// The registry of metrics.
pub(super) struct MetricRegistry {
    prometheus: prometheus::Registry,
    /// Kept because the instruments of a dropped provider record nothing.
    _provider: SdkMeterProvider,
    meter: Meter,
}

impl MetricRegistry {
    /// Returns an empty registry.
    ///
    /// # Errors
    /// The exporter cannot be made.
    pub(super) fn new() -> Result<Self, TelemetryError> {
        let registry = prometheus::Registry::new();
        // The contract states whole names: the exporter must not add suffixes or labels.
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .with_resource_selector(ResourceSelector::None)
            .build()
            .map_err(|error| TelemetryError::Registry(Box::new(error)))?;
        let provider = SdkMeterProvider::builder()
            .with_reader(exporter)
            .with_view(|instrument: &Instrument| {
                Stream::builder()
                    .with_cardinality_limit(find_max_label_sets(instrument.name()))
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

    /// Makes a histogram of the contract.
    ///
    /// # Errors
    /// The contract has no histogram of this name.
    pub(super) fn build_histogram(
        &self,
        name: &'static str,
    ) -> Result<Histogram<f64>, TelemetryError> {
        let metric = require_metric(name, MetricKind::Histogram)?;
        Ok(self
            .meter
            .f64_histogram(name)
            .with_description(metric.help)
            .with_boundaries(BUCKETS.to_vec())
            .build())
    }

    /// Lets `observe` emit the rows of a counter or gauge whenever somebody asks.
    ///
    /// # Errors
    /// The metric is registered already.
    pub(super) fn register_observed(
        &self,
        metric: &'static Metric,
        observe: impl Fn(&mut Emit<'_>) + Send + Sync + 'static,
    ) -> Result<(), TelemetryError> {
        if metric.labels.contains(&"agent") {
            return self.register_collector(RowCollector {
                metric,
                desc: build_desc(metric)?,
                observe: Box::new(observe),
            });
        }
        // The instruments need not be kept: the provider keeps their callbacks.
        if metric.kind == MetricKind::Counter {
            let _ = self
                .meter
                .f64_observable_counter(metric.name)
                .with_description(metric.help)
                .with_callback(move |observer| {
                    observe(&mut |value, labels| observer.observe(value, labels));
                })
                .build();
        } else {
            let _ = self
                .meter
                .f64_observable_gauge(metric.name)
                .with_description(metric.help)
                .with_callback(move |observer| {
                    observe(&mut |value, labels| observer.observe(value, labels));
                })
                .build();
        }
        Ok(())
    }

    /// Shows durations as a summary of the contract.
    ///
    /// # Errors
    /// The contract has no summary of this name, or it is registered already.
    pub(super) fn register_summary(
        &self,
        name: &'static str,
        recent: &Arc<RecentDurations>,
    ) -> Result<(), TelemetryError> {
        let metric = require_metric(name, MetricKind::Summary)?;
        self.register_collector(SummaryCollector {
            metric,
            desc: build_desc(metric)?,
            recent: Arc::clone(recent),
        })
    }

    fn register_collector(
        &self,
        collector: impl Collector + 'static,
    ) -> Result<(), TelemetryError> {
        self.prometheus
            .register(Box::new(collector))
            .map_err(|error| TelemetryError::Registry(Box::new(error)))
    }

    /// Returns every metric with its values of this moment.
    #[must_use]
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.prometheus.gather()
    }
}

/// Returns how many label sets a metric may have. The SDK takes memory for all of them at once, for each metric.
fn find_max_label_sets(name: &str) -> usize {
    match find_metric(name).map(|metric| metric.labels) {
        Some([]) => 1,
        Some(labels) if labels.contains(&"rule") => MAX_RULE_LABEL_SETS,
        _ => MAX_LABEL_SETS,
    }
}

fn require_metric(name: &str, kind: MetricKind) -> Result<&'static Metric, TelemetryError> {
    find_metric(name)
        .filter(|metric| metric.kind == kind)
        .ok_or_else(|| TelemetryError::NotInContract(name.to_owned()))
}

/// Returns the description by which the Prometheus registry tells collectors apart.
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
    .map_err(|error| TelemetryError::Registry(Box::new(error)))
}

fn build_family(metric: &Metric, kind: MetricType, rows: Vec<proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(kind);
    family.set_metric(rows);
    family
}

/// Returns a timing that records into a histogram under fixed labels, and into `recent`.
#[must_use]
pub(super) fn bind_timing(
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

/// Shows recent durations as a summary.
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
            // NaN for a window without a value, as in Prometheus' own client libraries.
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

/// Shows a counter or gauge with a row for each agent.
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
            // Sorted by name, as the exporter does it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_room_for_the_label_sets_that_it_may_have() {
        for (name, room) in [
            ("ark_graveyard_pin_holds", 1),
            ("ark_rule_answers_total", 20_000),
            ("ark_rule_violations_total", 20_000),
            ("ark_http_requests_total", 2_000),
            ("ark_decision_phase_duration_seconds", 2_000),
        ] {
            assert!(find_metric(name).is_some(), "{name}");
            assert_eq!(find_max_label_sets(name), room, "{name}");
        }
    }
}
