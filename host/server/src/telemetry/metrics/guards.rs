//! Whether the host may judge: the Graveyard, halts, the watchdog.

use opentelemetry::KeyValue;

use ark_model::ids::Millis;
use ark_store::process_instance;

use super::metric::{Metric, counter, emit_counts, emit_flag, gauge};

pub(super) const METRICS: &[Metric] = &[
    gauge(
        "ark_graveyard_info",
        &["digest", "version"],
        "1: the Graveyard in force.",
        |context, emit| {
            let graveyard = &context.sources.graveyard;
            let digest = KeyValue::new("digest", graveyard.digest.to_string());
            let version = KeyValue::new("version", graveyard.metadata.version.clone());
            emit(1.0, &[digest, version]);
        },
    ),
    counter(
        "ark_graveyard_validations_total",
        &["result"],
        "Re-hashes of the Graveyard: held, broken.",
        |context, emit| {
            let watchdog = &context.sources.meters.watchdog;
            let counts = [
                ("held", &watchdog.pin_held),
                ("broken", &watchdog.pin_broken),
            ];
            emit_counts(emit, "result", counts);
        },
    ),
    gauge(
        "ark_graveyard_pin_holds",
        &[],
        "1 while its bytes match the pin.",
        |context, emit| emit_flag(emit, context.sources.readiness.guards.pin_holds(), &[]),
    ),
    gauge(
        "ark_graveyard_vectors_passed",
        &[],
        "Test vectors it passed at the start.",
        |context, emit| emit(context.sources.vectors as f64, &[]),
    ),
    gauge(
        "ark_halted",
        &[],
        "1 while nothing but reads is approved.",
        |context, emit| emit_flag(emit, context.sources.readiness.guards.is_halted(), &[]),
    ),
    gauge(
        "ark_watchdog_beating",
        &[],
        "1 while the watchdog beats.",
        |context, emit| {
            let guards = &context.sources.readiness.guards;
            emit_flag(emit, guards.watchdog_beating(Millis::now()), &[]);
        },
    ),
    gauge(
        "ark_ready",
        &[],
        "1 while /readyz says 200.",
        |context, emit| {
            emit_flag(emit, context.sources.readiness.problems().is_empty(), &[]);
        },
    ),
    gauge(
        "ark_instance_info",
        &["process"],
        "1: the name of the host's process, as /readyz says it (instance). Another one with each start.",
        |_, emit| emit(1.0, &[KeyValue::new("process", process_instance())]),
    ),
];
