//! Webhooks: attempts, dead letters, and how far each is behind.

use opentelemetry::KeyValue;
use strum::VariantArray as _;

use ark_model::ids::Millis;

use super::metric::{Emit, Metric, MetricContext, counter, emit_flag, gauge};
use crate::webhooks::{FailureKind, WebhookStatus};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "ark_webhook_attempts_total",
        &["result", "webhook"],
        "Attempts to send events to a webhook: delivered, refused, timeout, unreachable, blocked (its address may not be connected to).",
        |context, emit| {
            for status in context.sources.readiness.webhooks.statuses() {
                let mut emit_result = |result: &'static str, count: u64| {
                    let result = KeyValue::new("result", result);
                    emit(count as f64, &[result, label_webhook(status)]);
                };
                emit_result("delivered", status.delivered.get());
                for kind in FailureKind::VARIANTS {
                    emit_result(kind.as_str(), status.failed(*kind).get());
                }
            }
        },
    ),
    counter(
        "ark_webhook_dead_lettered_total",
        &["webhook"],
        "Events that became dead letters of a webhook.",
        |context, emit| {
            emit_each(context, emit, |_, it| {
                Some(it.dead_letters_written.get() as f64)
            });
        },
    ),
    counter(
        "ark_webhook_dead_letters_dropped_total",
        &["webhook"],
        "Dead letters of a webhook that were dropped, since there were too many.",
        |context, emit| emit_each(context, emit, |_, it| Some(it.dropped.get() as f64)),
    ),
    gauge(
        "ark_webhook_dead_letters",
        &["webhook"],
        "Dead letters of a webhook that are kept.",
        |context, emit| {
            emit_each(context, emit, |context, it| {
                let store = &context.sources.readiness.store;
                let kept = store.count_webhook_dead_letters(&it.name).ok()?;
                Some(kept as f64)
            });
        },
    ),
    gauge(
        "ark_webhook_waiting",
        &["webhook"],
        "Events behind the last one that a webhook has sent or passed over.",
        |context, emit| {
            emit_each(context, emit, |context, it| {
                let store = &context.sources.readiness.store;
                Some(it.measure_backlog(store).ok()??.events as f64)
            });
        },
    ),
    gauge(
        "ark_webhook_age_seconds",
        &["webhook"],
        "How long the oldest of those has waited.",
        |context, emit| {
            emit_each(context, emit, |context, it| {
                let store = &context.sources.readiness.store;
                Some(it.measure_backlog(store).ok()??.age.as_secs_f64())
            });
        },
    ),
    gauge(
        "ark_webhook_failing_seconds",
        &["webhook"],
        "How long no attempt of a webhook has succeeded; 0: the last one did.",
        |context, emit| {
            emit_each(context, emit, |_, it| {
                let since = it.state().failing_since;
                Some(since.map_or(0.0, |since| Millis::now().seconds_since(since)))
            });
        },
    ),
    gauge(
        "ark_webhook_disabled",
        &["webhook"],
        "1 while nothing is sent to a webhook, until an operator enables it.",
        |context, emit| {
            for status in context.sources.readiness.webhooks.statuses() {
                emit_flag(
                    emit,
                    status.state().disabled.is_some(),
                    &[label_webhook(status)],
                );
            }
        },
    ),
];

fn label_webhook(status: &WebhookStatus) -> KeyValue {
    KeyValue::new("webhook", status.name.to_string())
}

fn emit_each(
    context: &MetricContext,
    emit: &mut Emit<'_>,
    read: fn(&MetricContext, &WebhookStatus) -> Option<f64>,
) {
    for status in context.sources.readiness.webhooks.statuses() {
        if let Some(value) = read(context, status) {
            emit(value, &[label_webhook(status)]);
        }
    }
}
