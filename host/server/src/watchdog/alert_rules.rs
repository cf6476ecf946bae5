//! Every kind of alert that the watchdog raises, and when it does.
//!
//! [`ALERTS`] is the one table of kinds, severities and thresholds; `docs/alerts.md` is generated from it, and a test compares the two.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::hrm;
use ark_model::control::AlertSeverity;
use ark_runtime::QuotaKind;

/// How long the same warning is not repeated, unless it becomes more severe.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How severe an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grading {
    /// Always the same severity.
    Fixed(AlertSeverity),
    /// A warning from `watchdog.warning` of the limit on, critical from `watchdog.critical` of it on. At most one a minute.
    ByShare,
}

/// A kind of alert.
#[derive(Debug, PartialEq, Eq)]
pub struct AlertRule {
    /// The kind, as in the alert. It is stable: operators match on it.
    pub kind: &'static str,
    /// How severe it is.
    pub grading: Grading,
    /// What is observed, with its unit.
    pub observed: &'static str,
    /// What it is compared with: a configuration key, or a fixed number.
    pub limit: &'static str,
}

/// Fuel of one invocation.
pub const FUEL: AlertRule = AlertRule {
    kind: "limit_fuel",
    grading: Grading::ByShare,
    observed: "fuel that one invocation used",
    limit: "the agent's `limits.fuel`",
};
/// Memory of one invocation.
pub const MEMORY: AlertRule = AlertRule {
    kind: "limit_memory_bytes",
    grading: Grading::ByShare,
    observed: "the most bytes of memory that one invocation held",
    limit: "the agent's `limits.memory_bytes`",
};
/// Time of one invocation.
pub const DEADLINE: AlertRule = AlertRule {
    kind: "limit_deadline_ms",
    grading: Grading::ByShare,
    observed: "milliseconds from the moment a worker takes the signal to the commit",
    limit: "the agent's `limits.deadline_ms`",
};
/// Deliveries that are open for an agent.
pub const QUEUE: AlertRule = AlertRule {
    kind: "limit_queue",
    grading: Grading::ByShare,
    observed: "deliveries that wait for the agent",
    limit: "`capacity.agent_queue`",
};
/// A missed heartbeat.
pub const HEARTBEAT_MISSED: AlertRule = AlertRule {
    kind: "heartbeat_missed",
    grading: Grading::Fixed(AlertSeverity::Warning),
    observed: "a heartbeat that failed or came too late",
    limit: "`watchdog.heartbeat_deadline_ms`",
};
/// The end of a trial by a breach.
pub const CANARY_WITHDRAWN: AlertRule = AlertRule {
    kind: "canary_withdrawn",
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "a version on trial that did what would put an agent into quarantine",
    limit: "the thresholds of a quarantine",
};
/// Decisions that break rules.
pub const VIOLATION_RATE: AlertRule = AlertRule {
    kind: "violation_rate",
    grading: Grading::ByShare,
    observed: "decisions of the last minute that break rules",
    limit: "`watchdog.violations_per_minute`",
};
/// A Redis that does not answer.
pub const REDIS_UNREACHABLE: AlertRule = AlertRule {
    kind: "redis_unreachable",
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "a Redis that does not answer",
    limit: "the interval of the measurements",
};
/// The latency of a Redis.
pub const REDIS_LATENCY: AlertRule = AlertRule {
    kind: "redis_latency",
    grading: Grading::ByShare,
    observed: "milliseconds until the Redis answered a PING",
    limit: "`watchdog.redis_latency_ms`",
};
/// The queue of a Redis.
pub const REDIS_DEPTH: AlertRule = AlertRule {
    kind: "redis_depth",
    grading: Grading::ByShare,
    observed: "entries in the Redis' queue",
    limit: "`watchdog.redis_depth`",
};
/// The entries of a stream of signals.
pub const REDIS_STREAM_DEPTH: AlertRule = AlertRule {
    kind: "redis_stream_depth",
    grading: Grading::ByShare,
    observed: "entries in a stream of signals, read ones included",
    limit: "`watchdog.redis_stream_depth`",
};
/// What is not read of a stream.
pub const REDIS_LAG: AlertRule = AlertRule {
    kind: "redis_lag",
    grading: Grading::ByShare,
    observed: "entries in a stream of signals that are not read",
    limit: "`watchdog.redis_lag`",
};
/// What is read of a stream and not acknowledged.
pub const REDIS_PENDING_AGE: AlertRule = AlertRule {
    kind: "redis_pending_age",
    grading: Grading::ByShare,
    observed: "milliseconds since the oldest entry was read that is not acknowledged",
    limit: "`watchdog.redis_pending_ms`",
};
/// Entries that cannot become signals.
pub const REDIS_DEAD_LETTERS: AlertRule = AlertRule {
    kind: "redis_dead_letters",
    grading: Grading::ByShare,
    observed: "entries in a dead-letter stream",
    limit: "`watchdog.redis_dead_letters`",
};
/// Events that are not sent.
pub const REDIS_EVENTS_WAITING: AlertRule = AlertRule {
    kind: "redis_events_waiting",
    grading: Grading::ByShare,
    observed: "events that wait to be sent to the Redis",
    limit: "`watchdog.redis_events_waiting`",
};
/// How long events are not sent.
pub const REDIS_EVENTS_AGE: AlertRule = AlertRule {
    kind: "redis_events_age",
    grading: Grading::ByShare,
    observed: "milliseconds that the oldest event waits to be sent to the Redis",
    limit: "`watchdog.redis_events_age_ms`",
};

/// How long a webhook fails.
pub const WEBHOOK_FAILING: AlertRule = AlertRule {
    kind: "webhook_failing",
    grading: Grading::ByShare,
    observed: "milliseconds since attempts of a webhook have begun to fail",
    limit: "`watchdog.webhook_failing_ms`",
};
/// A webhook whose receiver wants no more events.
pub const WEBHOOK_DISABLED: AlertRule = AlertRule {
    kind: "webhook_disabled",
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "a webhook whose receiver answered 410; once for each disabling and each start",
    limit: "",
};
/// Dead letters of a webhook.
pub const WEBHOOK_DEAD_LETTERS: AlertRule = AlertRule {
    kind: "webhook_dead_letters",
    grading: Grading::ByShare,
    observed: "dead letters of a webhook",
    limit: "the webhook's `dead_letters`",
};

/// Bytes that are kept for one agent.
pub const QUOTA_STORED_BYTES: AlertRule = AlertRule {
    kind: "quota_stored_bytes",
    grading: Grading::ByShare,
    observed: "bytes that are kept for the agent",
    limit: "the agent's `quotas.stored_bytes`",
};
/// Bytes that one agent stores within a minute.
pub const QUOTA_STORED_BYTES_PER_MINUTE: AlertRule = AlertRule {
    kind: "quota_stored_bytes_per_minute",
    grading: Grading::ByShare,
    observed: "bytes that the agent stored within a minute",
    limit: "the agent's `quotas.stored_bytes_per_minute`",
};
/// Keys of one agent.
pub const QUOTA_KEYS: AlertRule = AlertRule {
    kind: "quota_keys",
    grading: Grading::ByShare,
    observed: "keys of the agent that have a value",
    limit: "the agent's `quotas.keys`",
};
/// Memories of one agent.
pub const QUOTA_MEMORIES: AlertRule = AlertRule {
    kind: "quota_memories",
    grading: Grading::ByShare,
    observed: "memories that are kept of the agent",
    limit: "the agent's `quotas.memories`",
};
/// Audit rows about one agent within a minute.
pub const QUOTA_AUDIT_BYTES_PER_MINUTE: AlertRule = AlertRule {
    kind: "quota_audit_bytes_per_minute",
    grading: Grading::ByShare,
    observed: "bytes of the audit log about the agent within a minute",
    limit: "the agent's `quotas.audit_bytes_per_minute`",
};
/// What one agent logs within a minute.
pub const QUOTA_LOG_BYTES_PER_MINUTE: AlertRule = AlertRule {
    kind: "quota_log_bytes_per_minute",
    grading: Grading::ByShare,
    observed: "bytes that the agent logged within a minute",
    limit: "the agent's `quotas.log_bytes_per_minute`",
};
/// Messages that one agent sends within a minute.
pub const QUOTA_MESSAGES_PER_MINUTE: AlertRule = AlertRule {
    kind: "quota_messages_per_minute",
    grading: Grading::ByShare,
    observed: "messages that the agent sent within a minute",
    limit: "the agent's `quotas.messages_per_minute`",
};
/// What is written with one token.
pub const TOKEN_QUOTA: AlertRule = AlertRule {
    kind: "token_quota",
    grading: Grading::ByShare,
    observed: "bytes that were written with one token, kept or within a minute",
    limit: "one of `token_quotas`",
};
/// The size of the database.
pub const DATABASE_BYTES: AlertRule = AlertRule {
    kind: "database_bytes",
    grading: Grading::ByShare,
    observed: "bytes of the database and its write-ahead log",
    limit: "`capacity.max_database_bytes`",
};

/// A fill that came after its order had ended.
pub const LATE_FILL: AlertRule = AlertRule {
    kind: hrm::LATE_FILL,
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "the size of a fill that was reported after its order had ended, as a fraction of capital",
    limit: "the state of the order",
};
/// A fill beyond what was approved.
pub const OVERFILL: AlertRule = AlertRule {
    kind: hrm::OVERFILL,
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "the size that was filled beyond what was approved, as a fraction of capital",
    limit: "the size of the order",
};
/// A close of more than was open.
pub const UNMATCHED_CLOSE: AlertRule = AlertRule {
    kind: hrm::UNMATCHED_CLOSE,
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "the size that a close traded beyond what was open, as a fraction of capital",
    limit: "what was open of the agent in the instrument",
};

/// Files that were lost under the running host.
pub const DATABASE_LOST: AlertRule = AlertRule {
    kind: ark_store::DATABASE_LOST,
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "a file of the database that was removed, replaced or cut off while the host runs",
    limit: "the file that the host opened",
};

/// Another process holds the lock for writing.
pub const DATABASE_LOCKED: AlertRule = AlertRule {
    kind: ark_store::DATABASE_LOCKED,
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "another process that holds the database's lock for writing, by name if the system tells",
    limit: "a wait of 250 ms",
};
/// The write-ahead log cannot be written back.
pub const LOG_HELD: AlertRule = AlertRule {
    kind: ark_store::LOG_HELD,
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "bytes of a write-ahead log that a process keeps from being written back by reading from it",
    limit: "three quarters of the log's part of `capacity.max_database_bytes`, 48 MiB at most",
};

/// The anchors of the audit log were removed or cut off while the host runs.
pub const ANCHORS_LOST: AlertRule = AlertRule {
    kind: ark_store::ANCHORS_LOST,
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "bytes of `anchors.jsonl` that were written and are gone",
    limit: "none may be missing",
};

/// A database that is not what was written.
pub const DATABASE_DAMAGED: AlertRule = AlertRule {
    kind: "database_damaged",
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "the first fault that a check of the whole database finds beside serving",
    limit: "what was written",
};
/// The disk is full.
pub const DISK_FULL: AlertRule = AlertRule {
    kind: ark_store::DISK_FULL,
    grading: Grading::Fixed(AlertSeverity::Critical),
    observed: "a commit that fails since the disk, or the database's part of it, is full",
    limit: "what the disk has",
};

/// Every kind of alert that the watchdog raises, those of the store, and those that the HRM raises with an execution report. The kinds `halted`, `resumed`, `quarantined` and `restored` come with orders
/// ([`crate::hrm`]).
pub const ALERTS: [&AlertRule; 37] = [
    &FUEL,
    &MEMORY,
    &DEADLINE,
    &QUEUE,
    &HEARTBEAT_MISSED,
    &CANARY_WITHDRAWN,
    &VIOLATION_RATE,
    &REDIS_UNREACHABLE,
    &REDIS_LATENCY,
    &REDIS_DEPTH,
    &REDIS_STREAM_DEPTH,
    &REDIS_LAG,
    &REDIS_PENDING_AGE,
    &REDIS_DEAD_LETTERS,
    &REDIS_EVENTS_WAITING,
    &REDIS_EVENTS_AGE,
    &WEBHOOK_FAILING,
    &WEBHOOK_DISABLED,
    &WEBHOOK_DEAD_LETTERS,
    &QUOTA_STORED_BYTES,
    &QUOTA_STORED_BYTES_PER_MINUTE,
    &QUOTA_KEYS,
    &QUOTA_MEMORIES,
    &QUOTA_AUDIT_BYTES_PER_MINUTE,
    &QUOTA_LOG_BYTES_PER_MINUTE,
    &QUOTA_MESSAGES_PER_MINUTE,
    &TOKEN_QUOTA,
    &DATABASE_BYTES,
    &LATE_FILL,
    &OVERFILL,
    &UNMATCHED_CLOSE,
    &DATABASE_LOST,
    &DATABASE_LOCKED,
    &LOG_HELD,
    &ANCHORS_LOST,
    &DATABASE_DAMAGED,
    &DISK_FULL,
];

/// Returns the alert about an agent's use of a quota.
#[must_use]
pub const fn quota_rule(kind: QuotaKind) -> &'static AlertRule {
    match kind {
        QuotaKind::StoredBytes => &QUOTA_STORED_BYTES,
        QuotaKind::StoredBytesPerMinute => &QUOTA_STORED_BYTES_PER_MINUTE,
        QuotaKind::Keys => &QUOTA_KEYS,
        QuotaKind::Memories => &QUOTA_MEMORIES,
        QuotaKind::AuditBytesPerMinute => &QUOTA_AUDIT_BYTES_PER_MINUTE,
        QuotaKind::LogBytesPerMinute => &QUOTA_LOG_BYTES_PER_MINUTE,
        QuotaKind::MessagesPerMinute => &QUOTA_MESSAGES_PER_MINUTE,
    }
}

/// Returns [`ALERTS`] as the table of `docs/alerts.md`.
#[must_use]
pub fn markdown_table() -> String {
    let mut table =
        String::from("| kind | severity | observed | compared with |\n|---|---|---|---|\n");
    for rule in ALERTS {
        let severity = match rule.grading {
            Grading::Fixed(severity) => severity.as_str(),
            Grading::ByShare => "warning or critical",
        };
        let (kind, observed, limit) = (rule.kind, rule.observed, rule.limit);
        let _ = writeln!(table, "| `{kind}` | {severity} | {observed} | {limit} |");
    }
    table
}

/// The warnings that were given lately, so that they are not repeated.
#[derive(Debug, Default)]
pub(super) struct RecentWarnings(Vec<(&'static str, AlertSeverity, Instant)>);

impl RecentWarnings {
    /// Returns whether a warning is due, and remembers it as given: not when the same kind was given with the same or a higher severity within
    /// [`WARNING_INTERVAL`].
    pub(super) fn claim_warning(
        &mut self,
        kind: &'static str,
        severity: AlertSeverity,
        now: Instant,
    ) -> bool {
        self.0
            .retain(|(_, _, at)| now.saturating_duration_since(*at) < WARNING_INTERVAL);
        let was_given = self
            .0
            .iter()
            .any(|(known, at_least, _)| *known == kind && *at_least >= severity);
        if !was_given {
            self.0.push((kind, severity, now));
        }
        !was_given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/alerts.md");
        let document = std::fs::read_to_string(path).unwrap();
        assert!(
            document.contains(&markdown_table()),
            "docs/alerts.md does not hold this table:\n{}",
            markdown_table()
        );
    }

    #[test]
    fn warnings_are_not_repeated_within_a_minute_unless_they_become_more_severe() {
        let mut warnings = RecentWarnings::default();
        let now = Instant::now();
        assert!(warnings.claim_warning("fuel", AlertSeverity::Warning, now));
        assert!(!warnings.claim_warning("fuel", AlertSeverity::Warning, now));
        assert!(warnings.claim_warning("fuel", AlertSeverity::Critical, now));
        assert!(!warnings.claim_warning("fuel", AlertSeverity::Warning, now));
        assert!(warnings.claim_warning("memory_bytes", AlertSeverity::Warning, now));
        let later = now + Duration::from_secs(60);
        assert!(warnings.claim_warning("fuel", AlertSeverity::Warning, later));
    }
}
