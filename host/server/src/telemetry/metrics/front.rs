//! What a front passes on, parks, and judges again.

use opentelemetry::KeyValue;

use strum::VariantArray;

use ark_model::decision::Outcome;
use ark_model::meters::{ANSWER_CLASSES, CallKind, ParkEnd, UnjudgedReason, VerdictResult};

use super::http::emit_certificate_end;
use super::metric::{Metric, emit_count, emit_counts, front_counter, front_gauge, histogram};

pub(super) const METRICS: &[Metric] = &[
    front_counter(
        "ark_front_requests_total",
        &["call", "status"],
        "Answers of a front, by kind of call and class of status: the owner's, and the front's own.",
        |meters, emit| {
            for (call, meter) in CallKind::ALL.iter().zip(&meters.api.calls) {
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
        "ark_front_request_duration_seconds",
        &["call"],
        "From a request's head to its answer's, the time that it was parked included.",
    ),
    front_gauge(
        "ark_front_holding",
        &[],
        "Requests that are parked now because the owner is away.",
        |meters, emit| emit(meters.parked.get() as f64, &[]),
    ),
    front_counter(
        "ark_front_held_total",
        &["end"],
        "Requests that had to be parked, by what became of them: sent, expired (the owner was away for too long, came back open to everybody, or the front ended), full (too many were parked already).",
        |meters, emit| {
            let ends = ParkEnd::ALL.iter().zip(&meters.parked_ends);
            emit_counts(emit, "end", ends.map(|(end, count)| (end.as_str(), count)));
        },
    ),
    histogram(
        "ark_front_hold_duration_seconds",
        &[],
        "How long requests were parked.",
    ),
    front_gauge(
        "ark_front_hold_for_seconds",
        &[],
        "How long a request is parked at most (--hold-for).",
        |meters, emit| emit(meters.hold_for_ms.get() as f64 / 1000.0, &[]),
    ),
    front_counter(
        "ark_front_repeats_total",
        &[],
        "Requests that were sent again because their connection to the owner broke.",
        |meters, emit| emit_count(emit, &meters.repeats, &[]),
    ),
    front_counter(
        "ark_front_verdicts_total",
        &["result"],
        "Decisions of the owner that the front judged again: same, different, unjudged (it could not).",
        |meters, emit| {
            let results = VerdictResult::ALL.iter().zip(&meters.verdicts);
            emit_counts(
                emit,
                "result",
                results.map(|(result, count)| (result.as_str(), count)),
            );
        },
    ),
    front_counter(
        "ark_front_unjudged_total",
        &["reason"],
        "What the front could not judge again, by reason: dry_run, no_record, not_read, unknown_form, policy_failed (at the owner), failed_here, policy_missing, overload. Together they are the unjudged of ark_front_verdicts_total.",
        |meters, emit| {
            let reasons = UnjudgedReason::ALL.iter().zip(&meters.unjudged_reasons);
            emit_counts(
                emit,
                "reason",
                reasons.map(|(reason, count)| (reason.as_str(), count)),
            );
        },
    ),
    front_counter(
        "ark_front_judged_total",
        &["outcome"],
        "What a front itself makes of the decisions that it judges again: approved, held, denied.",
        |meters, emit| {
            let outcomes = Outcome::VARIANTS.iter().zip(&meters.judged);
            emit_counts(
                emit,
                "outcome",
                outcomes.map(|(outcome, count)| (outcome.as_str(), count)),
            );
        },
    ),
    front_gauge(
        "ark_front_waiting_verdicts",
        &[],
        "Answers whose decisions wait to be judged again.",
        |meters, emit| emit(meters.waiting_verdicts.get() as f64, &[]),
    ),
    front_gauge(
        "ark_front_owner_up",
        &[],
        "1 while the owner answers.",
        |meters, emit| emit(meters.owner_up.get() as f64, &[]),
    ),
    front_gauge(
        "ark_front_owner_ready",
        &[],
        "1 while the owner answers that it is ready.",
        |meters, emit| emit(meters.owner_ready.get() as f64, &[]),
    ),
    front_gauge(
        "ark_front_owner_info",
        &["process"],
        "1: the name of the owner's process, as its /readyz says it (instance). Absent while the owner is away, and of one that does not say it.",
        |meters, emit| {
            if let Some(process) = meters.owner_process.name() {
                emit(1.0, &[KeyValue::new("process", process)]);
            }
        },
    ),
    front_gauge(
        "ark_front_tls_certificate_end_timestamp_seconds",
        &[],
        "When the certificate of the front ends (the first of its file, not one of an authority behind it), in seconds since 1970 (UTC). Absent without a certificate.",
        |meters, emit| emit_certificate_end(emit, &meters.api),
    ),
];
