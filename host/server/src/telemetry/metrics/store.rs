//! The store, the audit log and the disk.

use super::metric::{Metric, counter, emit_count, emit_flag, gauge, histogram};

pub(super) const METRICS: &[Metric] = &[
    histogram(
        "ark_store_commit_duration_seconds",
        &[],
        "One transaction, its sync included.",
    ),
    histogram(
        "ark_state_write_duration_seconds",
        &[],
        "A write of state, memory, truth or settings, from its submission until it is durable.",
    ),
    counter(
        "ark_store_units_total",
        &[],
        "Units committed; divided by the number of commits, how many share one sync.",
        |context, emit| emit_count(emit, &context.sources.meters.store.units, &[]),
    ),
    counter(
        "ark_store_failed_commits_total",
        &[],
        "Transactions that failed.",
        |context, emit| emit_count(emit, &context.sources.meters.store.failed_commits, &[]),
    ),
    counter(
        "ark_audit_rows_total",
        &[],
        "Rows appended to the audit log.",
        |context, emit| emit_count(emit, &context.sources.meters.store.audit_rows, &[]),
    ),
    gauge(
        "ark_audit_head_sequence",
        &[],
        "The number of the audit log's last row. Its hash is in /metrics/json.",
        |context, emit| {
            if let Some((seq, _)) = context.sources.meters.store.latest_audit_head() {
                emit(seq as f64, &[]);
            }
        },
    ),
    gauge(
        "ark_audit_writable",
        &[],
        "1 while the last commit succeeded.",
        |context, emit| emit_flag(emit, context.sources.readiness.store.audit_writable(), &[]),
    ),
    gauge(
        "ark_database_bytes",
        &[],
        "The database and its write-ahead log.",
        |context, emit| {
            emit(context.sources.readiness.store.size_bytes() as f64, &[]);
        },
    ),
    gauge(
        "ark_database_limit_bytes",
        &[],
        "What they may grow to: capacity.max_database_bytes.",
        |context, emit| {
            if let Some(limit) = context.sources.readiness.store.max_bytes() {
                emit(limit as f64, &[]);
            }
        },
    ),
    counter(
        "ark_store_check_runs_total",
        &[],
        "Checks of the whole database beside serving that have ended.",
        |context, emit| {
            emit(
                context.sources.readiness.watchdog.store_check().runs as f64,
                &[],
            );
        },
    ),
    gauge(
        "ark_store_check_failed",
        &[],
        "1 if the last check found a fault, 0 if it found none; /readyz names the fault.",
        |context, emit| {
            if let Some(check) = context.sources.readiness.watchdog.store_check().last {
                emit_flag(emit, check.fault.is_some(), &[]);
            }
        },
    ),
    gauge(
        "ark_store_check_rows",
        &[],
        "Rows of the audit log and revisions of the state that the last check looked at.",
        |context, emit| {
            if let Some(check) = context.sources.readiness.watchdog.store_check().last {
                emit((check.rows + check.revisions) as f64, &[]);
            }
        },
    ),
    gauge(
        "ark_store_check_duration_seconds",
        &[],
        "How long the last check took, its rests included.",
        |context, emit| {
            if let Some(check) = context.sources.readiness.watchdog.store_check().last {
                emit(check.duration.as_secs_f64(), &[]);
            }
        },
    ),
    gauge(
        "ark_store_check_timestamp_seconds",
        &[],
        "When the last check ended, in seconds since 1970 (UTC).",
        |context, emit| {
            if let Some(check) = context.sources.readiness.watchdog.store_check().last {
                emit(check.ended_at.0 as f64 / 1e3, &[]);
            }
        },
    ),
    gauge(
        "ark_disk_available_bytes",
        &[],
        "What is free on the disk of the data directory.",
        |context, emit| {
            if let Ok(disk) = rustix::fs::statvfs(context.sources.readiness.store.dir()) {
                emit(disk.f_bavail.saturating_mul(disk.f_frsize) as f64, &[]);
            }
        },
    ),
    gauge(
        "ark_disk_size_bytes",
        &[],
        "How large it is.",
        |context, emit| {
            if let Ok(disk) = rustix::fs::statvfs(context.sources.readiness.store.dir()) {
                emit(disk.f_blocks.saturating_mul(disk.f_frsize) as f64, &[]);
            }
        },
    ),
];
