//! Agents and their invocations.
//!
//! Only agents that serve have rows: one that is no longer loaded has none.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{KeyValue, StringValue};

use ark_model::ids::Name;
use ark_model::meters::{AgentMeter, Deployment, QUARANTINE_CAUSES};
use ark_model::usage::QuotaHolder;

use crate::quotas::QuotaUse;
use crate::router::ServingSlot;

use super::decisions::OUTCOMES;
use super::metric::{
    Emit, Metric, MetricContext, counter, emit_count, emit_flag, gauge, histogram,
};

/// The part of a quota from which on its use is shown.
const LEAST_SHOWN: f64 = 0.01;
const AGENT_LABELS: &[&str] = &["agent", "deployment"];

/// Failures that are the guest's own word, or what it returned: it was not ended by the host.
const REASONS_WITHOUT_KILL: [&str; 4] = ["reported", "rejected_signal", "invalid_output", "start"];

pub(super) const METRICS: &[Metric] = &[
    gauge(
        "ark_agents_loaded",
        &[],
        "Agents in force.",
        |context, emit| {
            emit(context.sources.router.list_serving().len() as f64, &[]);
        },
    ),
    counter(
        "ark_agent_invocations_total",
        &["agent", "deployment", "result"],
        "Invocations finished: success, failure.",
        |context, emit| {
            for agent in list_metered(context) {
                let meter = &agent.meter;
                for (result, count) in [("success", &meter.succeeded), ("failure", &meter.failed)] {
                    emit_count(emit, count, &agent.labels_with("result", result));
                }
            }
        },
    ),
    counter(
        "ark_agent_busy_seconds_total",
        AGENT_LABELS,
        "Time from a worker's start to the commit, of all invocations.",
        |context, emit| {
            emit_meters(context, emit, |meter| {
                Duration::from_nanos(meter.busy_nanos.get()).as_secs_f64()
            });
        },
    ),
    counter(
        "ark_agent_fuel_total",
        AGENT_LABELS,
        "Fuel used; about one a WebAssembly instruction.",
        |context, emit| emit_meters(context, emit, |meter| meter.fuel.get() as f64),
    ),
    gauge(
        "ark_agent_memory_peak_bytes",
        AGENT_LABELS,
        "The most memory one of its invocations held since the start.",
        |context, emit| emit_meters(context, emit, |meter| meter.memory_peak.get() as f64),
    ),
    counter(
        "ark_agent_failures_total",
        &["agent", "deployment", "reason"],
        "Invocations that failed, by what ended them, e.g. fuel, deadline, trap, reported. Those of a reason appear with the first.",
        |context, emit| emit_failures(context, emit, |_| true),
    ),
    counter(
        "ark_agent_kills_total",
        &["agent", "deployment", "reason"],
        "Of these the invocations that the host ended: a limit, the deadline, a trap.",
        |context, emit| {
            emit_failures(context, emit, |reason| {
                !REASONS_WITHOUT_KILL.contains(&reason)
            });
        },
    ),
    counter(
        "ark_agent_heartbeats_missed_total",
        AGENT_LABELS,
        "Heartbeats it did not give in time.",
        |context, emit| {
            emit_meters(context, emit, |meter| meter.heartbeats_missed.get() as f64);
        },
    ),
    counter(
        "ark_agent_quarantines_total",
        &["agent", "deployment", "reason"],
        "Quarantines, by reason. Those of a reason appear with the first.",
        |context, emit| {
            for agent in list_metered(context) {
                for (cause, count) in QUARANTINE_CAUSES.iter().zip(&agent.meter.quarantines) {
                    if count.get() > 0 {
                        emit_count(emit, count, &agent.labels_with("reason", cause.as_str()));
                    }
                }
            }
        },
    ),
    gauge(
        "ark_agent_quarantined",
        &["agent"],
        "1 while it is in quarantine.",
        |context, emit| {
            for (name, _) in list_serving(context) {
                let is_quarantined = context.sources.readiness.guards.is_quarantined(&name);
                emit_flag(emit, is_quarantined, &[agent_label(&name)]);
            }
        },
    ),
    gauge(
        "ark_agent_health_score",
        &["agent"],
        "0 to 1: 0.5 success + 0.3 latency + 0.2 recency.",
        |context, emit| {
            for (name, _) in list_serving(context) {
                if let Some(health) = context.sources.readiness.watchdog.agent_health(&name) {
                    emit(health.score, &[agent_label(&name)]);
                }
            }
        },
    ),
    gauge(
        "ark_agent_waiting_deliveries",
        &["agent"],
        "Deliveries to it that are not completed yet.",
        |context, emit| {
            for (name, slot) in list_serving(context) {
                emit(slot.waiting_deliveries() as f64, &[agent_label(&name)]);
            }
        },
    ),
    gauge(
        "ark_agent_quota_used_ratio",
        &["agent", "quota"],
        "The part of a quota that it uses; at 1 its invocations are refused. A quota that it uses less than a hundredth of has no row.",
        |context, emit| {
            emit_quotas(context, emit, |quota| {
                let fraction = quota.fraction();
                if fraction < LEAST_SHOWN {
                    0.0
                } else {
                    fraction
                }
            });
        },
    ),
    counter(
        "ark_agent_quota_refusals_total",
        &["agent", "quota"],
        "Invocations that a quota refused. Those of a quota appear with the first.",
        |context, emit| {
            emit_quotas(context, emit, |quota| quota.refusals as f64);
        },
    ),
    counter(
        "ark_agent_decisions_total",
        &["agent", "deployment", "outcome"],
        "Decisions on what it proposed.",
        |context, emit| {
            for agent in list_metered(context) {
                for (outcome, count) in OUTCOMES.iter().zip(&agent.meter.decisions) {
                    emit_count(emit, count, &agent.labels_with("outcome", outcome));
                }
            }
        },
    ),
    histogram(
        "ark_invocation_duration_seconds",
        &[],
        "An invocation of any agent, from a worker's start to the commit.",
    ),
];

/// An agent that serves, as one of its deployments, with its meter.
struct MeteredAgent {
    name: Name,
    deployment: Deployment,
    meter: Arc<AgentMeter>,
}

impl MeteredAgent {
    fn labels(&self) -> [KeyValue; 2] {
        let deployment = KeyValue::new("deployment", self.deployment.as_str());
        [agent_label(&self.name), deployment]
    }

    fn labels_with(&self, label: &'static str, value: &'static str) -> [KeyValue; 3] {
        let [agent, deployment] = self.labels();
        [agent, deployment, KeyValue::new(label, value)]
    }
}

fn list_metered(context: &MetricContext) -> Vec<MeteredAgent> {
    let names: HashSet<Name> = list_serving(context).map(|(name, _)| name).collect();
    let meters = context.sources.meters.agents.list_meters();
    meters
        .into_iter()
        .filter(|(name, ..)| names.contains(name))
        .map(|(name, deployment, meter)| MeteredAgent {
            name,
            deployment,
            meter,
        })
        .collect()
}

fn list_serving(context: &MetricContext) -> impl Iterator<Item = (Name, ServingSlot)> {
    let serving = context.sources.router.list_serving().into_iter();
    serving.map(|slot| (slot.agent.manifest().name.clone(), slot))
}

fn emit_meters(context: &MetricContext, emit: &mut Emit<'_>, value: fn(&AgentMeter) -> f64) {
    for agent in list_metered(context) {
        emit(value(&agent.meter), &agent.labels());
    }
}

fn emit_quotas(context: &MetricContext, emit: &mut Emit<'_>, value: fn(&QuotaUse) -> f64) {
    for (name, slot) in list_serving(context) {
        let tighter = &slot.agent.manifest().quotas;
        let holder = QuotaHolder::Agent(name.clone());
        let uses = context.sources.quotas.list_uses(&holder, tighter);
        // Most agents use few of them: a row for each quota of each agent would be most of a scrape.
        for quota in uses.into_iter().filter(|quota| value(quota) > 0.0) {
            let label = KeyValue::new("quota", quota.kind.as_str());
            emit(value(&quota), &[agent_label(&name), label]);
        }
    }
}

fn emit_failures(context: &MetricContext, emit: &mut Emit<'_>, counts: fn(&str) -> bool) {
    for agent in list_metered(context) {
        for (reason, failures) in agent.meter.failures() {
            if counts(reason) {
                emit(failures as f64, &agent.labels_with("reason", reason));
            }
        }
    }
}

fn agent_label(name: &Name) -> KeyValue {
    KeyValue::new("agent", StringValue::from(name.as_str().to_owned()))
}
