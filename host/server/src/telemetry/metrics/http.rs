//! Requests of the API.

use opentelemetry::KeyValue;

use ark_model::meters::{ANSWER_CLASSES, CallKind};

use super::metric::{Metric, counter, emit_count, histogram};

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
];
