//! Signals and their deliveries.

use super::metric::{Metric, counter, emit_count, emit_counts, gauge};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "ark_signals_total",
        &["source"],
        "Signals stored: external (from outside), internal (messages of agents and of the host).",
        |context, emit| {
            let store = &context.sources.meters.store;
            let counts = [
                ("external", &store.signals_external),
                ("internal", &store.signals_internal),
            ];
            emit_counts(emit, "source", counts);
        },
    ),
    counter(
        "ark_signals_duplicate_total",
        &[],
        "Signals whose key had been seen: nothing ran.",
        |context, emit| emit_count(emit, &context.sources.meters.store.signals_duplicate, &[]),
    ),
    counter(
        "ark_deliveries_total",
        &["result"],
        "Deliveries completed: done, failed, shed (no room for it).",
        |context, emit| {
            let store = &context.sources.meters.store;
            let counts = [
                ("done", &store.deliveries_done),
                ("failed", &store.deliveries_failed),
                ("shed", &store.deliveries_shed),
            ];
            emit_counts(emit, "result", counts);
        },
    ),
    gauge(
        "ark_backlog_deliveries",
        &[],
        "Deliveries that are not completed yet.",
        |context, emit| emit(context.sources.router.backlog() as f64, &[]),
    ),
    gauge(
        "ark_backlog_limit_deliveries",
        &[],
        "How many deliveries that are not completed there may be (capacity.backlog).",
        |context, emit| emit(context.sources.router.config().backlog as f64, &[]),
    ),
];
