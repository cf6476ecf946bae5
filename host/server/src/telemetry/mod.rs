//! Telemetry: shows what the parts recorded. Metrics for Prometheus and as JSON, the service level objectives, traces for an OTLP
//! endpoint, log lines.
//!
//! Reading order: [`contract`] (every metric), [`registry`] (instruments), [`observe`] (what they say), [`recent`] and [`slo`] (windows),
//! [`server`] (the port), [`otlp`] (traces), [`logs`].
//!
//! Invariants: what the path of a decision does for telemetry is a few atomic additions and short critical sections ([`ark_model::meters`]);
//! everything else happens when somebody asks, on threads of its own. Telemetry that fails costs numbers, never decisions.
//!
//! Must not know: SQL, wasmtime.

mod config;
pub mod contract;
mod json;
pub mod logs;
mod observe;
mod otlp;
mod process;
mod recent;
mod registry;
mod server;
mod slo;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{RecvTimeoutError, Sender};
use opentelemetry::KeyValue;
use prometheus::TextEncoder;
use serde_json::{Value, json};

use crate::readiness::Readiness;
use ark_model::meters::{AgentMeters, ApiMeters, CallKind, CallMeter, HrmMeters, Meters};
use ark_model::meters::{RouterMeters, SpanSink, StoreMeters, WatchdogMeters};

pub use config::{TelemetryConfig, TelemetryListen};
pub use logs::LogFormat;
pub use observe::{MetricSources, OpenApprovals};
pub use server::{ListenError, TelemetryServer};

use otlp::TraceExporter;
use recent::{RecentDurations, SLOT_LENGTH};
use registry::{MetricRegistry, bind_timing};
use slo::{DECISION_TARGET, EVALUATION_TARGET, SloTracker};

/// Takes a value and its labels.
pub type Emit<'a> = dyn FnMut(f64, &[KeyValue]) + 'a;

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The registry of metrics.
    #[error("the metrics cannot be set up: {0}")]
    Registry(String),
    /// The export of traces.
    #[error("traces cannot be exported: {0}; check telemetry.otlp_endpoint")]
    Otlp(String),
    /// A thread.
    #[error("telemetry cannot start its thread: {0}")]
    Thread(std::io::Error),
}

/// Telemetry before the parts stand: the meters they are given, and what those go into.
pub struct TelemetryBuilder {
    /// For the parts.
    pub meters: Meters,
    metrics: Option<MetricsParts>,
    exporter: Option<TraceExporter>,
}

/// What shows the meters.
struct MetricsParts {
    registry: MetricRegistry,
    decisions: Arc<RecentDurations>,
    evaluations: Arc<RecentDurations>,
}

impl TelemetryBuilder {
    /// Lays it. With telemetry off, meters count and nothing is timed.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn new(config: &TelemetryConfig) -> Result<Self, TelemetryError> {
        let (spans, exporter) = match &config.otlp_endpoint {
            None => (SpanSink::default(), None),
            Some(endpoint) => {
                let (spans, out) = SpanSink::with_capacity(otlp::SPAN_QUEUE_LENGTH);
                let exporter = TraceExporter::start(endpoint, out, spans.clone())?;
                (spans, Some(exporter))
            }
        };
        let agents = Arc::new(AgentMeters::default());
        if config.listen == TelemetryListen::Off {
            let meters = Meters {
                hrm: Arc::new(HrmMeters {
                    spans: spans.clone(),
                    agents: Arc::clone(&agents),
                    ..HrmMeters::default()
                }),
                router: Arc::new(RouterMeters {
                    spans,
                    agents: Arc::clone(&agents),
                    ..RouterMeters::default()
                }),
                agents,
                ..Meters::default()
            };
            return Ok(Self {
                meters,
                metrics: None,
                exporter,
            });
        }
        let registry = MetricRegistry::new()?;
        let decisions = Arc::new(RecentDurations::new(DECISION_TARGET));
        let evaluations = Arc::new(RecentDurations::new(EVALUATION_TARGET));
        registry.register_summary("ark_decision_latency_seconds", &decisions)?;
        registry.register_summary("ark_hrm_evaluation_latency_seconds", &evaluations)?;
        let plain = |name| {
            registry
                .build_histogram(name)
                .map(|histogram| bind_timing(&histogram, &[], None))
        };
        let phases = registry.build_histogram("ark_decision_phase_duration_seconds")?;
        let phase = |name| bind_timing(&phases, &[KeyValue::new("phase", name)], None);
        let calls = registry.build_histogram("ark_http_request_duration_seconds")?;
        let call = |call: CallKind| CallMeter {
            duration: bind_timing(&calls, &[KeyValue::new("call", call.as_str())], None),
            ..CallMeter::default()
        };
        let meters = Meters {
            store: Arc::new(StoreMeters {
                commit: plain("ark_store_commit_duration_seconds")?,
                state_write: plain("ark_state_write_duration_seconds")?,
                ..StoreMeters::default()
            }),
            hrm: Arc::new(HrmMeters {
                decision: bind_timing(
                    &registry.build_histogram("ark_decision_duration_seconds")?,
                    &[],
                    Some(Arc::clone(&decisions)),
                ),
                evaluation: bind_timing(
                    &registry.build_histogram("ark_hrm_evaluation_duration_seconds")?,
                    &[],
                    Some(Arc::clone(&evaluations)),
                ),
                queue: phase("queue"),
                policy: phase("policy"),
                commit: phase("commit"),
                spans: spans.clone(),
                agents: Arc::clone(&agents),
                ..HrmMeters::default()
            }),
            router: Arc::new(RouterMeters {
                instantiate: phase("instantiate"),
                guest: phase("guest"),
                invocation: plain("ark_invocation_duration_seconds")?,
                spans,
                agents: Arc::clone(&agents),
            }),
            watchdog: Arc::new(WatchdogMeters {
                agents: Arc::clone(&agents),
                ..WatchdogMeters::default()
            }),
            api: Arc::new(ApiMeters {
                calls: CallKind::ALL.map(call),
            }),
            agents,
        };
        Ok(Self {
            meters,
            metrics: Some(MetricsParts {
                registry,
                decisions,
                evaluations,
            }),
            exporter,
        })
    }

    /// Builds on it, once the parts stand.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn build(self, sources: MetricSources) -> Result<Telemetry, TelemetryError> {
        let readiness = sources.readiness.clone();
        let agents = sources.router.clone();
        let head = self.meters.clone();
        let shown = match self.metrics {
            None => None,
            Some(MetricsParts {
                registry,
                decisions,
                evaluations,
            }) => {
                let slos = SloTracker::new(
                    self.meters,
                    Arc::clone(&decisions),
                    Arc::clone(&evaluations),
                );
                let slos = Arc::new(slos);
                observe::register_instruments(&registry, &Arc::new(sources), &slos)?;
                let sampler = Sampler::start(Arc::clone(&slos), vec![decisions, evaluations])?;
                Some((registry, slos, sampler))
            }
        };
        Ok(Telemetry {
            readiness,
            router: agents,
            meters: head,
            metrics: shown,
            exporter: Mutex::new(self.exporter),
        })
    }
}

/// Running telemetry.
pub struct Telemetry {
    readiness: Readiness,
    router: crate::router::Router,
    /// What the parts record into.
    pub meters: Meters,
    /// Absent when it is off.
    metrics: Option<(MetricRegistry, Arc<SloTracker>, Sampler)>,
    exporter: Mutex<Option<TraceExporter>>,
}

impl Telemetry {
    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// They cannot be written in it.
    pub fn render_text(&self) -> Result<String, prometheus::Error> {
        let Some((registry, ..)) = &self.metrics else {
            return Ok(String::new());
        };
        TextEncoder::new().encode_to_string(&registry.gather())
    }

    /// The metrics as JSON.
    #[must_use]
    pub fn render_json(&self) -> Value {
        let Some((registry, ..)) = &self.metrics else {
            return Value::Null;
        };
        let head = self.meters.store.latest_audit_head().map(|(seq, hash)| {
            let hash = hash.to_string();
            json!({"sequence": seq, "hash": hash})
        });
        json!({"audit_head": head, "metrics": json::families_to_json(&registry.gather())})
    }

    /// The service level objectives.
    #[must_use]
    pub fn render_slos(&self) -> Value {
        let slos = self
            .metrics
            .as_ref()
            .map(|(_, slos, _)| slos.evaluate_slos());
        json!({"slos": slos})
    }

    /// Whether the host may judge, and the answer that says so.
    #[must_use]
    pub fn check_readiness(&self) -> crate::readiness::ReadinessReport {
        self.readiness.to_report(self.router.list_serving().len())
    }

    /// Ends its threads. Spans that wait are sent.
    pub fn close(&self) {
        if let Some((_, _, sampler)) = &self.metrics {
            sampler.close();
        }
        let exporter = self
            .exporter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(exporter) = exporter {
            exporter.close();
        }
    }
}

/// The thread that turns the windows.
struct Sampler {
    thread: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Sampler {
    fn start(
        slos: Arc<SloTracker>,
        windows: Vec<Arc<RecentDurations>>,
    ) -> Result<Self, TelemetryError> {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let thread = std::thread::Builder::new()
            .name("ark-telemetry".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(SLOT_LENGTH) == Err(RecvTimeoutError::Timeout) {
                    slos.record_sample();
                    for recent in &windows {
                        recent.rotate_slot();
                    }
                }
            })
            .map_err(TelemetryError::Thread)?;
        Ok(Self {
            thread: Mutex::new(Some((stop, thread))),
        })
    }

    fn close(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, thread)) = thread {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the telemetry thread ended in a panic");
            }
        }
    }
}
