//! The program and its process.

use opentelemetry::KeyValue;

use crate::telemetry::process::{ProcessStats, read_process_stats};

use super::metric::{Emit, Metric, counter, process_counter, process_gauge};

/// What the export of traces says of itself.
pub(super) const SPAN_METRICS: &[Metric] = &[counter(
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
)];

/// What every process of the program shows.
pub(super) const METRICS: &[Metric] = &[
    process_gauge(
        "ark_build_info",
        &["version"],
        "1: the program that runs.",
        |emit| emit(1.0, &[KeyValue::new("version", crate::VERSION)]),
    ),
    process_gauge(
        "process_resident_memory_bytes",
        &[],
        "Resident memory.",
        |emit| emit_process(emit, |process| process.resident_bytes as f64),
    ),
    process_gauge("process_open_fds", &[], "Open file descriptors.", |emit| {
        emit_process(emit, |process| process.descriptors as f64);
    }),
    process_gauge("process_threads", &[], "Threads.", |emit| {
        emit_process(emit, |process| process.threads as f64);
    }),
    process_counter(
        "process_cpu_seconds_total",
        &[],
        "Processor time, user and system.",
        |emit| emit_process(emit, |process| process.cpu_seconds),
    ),
    process_gauge(
        "process_start_time_seconds",
        &[],
        "When the process started, since the Unix epoch.",
        |emit| emit_process(emit, |process| process.started),
    ),
];

fn emit_process(emit: &mut Emit<'_>, value: fn(&ProcessStats) -> f64) {
    if let Some(process) = read_process_stats() {
        emit(value(&process), &[]);
    }
}
