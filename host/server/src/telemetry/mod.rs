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
use ark_model::meters::{AgentMeters, ApiMeters, Call, CallMeter, HrmMeters, Meters};
use ark_model::meters::{RouterMeters, Spans, StoreMeters, WatchdogMeters};

pub use config::{TelemetryConfig, TelemetryFile, TelemetryListen};
pub use observe::{OpenApprovals, Sources};
pub use server::{ListenError, TelemetryServer};

use otlp::Exporter;
use recent::{Recent, SLOT};
use registry::{Registry, timing};
use slo::{DECISION_TARGET, EVALUATION_TARGET, Slos};

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
pub struct Groundwork {
    /// For the parts.
    pub meters: Meters,
    shown: Option<Shown>,
    exporter: Option<Exporter>,
}

/// What shows the meters.
struct Shown {
    registry: Registry,
    decisions: Arc<Recent>,
    evaluations: Arc<Recent>,
}

impl Groundwork {
    /// Lays it. With telemetry off, meters count and nothing is timed.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn lay(config: &TelemetryConfig) -> Result<Self, TelemetryError> {
        let (spans, exporter) = match &config.otlp_endpoint {
            None => (Spans::default(), None),
            Some(endpoint) => {
                let (spans, out) = Spans::bounded(otlp::QUEUE);
                let exporter = Exporter::start(endpoint, out, spans.clone())?;
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
                shown: None,
                exporter,
            });
        }
        let registry = Registry::new()?;
        let decisions = Arc::new(Recent::new(DECISION_TARGET));
        let evaluations = Arc::new(Recent::new(EVALUATION_TARGET));
        registry.summary("ark_decision_latency_seconds", &decisions)?;
        registry.summary("ark_hrm_evaluation_latency_seconds", &evaluations)?;
        let plain = |name| {
            registry
                .histogram(name)
                .map(|histogram| timing(&histogram, &[], None))
        };
        let phases = registry.histogram("ark_decision_phase_duration_seconds")?;
        let phase = |name| timing(&phases, &[KeyValue::new("phase", name)], None);
        let calls = registry.histogram("ark_http_request_duration_seconds")?;
        let call = |call: Call| CallMeter {
            duration: timing(&calls, &[KeyValue::new("call", call.as_str())], None),
            ..CallMeter::default()
        };
        let meters = Meters {
            store: Arc::new(StoreMeters {
                commit: plain("ark_store_commit_duration_seconds")?,
                state_write: plain("ark_state_write_duration_seconds")?,
                ..StoreMeters::default()
            }),
            hrm: Arc::new(HrmMeters {
                decision: timing(
                    &registry.histogram("ark_decision_duration_seconds")?,
                    &[],
                    Some(Arc::clone(&decisions)),
                ),
                evaluation: timing(
                    &registry.histogram("ark_hrm_evaluation_duration_seconds")?,
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
                calls: Call::ALL.map(call),
            }),
            agents,
        };
        Ok(Self {
            meters,
            shown: Some(Shown {
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
    pub fn build(self, sources: Sources) -> Result<Telemetry, TelemetryError> {
        let readiness = sources.readiness.clone();
        let agents = sources.router.clone();
        let head = self.meters.clone();
        let shown = match self.shown {
            None => None,
            Some(Shown {
                registry,
                decisions,
                evaluations,
            }) => {
                let slos = Slos::new(
                    self.meters,
                    Arc::clone(&decisions),
                    Arc::clone(&evaluations),
                );
                let slos = Arc::new(slos);
                observe::register(&registry, &Arc::new(sources), &slos)?;
                let sampler = Sampler::start(Arc::clone(&slos), vec![decisions, evaluations])?;
                Some((registry, slos, sampler))
            }
        };
        Ok(Telemetry {
            readiness,
            router: agents,
            meters: head,
            shown,
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
    shown: Option<(Registry, Arc<Slos>, Sampler)>,
    exporter: Mutex<Option<Exporter>>,
}

impl Telemetry {
    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// They cannot be written in it.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let Some((registry, ..)) = &self.shown else {
            return Ok(String::new());
        };
        TextEncoder::new().encode_to_string(&registry.gather())
    }

    /// The metrics as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let Some((registry, ..)) = &self.shown else {
            return Value::Null;
        };
        let head = self.meters.store.head().map(|(seq, hash)| {
            let hash = hash.to_string();
            json!({"sequence": seq, "hash": hash})
        });
        json!({"audit_head": head, "metrics": json::of(&registry.gather())})
    }

    /// The service level objectives.
    #[must_use]
    pub fn slos(&self) -> Value {
        let slos = self.shown.as_ref().map(|(_, slos, _)| slos.view());
        json!({"slos": slos})
    }

    /// Whether the host may judge, and the answer that says so.
    #[must_use]
    pub fn ready(&self) -> crate::readiness::Ready {
        self.readiness.answer(self.router.seats().len())
    }

    /// Ends its threads. Spans that wait are sent.
    pub fn close(&self) {
        if let Some((_, _, sampler)) = &self.shown {
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
    fn start(slos: Arc<Slos>, windows: Vec<Arc<Recent>>) -> Result<Self, TelemetryError> {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let thread = std::thread::Builder::new()
            .name("ark-telemetry".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(SLOT) == Err(RecvTimeoutError::Timeout) {
                    slos.sample();
                    for recent in &windows {
                        recent.turn();
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
