//! What the counters and gauges say when somebody asks: read from the parts' own numbers, at that moment.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{KeyValue, StringValue};

use super::contract;
use super::process;
use super::registry::MetricRegistry;
use super::slo::SloTracker;
use super::{Emit, TelemetryError};
use crate::readiness::Readiness;
use crate::router::Router;
use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Millis, Name};
use ark_model::meters::{
    ANSWER_CLASSES, AgentMeter, COMPARISONS, COUNTED_ANSWERS, CallKind, Counter, Deployment,
    EXECUTION_STATUSES, Meters, PolicyTally, QUARANTINE_CAUSES,
};
use ark_model::policy::PolicyMode;

/// Approvals that nobody has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenApprovals {
    /// How many.
    pub open: u64,
    /// How long the oldest waits.
    pub oldest: Duration,
}

/// What the numbers are read from.
pub struct MetricSources {
    /// What the parts recorded.
    pub meters: Meters,
    /// Whether the host may judge.
    pub readiness: Readiness,
    /// Who has deliveries waiting.
    pub router: Router,
    /// The Graveyard.
    pub graveyard: Arc<PolicyIdentity>,
    /// Test vectors it passed.
    pub vectors: usize,
    /// Approvals that nobody has decided; `None`: they cannot be read now.
    pub approvals: Box<dyn Fn() -> Option<OpenApprovals> + Send + Sync>,
}

type Observe = fn(&MetricSources, &mut Emit<'_>);

/// Each metric with what it says.
const INSTRUMENTS: &[(&str, Observe)] = &[
    ("ark_decisions_total", emit_decisions),
    ("ark_rule_violations_total", |sources, emit| {
        emit_rules(sources, emit, true);
    }),
    ("ark_rule_answers_total", |sources, emit| {
        emit_rules(sources, emit, false);
    }),
    ("ark_policy_failures_total", emit_policy_failures),
    ("ark_policy_evaluations_total", |sources, emit| {
        emit_operator_policies(sources, emit, |tally, mode| {
            tally.evaluations[mode].get() as f64
        });
    }),
    ("ark_policy_evaluation_seconds_total", |sources, emit| {
        emit_operator_policies(sources, emit, |tally, mode| {
            tally.busy_nanos[mode].get() as f64 / 1e9
        });
    }),
    ("ark_policy_shadow_decisions_total", emit_policy_comparisons),
    ("ark_policies_in_force", |sources, emit| {
        for (kind, number) in sources.readiness.policies.count_by_state() {
            emit(number as f64, &[KeyValue::new("kind", kind)]);
        }
    }),
    ("ark_proposals_refused_total", |sources, emit| {
        let hrm = &sources.meters.hrm;
        emit_count(
            emit,
            &hrm.queue_rejections,
            &[KeyValue::new("reason", "busy")],
        );
        emit_count(
            emit,
            &hrm.not_recorded,
            &[KeyValue::new("reason", "not_recorded")],
        );
    }),
    ("ark_approvals_open", |sources, emit| {
        if let Some(approvals) = (sources.approvals)() {
            emit(approvals.open as f64, &[]);
        }
    }),
    ("ark_approvals_oldest_age_seconds", |sources, emit| {
        if let Some(approvals) = (sources.approvals)() {
            emit(approvals.oldest.as_secs_f64(), &[]);
        }
    }),
    ("ark_executions_total", |sources, emit| {
        for (status, reports) in EXECUTION_STATUSES
            .iter()
            .zip(&sources.meters.store.executions)
        {
            emit_count(emit, reports, &[KeyValue::new("status", *status)]);
        }
    }),
    ("ark_signals_total", |sources, emit| {
        let store = &sources.meters.store;
        emit_count(
            emit,
            &store.signals_external,
            &[KeyValue::new("source", "external")],
        );
        emit_count(
            emit,
            &store.signals_internal,
            &[KeyValue::new("source", "internal")],
        );
    }),
    ("ark_signals_duplicate_total", |sources, emit| {
        emit_count(emit, &sources.meters.store.signals_duplicate, &[]);
    }),
    ("ark_deliveries_total", |sources, emit| {
        let store = &sources.meters.store;
        emit_count(
            emit,
            &store.deliveries_done,
            &[KeyValue::new("result", "done")],
        );
        emit_count(
            emit,
            &store.deliveries_failed,
            &[KeyValue::new("result", "failed")],
        );
        emit_count(
            emit,
            &store.deliveries_shed,
            &[KeyValue::new("result", "shed")],
        );
    }),
    ("ark_backlog_deliveries", |sources, emit| {
        emit(sources.router.backlog() as f64, &[]);
    }),
    ("ark_backlog_limit_deliveries", |sources, emit| {
        emit(sources.router.config().backlog as f64, &[]);
    }),
    ("ark_agents_loaded", |sources, emit| {
        emit(sources.router.list_serving().len() as f64, &[]);
    }),
    ("ark_agent_invocations_total", |sources, emit| {
        for (name, deployment, meter) in loaded_agents(sources) {
            let [agent, deployment] = agent_labels(&name, deployment);
            for (result, of) in [("success", &meter.succeeded), ("failure", &meter.failed)] {
                let result = KeyValue::new("result", result);
                emit_count(emit, of, &[agent.clone(), deployment.clone(), result]);
            }
        }
    }),
    ("ark_agent_busy_seconds_total", |sources, emit| {
        for (name, deployment, meter) in loaded_agents(sources) {
            let busy = Duration::from_nanos(meter.busy_nanos.get());
            emit(busy.as_secs_f64(), &agent_labels(&name, deployment));
        }
    }),
    ("ark_agent_fuel_total", |sources, emit| {
        for (name, deployment, meter) in loaded_agents(sources) {
            emit_count(emit, &meter.fuel, &agent_labels(&name, deployment));
        }
    }),
    ("ark_agent_memory_peak_bytes", |sources, emit| {
        for (name, deployment, meter) in loaded_agents(sources) {
            emit(
                meter.memory_peak.get() as f64,
                &agent_labels(&name, deployment),
            );
        }
    }),
    ("ark_agent_failures_total", |sources, emit| {
        emit_failures(sources, emit, |_| true);
    }),
    ("ark_agent_kills_total", |sources, emit| {
        emit_failures(sources, emit, |reason| {
            !REASONS_WITHOUT_KILL.contains(&reason)
        });
    }),
    ("ark_agent_heartbeats_missed_total", |sources, emit| {
        for (name, deployment, meter) in loaded_agents(sources) {
            emit_count(
                emit,
                &meter.heartbeats_missed,
                &agent_labels(&name, deployment),
            );
        }
    }),
    ("ark_agent_quarantines_total", |sources, emit| {
        for (name, deployment, meter) in loaded_agents(sources) {
            for (cause, quarantines) in QUARANTINE_CAUSES.iter().zip(&meter.quarantines) {
                if quarantines.get() > 0 {
                    let [agent, deployment] = agent_labels(&name, deployment);
                    let reason = KeyValue::new("reason", cause.as_str());
                    emit_count(emit, quarantines, &[agent, deployment, reason]);
                }
            }
        }
    }),
    ("ark_agent_quarantined", |sources, emit| {
        for seat in sources.router.list_serving() {
            let name = &seat.agent.manifest().name;
            emit_flag(
                emit,
                sources.readiness.guards.is_quarantined(name),
                &[agent_label(name)],
            );
        }
    }),
    ("ark_agent_health_score", |sources, emit| {
        for seat in sources.router.list_serving() {
            let name = &seat.agent.manifest().name;
            if let Some(health) = sources.readiness.watchdog.agent_health(name) {
                emit(health.score, &[agent_label(name)]);
            }
        }
    }),
    ("ark_agent_waiting_deliveries", |sources, emit| {
        for seat in sources.router.list_serving() {
            emit(
                seat.waiting_deliveries() as f64,
                &[agent_label(&seat.agent.manifest().name)],
            );
        }
    }),
    ("ark_agent_decisions_total", |sources, emit| {
        for (name, deployment, meter) in loaded_agents(sources) {
            let [agent, deployment] = agent_labels(&name, deployment);
            for (outcome, decisions) in OUTCOMES.iter().zip(&meter.decisions) {
                let outcome = KeyValue::new("outcome", *outcome);
                emit_count(
                    emit,
                    decisions,
                    &[agent.clone(), deployment.clone(), outcome],
                );
            }
        }
    }),
    ("ark_http_requests_total", |sources, emit| {
        for (call, meter) in CallKind::ALL.iter().zip(&sources.meters.api.calls) {
            for (class, answers) in ANSWER_CLASSES.iter().zip(&meter.answers) {
                let labels = [
                    KeyValue::new("call", call.as_str()),
                    KeyValue::new("status", *class),
                ];
                emit_count(emit, answers, &labels);
            }
        }
    }),
    ("ark_store_units_total", |sources, emit| {
        emit_count(emit, &sources.meters.store.units, &[]);
    }),
    ("ark_store_failed_commits_total", |sources, emit| {
        emit_count(emit, &sources.meters.store.failed_commits, &[]);
    }),
    ("ark_audit_rows_total", |sources, emit| {
        emit_count(emit, &sources.meters.store.audit_rows, &[]);
    }),
    ("ark_audit_head_sequence", |sources, emit| {
        if let Some((seq, _)) = sources.meters.store.latest_audit_head() {
            emit(seq as f64, &[]);
        }
    }),
    ("ark_audit_writable", |sources, emit| {
        emit_flag(emit, sources.readiness.store.audit_writable(), &[]);
    }),
    ("ark_database_bytes", |sources, emit| {
        let dir = sources.readiness.store.dir();
        let size = |file| std::fs::metadata(dir.join(file)).map_or(0, |file| file.len());
        emit((size("ark.db") + size("ark.db-wal")) as f64, &[]);
    }),
    ("ark_disk_available_bytes", |sources, emit| {
        if let Ok(disk) = rustix::fs::statvfs(sources.readiness.store.dir()) {
            emit(disk.f_bavail.saturating_mul(disk.f_frsize) as f64, &[]);
        }
    }),
    ("ark_disk_size_bytes", |sources, emit| {
        if let Ok(disk) = rustix::fs::statvfs(sources.readiness.store.dir()) {
            emit(disk.f_blocks.saturating_mul(disk.f_frsize) as f64, &[]);
        }
    }),
    ("ark_graveyard_info", |sources, emit| {
        let digest = KeyValue::new("digest", sources.graveyard.digest.to_string());
        let version = KeyValue::new("version", sources.graveyard.metadata.version.clone());
        emit(1.0, &[digest, version]);
    }),
    ("ark_graveyard_validations_total", |sources, emit| {
        let watchdog = &sources.meters.watchdog;
        emit_count(emit, &watchdog.pin_held, &[KeyValue::new("result", "held")]);
        emit_count(
            emit,
            &watchdog.pin_broken,
            &[KeyValue::new("result", "broken")],
        );
    }),
    ("ark_graveyard_pin_holds", |sources, emit| {
        emit_flag(emit, sources.readiness.guards.pin_holds(), &[]);
    }),
    ("ark_graveyard_vectors_passed", |sources, emit| {
        emit(sources.vectors as f64, &[]);
    }),
    ("ark_halted", |sources, emit| {
        emit_flag(emit, sources.readiness.guards.is_halted(), &[]);
    }),
    ("ark_watchdog_beating", |sources, emit| {
        let beating = sources.readiness.guards.watchdog_beating(Millis::now());
        emit_flag(emit, beating, &[]);
    }),
    ("ark_ready", |sources, emit| {
        emit_flag(emit, sources.readiness.problems().is_empty(), &[]);
    }),
    ("ark_redis_up", |sources, emit| {
        if let Some(seen) = sources.readiness.watchdog.redis_status() {
            emit_flag(emit, seen.problem.is_none(), &[]);
        }
    }),
    ("ark_redis_latency_seconds", |sources, emit| {
        if let Some(millis) = sources
            .readiness
            .watchdog
            .redis_status()
            .and_then(|seen| seen.latency_ms)
        {
            emit(millis / 1e3, &[]);
        }
    }),
    ("ark_redis_queue_depth", |sources, emit| {
        if let Some(depth) = sources
            .readiness
            .watchdog
            .redis_status()
            .and_then(|seen| seen.depth)
        {
            emit(depth as f64, &[]);
        }
    }),
    ("ark_build_info", |_, emit| {
        emit(1.0, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
    }),
    ("ark_spans_total", |sources, emit| {
        let spans = &sources.meters.hrm.spans;
        if spans.is_enabled() {
            let [exported, failed] = spans.export_counts();
            for (result, number) in [
                ("exported", exported),
                ("failed", failed),
                ("dropped", spans.dropped_count()),
            ] {
                emit(number as f64, &[KeyValue::new("result", result)]);
            }
        }
    }),
    ("process_resident_memory_bytes", |_, emit| {
        if let Some(process) = process::read_process_stats() {
            emit(process.resident_bytes as f64, &[]);
        }
    }),
    ("process_open_fds", |_, emit| {
        if let Some(process) = process::read_process_stats() {
            emit(process.descriptors as f64, &[]);
        }
    }),
    ("process_threads", |_, emit| {
        if let Some(process) = process::read_process_stats() {
            emit(process.threads as f64, &[]);
        }
    }),
    ("process_cpu_seconds_total", |_, emit| {
        if let Some(process) = process::read_process_stats() {
            emit(process.cpu_seconds, &[]);
        }
    }),
    ("process_start_time_seconds", |_, emit| {
        if let Some(process) = process::read_process_stats() {
            emit(process.started, &[]);
        }
    }),
];

/// Failures that are the guest's own word, or what it returned: it was not ended by the host.
const REASONS_WITHOUT_KILL: [&str; 4] = ["reported", "rejected_signal", "invalid_output", "start"];

fn emit_failures(sources: &MetricSources, emit: &mut Emit<'_>, counts: fn(&str) -> bool) {
    for (name, deployment, meter) in loaded_agents(sources) {
        for (reason, failures) in meter.failures() {
            if counts(reason) {
                let [agent, deployment] = agent_labels(&name, deployment);
                let reason = KeyValue::new("reason", reason);
                emit(failures as f64, &[agent, deployment, reason]);
            }
        }
    }
}

const OUTCOMES: [&str; 3] = ["approved", "held", "denied"];

/// Puts all instruments into the registry.
///
/// # Errors
/// One of them is not in the contract.
pub fn register_instruments(
    registry: &MetricRegistry,
    sources: &Arc<MetricSources>,
    slos: &Arc<SloTracker>,
) -> Result<(), TelemetryError> {
    for (name, observe) in INSTRUMENTS {
        let sources = Arc::clone(sources);
        let observe = move |emit: &mut Emit<'_>| observe(&sources, emit);
        if contract::find_metric(name).is_some_and(|metric| metric.labels.contains(&"agent")) {
            registry.register_rows(name, observe)?;
        } else {
            registry.register_observed(name, observe)?;
        }
    }
    let burning = Arc::clone(slos);
    registry.register_observed("ark_slo_burn_rate", move |emit| {
        emit_slo_windows(&burning, |window| window.burn_rate, emit);
    })?;
    let met = Arc::clone(slos);
    registry.register_observed("ark_slo_met", move |emit| {
        emit_slo_windows(
            &met,
            |window| window.met.map(|met| f64::from(u8::from(met))),
            emit,
        );
    })
}

fn emit_slo_windows(
    slos: &SloTracker,
    value: fn(&super::slo::WindowView) -> Option<f64>,
    emit: &mut Emit<'_>,
) {
    for slo in slos.evaluate_slos() {
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

fn emit_decisions(sources: &MetricSources, emit: &mut Emit<'_>) {
    for (outcome, decisions) in OUTCOMES.iter().zip(&sources.meters.store.decisions) {
        emit_count(emit, decisions, &[KeyValue::new("outcome", *outcome)]);
    }
}

/// The meters of the agents that are in force: one that is no longer loaded has no rows any more.
fn loaded_agents(sources: &MetricSources) -> Vec<(Name, Deployment, Arc<AgentMeter>)> {
    let names: HashSet<Name> = sources
        .router
        .list_serving()
        .iter()
        .map(|seat| seat.agent.manifest().name.clone())
        .collect();
    let mut agents = sources.meters.agents.list_meters();
    agents.retain(|(name, ..)| names.contains(name));
    agents
}

/// Violations, or the other answers that fired. Versions of a policy that judged one after the other are one row, so that it only grows.
fn emit_rules(sources: &MetricSources, emit: &mut Emit<'_>, violations: bool) {
    for ((policy, rule, severity), counts) in sources.meters.hrm.rules.sums().rules {
        let labels = [
            KeyValue::new("policy", policy),
            KeyValue::new("rule", rule),
            KeyValue::new("severity", severity),
        ];
        let [broken, others @ ..] = counts;
        if violations {
            emit(broken as f64, &labels);
            continue;
        }
        for (answer, answers) in COUNTED_ANSWERS.iter().skip(1).zip(others) {
            let [policy, rule, severity] = labels.clone();
            let labels = [policy, rule, severity, KeyValue::new("answer", *answer)];
            emit(answers as f64, &labels);
        }
    }
}

fn emit_policy_failures(sources: &MetricSources, emit: &mut Emit<'_>) {
    for (policy, failures) in sources.meters.hrm.rules.sums().failures {
        emit(failures as f64, &[KeyValue::new("policy", policy)]);
    }
}

/// What operator policies did, by name and by whether their verdicts count.
fn emit_operator_policies(
    sources: &MetricSources,
    emit: &mut Emit<'_>,
    value: fn(&PolicyTally, usize) -> f64,
) {
    for (policy, tally) in sources.meters.hrm.policy_slots.tallies() {
        for (place, mode) in [PolicyMode::Enforce, PolicyMode::Shadow]
            .into_iter()
            .enumerate()
        {
            let labels = [
                KeyValue::new("mode", mode.as_str()),
                KeyValue::new("policy", StringValue::from(policy.as_str().to_owned())),
            ];
            emit(value(&tally, place), &labels);
        }
    }
}

fn emit_policy_comparisons(sources: &MetricSources, emit: &mut Emit<'_>) {
    for (policy, tally) in sources.meters.hrm.policy_slots.tallies() {
        for (result, decisions) in COMPARISONS.iter().zip(&tally.compared) {
            let labels = [
                KeyValue::new("policy", StringValue::from(policy.as_str().to_owned())),
                KeyValue::new("result", *result),
            ];
            emit_count(emit, decisions, &labels);
        }
    }
}

fn agent_label(name: &Name) -> KeyValue {
    KeyValue::new("agent", StringValue::from(name.as_str().to_owned()))
}

fn agent_labels(name: &Name, deployment: Deployment) -> [KeyValue; 2] {
    [
        agent_label(name),
        KeyValue::new("deployment", deployment.as_str()),
    ]
}

fn emit_count(emit: &mut Emit<'_>, count: &Counter, labels: &[KeyValue]) {
    emit(count.get() as f64, labels);
}

fn emit_flag(emit: &mut Emit<'_>, is: bool, labels: &[KeyValue]) {
    emit(f64::from(u8::from(is)), labels);
}
