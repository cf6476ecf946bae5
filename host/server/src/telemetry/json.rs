//! `/metrics/json`: the values of `/metrics` for programs that do not read Prometheus' format, with quantiles of histograms.

use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde_json::{Map, Value, json};

use super::metrics::QUANTILES;

/// Returns all families as one object, by name. Numbers that JSON cannot express (NaN) are null.
#[must_use]
pub(super) fn families_to_json(families: &[MetricFamily]) -> Value {
    let families = families.iter().map(|family| {
        let samples: Vec<Value> = family
            .get_metric()
            .iter()
            .map(|metric| sample_to_json(family.get_field_type(), metric))
            .collect();
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::SUMMARY => "summary",
            MetricType::HISTOGRAM => "histogram",
            MetricType::UNTYPED => "untyped",
        };
        let value = json!({"type": kind, "help": family.help(), "samples": samples});
        (family.name().to_owned(), value)
    });
    Value::Object(families.collect())
}

fn sample_to_json(kind: MetricType, metric: &Metric) -> Value {
    let labels: Map<String, Value> = metric
        .get_label()
        .iter()
        .map(|label| (label.name().to_owned(), label.value().into()))
        .collect();
    match kind {
        MetricType::COUNTER => json!({"labels": labels, "value": metric.get_counter().get_value()}),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let buckets: Vec<(f64, u64)> = histogram
                .get_bucket()
                .iter()
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect();
            let count = histogram.get_sample_count();
            let quantiles: Map<String, Value> = QUANTILES
                .iter()
                .map(|quantile| {
                    let value = estimate_quantile(&buckets, count, *quantile);
                    (quantile.to_string(), json!(value))
                })
                .collect();
            let buckets: Vec<Value> = buckets
                .iter()
                .map(|(bound, count)| json!({"le": bound, "count": count}))
                .collect();
            json!({
                "labels": labels,
                "count": count,
                "sum": histogram.get_sample_sum(),
                "quantiles": quantiles,
                "buckets": buckets,
            })
        }
        MetricType::SUMMARY => {
            let summary = metric.get_summary();
            let quantiles: Map<String, Value> = summary
                .get_quantile()
                .iter()
                .map(|row| (row.quantile().to_string(), json!(row.value())))
                .collect();
            json!({
                "labels": labels,
                "count": summary.sample_count(),
                "sum": summary.sample_sum(),
                "quantiles": quantiles,
            })
        }
        MetricType::GAUGE | MetricType::UNTYPED => {
            json!({"labels": labels, "value": metric.get_gauge().get_value()})
        }
    }
}

/// Returns a quantile since the start, interpolated within its bucket as `histogram_quantile` of Prometheus does. `buckets`: upper bounds and
/// cumulative counts. `None` when there are no values, or when the quantile lies above the last bound.
fn estimate_quantile(buckets: &[(f64, u64)], count: u64, quantile: f64) -> Option<f64> {
    if count == 0 {
        return None;
    }
    let rank = quantile * count as f64;
    let mut below = (0.0, 0);
    for &(bound, cumulative) in buckets {
        if cumulative as f64 >= rank && cumulative > below.1 {
            let share = (rank - below.1 as f64) / (cumulative - below.1) as f64;
            return Some(below.0 + (bound - below.0) * share.clamp(0.0, 1.0));
        }
        below = (bound, cumulative);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_in_their_bucket() {
        let buckets = [(0.1, 10), (0.2, 10), (0.4, 20)];
        assert_eq!(estimate_quantile(&buckets, 20, 0.5), Some(0.1));
        let p75 = estimate_quantile(&buckets, 20, 0.75).unwrap();
        assert!((p75 - 0.3).abs() < 1e-9, "{p75}");
        assert_eq!(estimate_quantile(&buckets, 40, 0.99), None);
        assert_eq!(estimate_quantile(&buckets, 0, 0.5), None);
    }
}
