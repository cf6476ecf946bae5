//! The metrics of a front.

use std::sync::Arc;

use opentelemetry::KeyValue;
use prometheus::TextEncoder;

use ark_model::meters::{ApiMeters, CallKind, CallMeter, FrontMeters};

use super::error::TelemetryError;
use super::metrics::{Emit, Observe, front_metrics};
use super::registry::{MetricRegistry, bind_timing};

/// What a front counts, and how it is shown.
pub struct FrontTelemetry {
    /// What the front records into.
    pub meters: Arc<FrontMeters>,
    registry: MetricRegistry,
}

impl FrontTelemetry {
    /// Makes the meters and registers every metric of a front.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn new() -> Result<Self, TelemetryError> {
        let registry = MetricRegistry::new()?;
        let durations = registry.build_histogram("ark_front_request_duration_seconds")?;
        let held = registry.build_histogram("ark_front_hold_duration_seconds")?;
        let time_call = |call: CallKind| CallMeter {
            duration: bind_timing(&durations, &[KeyValue::new("call", call.as_str())], None),
            ..CallMeter::default()
        };
        let meters = Arc::new(FrontMeters {
            api: ApiMeters {
                calls: CallKind::ALL.map(time_call),
                ..ApiMeters::default()
            },
            parked_time: bind_timing(&held, &[], None),
            ..FrontMeters::default()
        });
        for metric in front_metrics() {
            match metric.observe {
                Some(Observe::Front(observe)) => {
                    let meters = Arc::clone(&meters);
                    registry.register_observed(metric, move |emit: &mut Emit<'_>| {
                        observe(&meters, emit);
                    })?;
                }
                Some(Observe::Process(observe)) => registry.register_observed(metric, observe)?,
                Some(Observe::Host(_)) | None => {}
            }
        }
        Ok(Self { meters, registry })
    }

    /// Returns the metrics in Prometheus' text format.
    ///
    /// # Errors
    /// A metric cannot be encoded.
    pub fn render_text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
