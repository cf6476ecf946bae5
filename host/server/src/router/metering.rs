//! Records invocations in the meters: counts, durations, usage, spans.

use std::time::{Duration, SystemTime};

use crate::watchdog::ResourceUsage;
use ark_model::meters::{RouterMeters, Span, SpanId};

use super::message::RunningInvocation;

/// Records an invocation whose delivery is completed. `failure`: the kind of its failure, if it failed.
pub(super) fn meter_invocation(
    meters: &RouterMeters,
    invocation: &RunningInvocation,
    usage: Option<ResourceUsage>,
    failure: Option<&'static str>,
    elapsed: Duration,
) {
    let manifest = invocation.agent.manifest();
    let meter = meters
        .agents
        .for_deployment(&manifest.name, invocation.deployment());
    meters.invocation.record(elapsed);
    meter
        .busy_nanos
        .add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
    if let Some(usage) = usage {
        meter.fuel.add(usage.fuel);
        meter.memory_peak.record(usage.memory_peak as u64);
    }
    match failure {
        None => meter.succeeded.increment(),
        Some(kind) => meter.record_failure(kind),
    }
    if meters.spans.is_enabled() {
        let ended = SystemTime::now();
        let signal = &invocation.signal;
        meters.spans.record(Span {
            trace_id: signal.trace_id,
            id: SpanId::for_invocation(signal.id, &manifest.name),
            parent: Some(SpanId::for_signal(signal.id)),
            name: "ark.invocation",
            started: ended.checked_sub(elapsed).unwrap_or(ended),
            ended,
            attributes: vec![
                ("ark.agent", manifest.name.to_string()),
                ("ark.agent_version", manifest.version.clone()),
                (
                    "ark.deployment",
                    invocation.deployment().as_str().to_owned(),
                ),
                ("ark.topic", signal.topic.clone()),
            ],
            failure: failure.map(str::to_owned),
            link: None,
        });
    }
}
