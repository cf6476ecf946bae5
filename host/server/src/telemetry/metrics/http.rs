//! Requests of the API.

use opentelemetry::KeyValue;

use ark_model::meters::{ANSWER_CLASSES, ApiMeters, CallKind, EventStreamEnd};

use super::metric::{Emit, Metric, counter, emit_count, emit_counts, gauge, histogram};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "ark_http_requests_total",
        &["call", "status"],
        "Answers of the API, by kind of call and class of status.",
        |context, emit| {
            for (call, meter) in CallKind::ALL.iter().zip(&context.sources.meters.api.calls) {
                for (class, answers) in ANSWER_CLASSES.iter().zip(&meter.answers) {
                    let labels = [
                        KeyValue::new("call", call.as_str()),
                        KeyValue::new("status", *class),
                    ];
                    emit_count(emit, answers, &labels);
                }
            }
        },
    ),
    histogram(
        "ark_http_request_duration_seconds",
        &["call"],
        "From a request's head to its answer's.",
    ),
    gauge(
        "ark_event_streams",
        &["state"],
        "Event streams that are open: `live` ones have everything, `catching_up` ones are behind or are being written to.",
        |context, emit| {
            let streams = &context.sources.meters.api.streams;
            let open = streams.open();
            let live = streams.live.get().min(open);
            emit(live as f64, &[KeyValue::new("state", "live")]);
            emit(
                (open - live) as f64,
                &[KeyValue::new("state", "catching_up")],
            );
        },
    ),
    counter(
        "ark_event_streams_ended_total",
        &["reason"],
        "Event streams that ended, by reason; `unread`: the client read nothing for 30 s.",
        |context, emit| {
            let streams = &context.sources.meters.api.streams;
            let counts = EventStreamEnd::ALL
                .iter()
                .map(|end| (end.as_str(), streams.ended_counter(*end)));
            emit_counts(emit, "reason", counts);
        },
    ),
    counter(
        "ark_event_streams_refused_total",
        &["limit"],
        "Event streams that were refused: too many of one token, or in all.",
        |context, emit| {
            let streams = &context.sources.meters.api.streams;
            let counts = [
                ("token", &streams.refused_of_token),
                ("all", &streams.refused_in_all),
            ];
            emit_counts(emit, "limit", counts);
        },
    ),
    gauge(
        "ark_tls_certificate_end_timestamp_seconds",
        &[],
        "When the certificate of the API ends (the first of its file, not one of an authority behind it), in seconds since 1970 (UTC). Absent without a certificate.",
        |context, emit| emit_certificate_end(emit, &context.sources.meters.api),
    ),
];

/// Emits when the certificate in force ends, if there is one.
pub(super) fn emit_certificate_end(emit: &mut Emit<'_>, meters: &ApiMeters) {
    let end = meters.certificate_end.get();
    if end > 0 {
        emit(end as f64, &[]);
    }
}
