//! The objectives as the host computes them; absent where there is not enough data.

use opentelemetry::KeyValue;

use crate::telemetry::slo::WindowView;

use super::metric::{Emit, Metric, MetricContext, gauge};

pub(super) const METRICS: &[Metric] = &[
    gauge(
        "ark_slo_met",
        &["slo", "window"],
        "1 when the SLO is met over the window (5m, 1h). Absent without enough data.",
        |context, emit| {
            emit_windows(context, emit, |window| {
                window.met.map(|met| f64::from(u8::from(met)))
            });
        },
    ),
    gauge(
        "ark_slo_burn_rate",
        &["slo", "window"],
        "How fast its error budget burns; 1: it is used up exactly at the end of the period.",
        |context, emit| emit_windows(context, emit, |window| window.burn_rate),
    ),
];

fn emit_windows(
    context: &MetricContext,
    emit: &mut Emit<'_>,
    value: fn(&WindowView) -> Option<f64>,
) {
    for slo in context.slos.evaluate_slos() {
        for window in &slo.windows {
            if let Some(value) = value(window) {
                let labels = [
                    KeyValue::new("slo", slo.name),
                    KeyValue::new("window", window.window),
                ];
                emit(value, &labels);
            }
        }
    }
}
