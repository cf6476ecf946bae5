//! Running telemetry.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::TextEncoder;
use serde_json::{Value, json};

use ark_model::meters::Meters;

use crate::readiness::{Readiness, ReadinessReport};
use crate::router::Router;

use super::json::families_to_json;
use super::otlp::TraceExporter;
use super::registry::MetricRegistry;
use super::sampler::Sampler;
use super::slo::SloTracker;

/// Running telemetry.
pub struct Telemetry {
    pub(super) readiness: Readiness,
    pub(super) router: Router,
    /// What the parts record into.
    pub meters: Meters,
    /// `None`: telemetry is off.
    pub(super) metrics: Option<ShownMetrics>,
    pub(super) exporter: Mutex<Option<TraceExporter>>,
}

/// What shows the meters.
pub(super) struct ShownMetrics {
    pub(super) registry: MetricRegistry,
    pub(super) slos: Arc<SloTracker>,
    pub(super) sampler: Sampler,
}

impl Telemetry {
    /// Returns the metrics in Prometheus' text format; empty with telemetry off.
    ///
    /// # Errors
    /// A metric cannot be encoded.
    pub fn render_text(&self) -> Result<String, prometheus::Error> {
        let Some(metrics) = &self.metrics else {
            return Ok(String::new());
        };
        TextEncoder::new().encode_to_string(&metrics.registry.gather())
    }

    /// Returns the metrics and the head of the audit log as JSON; null with telemetry off.
    #[must_use]
    pub fn render_json(&self) -> Value {
        let Some(metrics) = &self.metrics else {
            return Value::Null;
        };
        let head = self.meters.store.latest_audit_head().map(|(seq, hash)| {
            let hash = hash.to_string();
            json!({"sequence": seq, "hash": hash})
        });
        json!({"audit_head": head, "metrics": families_to_json(&metrics.registry.gather())})
    }

    /// Returns the service level objectives as JSON; with telemetry off `slos` is null.
    #[must_use]
    pub fn render_slos(&self) -> Value {
        let slos = self
            .metrics
            .as_ref()
            .map(|metrics| metrics.slos.evaluate_slos());
        json!({"slos": slos})
    }

    /// Returns whether the host may judge.
    #[must_use]
    pub fn check_readiness(&self) -> ReadinessReport {
        self.readiness.to_report(self.router.list_serving().len())
    }

    /// Ends the threads. Spans that wait are exported first.
    pub fn close(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.sampler.close();
        }
        let exporter = self.exporter.lock().take();
        if let Some(exporter) = exporter {
            exporter.close();
        }
    }
}
