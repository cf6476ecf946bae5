//! Telemetry before the parts run: the meters they are given, and what those record into.

use std::sync::Arc;

use opentelemetry::KeyValue;
use parking_lot::Mutex;

use ark_model::meters::{
    AgentMeters, ApiMeters, CallKind, CallMeter, HrmMeters, Meters, RouterMeters, SpanSink,
    StoreMeters, Timing, WatchdogMeters,
};

use super::config::{TelemetryConfig, TelemetryListen};
use super::error::TelemetryError;
use super::handle::{ShownMetrics, Telemetry};
use super::metrics::{Emit, MetricContext, MetricSources, Observe, all_metrics};
use super::otlp::{self, TraceExporter};
use super::recent::RecentDurations;
use super::registry::{MetricRegistry, bind_timing};
use super::sampler::Sampler;
use super::slo::{DECISION_TARGET, EVALUATION_TARGET, SloTracker};

/// Builds telemetry in two steps: the meters before the parts start, the metrics once the parts can be asked.
pub struct TelemetryBuilder {
    /// What the parts record into.
    pub meters: Meters,
    /// `None`: telemetry is off.
    metrics: Option<MetricsParts>,
    exporter: Option<TraceExporter>,
}

/// What shows the meters.
struct MetricsParts {
    registry: MetricRegistry,
    decisions: Arc<RecentDurations>,
    evaluations: Arc<RecentDurations>,
}

/// Where the parts' durations go. The default drops them.
#[derive(Default)]
struct Timings {
    commit: Timing,
    state_write: Timing,
    decision: Timing,
    evaluation: Timing,
    queue: Timing,
    policy: Timing,
    decision_commit: Timing,
    instantiate: Timing,
    guest: Timing,
    invocation: Timing,
    calls: [Timing; CallKind::ALL.len()],
}

impl TelemetryBuilder {
    /// Makes the meters and starts the export of traces, where one is configured. With telemetry off the meters count and nothing is timed.
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
        let (timings, metrics) = match config.listen {
            TelemetryListen::Off => (Timings::default(), None),
            TelemetryListen::At(_) => {
                let metrics = MetricsParts::new()?;
                (Timings::new(&metrics)?, Some(metrics))
            }
        };
        Ok(Self {
            meters: make_meters(timings, &spans),
            metrics,
            exporter,
        })
    }

    /// Registers every metric, and starts the thread that advances the objectives' windows.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn build(self, sources: MetricSources) -> Result<Telemetry, TelemetryError> {
        let readiness = sources.readiness.clone();
        let router = sources.router.clone();
        let metrics = match self.metrics {
            None => None,
            Some(MetricsParts {
                registry,
                decisions,
                evaluations,
            }) => {
                let slos = Arc::new(SloTracker::new(
                    self.meters.clone(),
                    Arc::clone(&decisions),
                    Arc::clone(&evaluations),
                ));
                let context = Arc::new(MetricContext {
                    sources,
                    slos: Arc::clone(&slos),
                });
                register_observed(&registry, &context)?;
                let sampler = Sampler::start(Arc::clone(&slos), vec![decisions, evaluations])?;
                Some(ShownMetrics {
                    registry,
                    slos,
                    sampler,
                })
            }
        };
        Ok(Telemetry {
            readiness,
            router,
            meters: self.meters,
            metrics,
            exporter: Mutex::new(self.exporter),
        })
    }
}

/// Registers every metric that is read on demand.
fn register_observed(
    registry: &MetricRegistry,
    context: &Arc<MetricContext>,
) -> Result<(), TelemetryError> {
    for metric in all_metrics() {
        match metric.observe {
            Some(Observe::Host(observe)) => {
                let context = Arc::clone(context);
                registry.register_observed(metric, move |emit: &mut Emit<'_>| {
                    observe(&context, emit);
                })?;
            }
            Some(Observe::Process(observe)) => registry.register_observed(metric, observe)?,
            Some(Observe::Front(_)) | None => {}
        }
    }
    Ok(())
}

impl MetricsParts {
    fn new() -> Result<Self, TelemetryError> {
        let registry = MetricRegistry::new()?;
        let decisions = Arc::new(RecentDurations::new(DECISION_TARGET));
        let evaluations = Arc::new(RecentDurations::new(EVALUATION_TARGET));
        registry.register_summary("ark_decision_latency_seconds", &decisions)?;
        registry.register_summary("ark_hrm_evaluation_latency_seconds", &evaluations)?;
        Ok(Self {
            registry,
            decisions,
            evaluations,
        })
    }
}

impl Timings {
    /// Binds every duration to its histogram and labels, so that recording it looks nothing up.
    fn new(metrics: &MetricsParts) -> Result<Self, TelemetryError> {
        let registry = &metrics.registry;
        let plain = |name, recent: Option<&Arc<RecentDurations>>| {
            let histogram = registry.build_histogram(name)?;
            Ok::<_, TelemetryError>(bind_timing(&histogram, &[], recent.cloned()))
        };
        let phases = registry.build_histogram("ark_decision_phase_duration_seconds")?;
        let phase = |name| bind_timing(&phases, &[KeyValue::new("phase", name)], None);
        let calls = registry.build_histogram("ark_http_request_duration_seconds")?;
        let call =
            |call: CallKind| bind_timing(&calls, &[KeyValue::new("call", call.as_str())], None);
        Ok(Self {
            commit: plain("ark_store_commit_duration_seconds", None)?,
            state_write: plain("ark_state_write_duration_seconds", None)?,
            decision: plain("ark_decision_duration_seconds", Some(&metrics.decisions))?,
            evaluation: plain(
                "ark_hrm_evaluation_duration_seconds",
                Some(&metrics.evaluations),
            )?,
            queue: phase("queue"),
            policy: phase("policy"),
            decision_commit: phase("commit"),
            instantiate: phase("instantiate"),
            guest: phase("guest"),
            invocation: plain("ark_invocation_duration_seconds", None)?,
            calls: CallKind::ALL.map(call),
        })
    }
}

fn make_meters(timings: Timings, spans: &SpanSink) -> Meters {
    let agents = Arc::new(AgentMeters::default());
    Meters {
        store: Arc::new(StoreMeters {
            commit: timings.commit,
            state_write: timings.state_write,
            ..StoreMeters::default()
        }),
        hrm: Arc::new(HrmMeters {
            decision: timings.decision,
            evaluation: timings.evaluation,
            queue: timings.queue,
            policy: timings.policy,
            commit: timings.decision_commit,
            spans: spans.clone(),
            agents: Arc::clone(&agents),
            ..HrmMeters::default()
        }),
        router: Arc::new(RouterMeters {
            instantiate: timings.instantiate,
            guest: timings.guest,
            invocation: timings.invocation,
            spans: spans.clone(),
            agents: Arc::clone(&agents),
        }),
        watchdog: Arc::new(WatchdogMeters {
            agents: Arc::clone(&agents),
            ..WatchdogMeters::default()
        }),
        api: Arc::new(ApiMeters {
            calls: timings.calls.map(|duration| CallMeter {
                duration,
                ..CallMeter::default()
            }),
            ..ApiMeters::default()
        }),
        agents,
    }
}
