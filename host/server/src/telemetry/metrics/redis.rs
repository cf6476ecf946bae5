//! A Redis where one is watched: its queue, the streams that are read, and the events that are sent.

use opentelemetry::KeyValue;

use super::metric::{Emit, Metric, MetricContext, counter, emit_flag, gauge};
use crate::watchdog::{RedisMeasurement, StreamMeasurement};

pub(super) const METRICS: &[Metric] = &[
    gauge(
        "ark_redis_up",
        &[],
        "1 when the watched Redis answered at the last look. Absent without one.",
        |context, emit| {
            if let Some(redis) = measurement_of(context) {
                emit_flag(emit, redis.problem.is_none(), &[]);
            }
        },
    ),
    gauge(
        "ark_redis_latency_seconds",
        &[],
        "How long its answer took.",
        |context, emit| {
            if let Some(millis) = measurement_of(context).and_then(|redis| redis.latency_ms) {
                emit(millis / 1e3, &[]);
            }
        },
    ),
    gauge(
        "ark_redis_queue_depth",
        &[],
        "How much waits in its queue.",
        |context, emit| {
            if let Some(depth) = measurement_of(context).and_then(|redis| redis.depth) {
                emit(depth as f64, &[]);
            }
        },
    ),
    counter(
        "ark_redis_entries_total",
        &["result", "stream"],
        "Entries of streams: accepted (became signals), duplicate, refused (dead letters), trimmed.",
        |context, emit| {
            for status in &context.sources.readiness.redis.streams {
                for (result, count) in [
                    ("accepted", &status.accepted),
                    ("duplicate", &status.duplicates),
                    ("refused", &status.refused),
                    ("trimmed", &status.trimmed),
                ] {
                    let result = KeyValue::new("result", result);
                    let stream = KeyValue::new("stream", status.stream.clone());
                    emit(count.get() as f64, &[result, stream]);
                }
            }
        },
    ),
    gauge(
        "ark_redis_stream_depth",
        &["stream"],
        "Entries of a stream, read ones included.",
        |context, emit| emit_streams(context, emit, |it| Some(it.depth as f64)),
    ),
    gauge(
        "ark_redis_stream_lag",
        &["stream"],
        "Entries of a stream that are not read.",
        |context, emit| emit_streams(context, emit, |it| it.lag.map(|lag| lag as f64)),
    ),
    gauge(
        "ark_redis_stream_pending",
        &["stream"],
        "Entries of a stream that are read and not acknowledged.",
        |context, emit| emit_streams(context, emit, |it| Some(it.pending as f64)),
    ),
    gauge(
        "ark_redis_stream_pending_age_seconds",
        &["stream"],
        "How long the oldest of those has been that.",
        |context, emit| emit_streams(context, emit, |it| Some(it.pending_age.as_secs_f64())),
    ),
    gauge(
        "ark_redis_dead_letters",
        &["stream"],
        "Entries of a stream that could not become signals and are in its dead-letter stream.",
        |context, emit| emit_streams(context, emit, |it| Some(it.dead_letters as f64)),
    ),
    counter(
        "ark_redis_events_sent_total",
        &[],
        "Events that were sent.",
        |context, emit| {
            if let Some(events) = &context.sources.readiness.redis.events {
                emit(events.sent.get() as f64, &[]);
            }
        },
    ),
    gauge(
        "ark_redis_events_waiting",
        &[],
        "Events that wait to be sent.",
        |context, emit| {
            if let Some(events) = measurement_of(context).and_then(|redis| redis.events) {
                emit(events.events as f64, &[]);
            }
        },
    ),
    gauge(
        "ark_redis_events_age_seconds",
        &[],
        "How long the oldest of those has waited.",
        |context, emit| {
            if let Some(events) = measurement_of(context).and_then(|redis| redis.events) {
                emit(events.age.as_secs_f64(), &[]);
            }
        },
    ),
];

fn measurement_of(context: &MetricContext) -> Option<RedisMeasurement> {
    context.sources.readiness.watchdog.redis_measurement()
}

fn emit_streams(
    context: &MetricContext,
    emit: &mut Emit<'_>,
    read: fn(&StreamMeasurement) -> Option<f64>,
) {
    let streams = measurement_of(context).unwrap_or_default().streams;
    // One that could not be measured has no figures: zeros would end an alert.
    for stream in streams.into_iter().filter(|it| it.problem.is_none()) {
        if let Some(value) = read(&stream) {
            emit(value, &[KeyValue::new("stream", stream.stream)]);
        }
    }
}
