//! The program and its process.

use opentelemetry::KeyValue;

use crate::telemetry::process::{ProcessStats, read_process_stats};

use super::metric::{Emit, Metric, counter, gauge};

pub(super) const METRICS: &[Metric] = &[
    gauge(
        "ark_build_info",
        &["version"],
        "1: the program that runs.",
        |_, emit| emit(1.0, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]),
    ),
    counter(
        "ark_spans_total",
        &["result"],
        "Spans for the OTLP endpoint: exported, failed, dropped. Absent without one.",
        |context, emit| {
            let spans = &context.sources.meters.hrm.spans;
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
        },
    ),
    gauge(
        "process_resident_memory_bytes",
        &[],
        "Resident memory.",
        |_, emit| emit_process(emit, |process| process.resident_bytes as f64),
    ),
    gauge(
        "process_open_fds",
        &[],
        "Open file descriptors.",
        |_, emit| emit_process(emit, |process| process.descriptors as f64),
    ),
    gauge("process_threads", &[], "Threads.", |_, emit| {
        emit_process(emit, |process| process.threads as f64);
    }),
    counter(
        "process_cpu_seconds_total",
        &[],
        "Processor time, user and system.",
        |_, emit| emit_process(emit, |process| process.cpu_seconds),
    ),
    gauge(
        "process_start_time_seconds",
        &[],
        "When the process started, since the Unix epoch.",
        |_, emit| emit_process(emit, |process| process.started),
    ),
];

fn emit_process(emit: &mut Emit<'_>, value: fn(&ProcessStats) -> f64) {
    if let Some(process) = read_process_stats() {
        emit(value(&process), &[]);
    }
}
