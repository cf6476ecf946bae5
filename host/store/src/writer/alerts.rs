//! The alerts that the writer raises itself: it alone knows, and where it cannot write it keeps them until it can.
//!
//! Must not know: the writer, transactions.

use std::time::{Duration, Instant};

use ark_model::control::{Alert, AlertSeverity};
use ark_model::ids::Millis;

use rusqlite::Connection;

use crate::tables::control::write_alert;

/// The kind of the alert that the files of the database were lost.
pub const DATABASE_LOST: &str = "database_lost";
/// The kind of the alert that another process holds the database's lock for writing.
pub const DATABASE_LOCKED: &str = "database_locked";
/// The kind of the alert that the write-ahead log cannot be written back.
pub const LOG_HELD: &str = "log_held";
/// The kind of the alert that the anchors of the audit log were lost.
pub const ANCHORS_LOST: &str = "anchors_lost";

/// The kind of the alert that the disk is full.
pub const DISK_FULL: &str = "disk_full";

/// How long the same alert is not repeated.
const ALERT_INTERVAL: Duration = Duration::from_mins(1);

/// The alerts that were raised lately, and those that could not be stored yet.
#[derive(Default)]
pub(super) struct WriterAlerts {
    raised: Vec<(&'static str, Instant)>,
    unstored: Vec<Alert>,
}

impl WriterAlerts {
    /// Whether an alert of this kind is due; if so it counts as raised.
    fn claim_kind(&mut self, kind: &'static str) -> bool {
        self.raised.retain(|(_, at)| at.elapsed() < ALERT_INTERVAL);
        let is_due = self.raised.iter().all(|(raised, _)| *raised != kind);
        if is_due {
            self.raised.push((kind, Instant::now()));
        }
        is_due
    }

    /// Keeps an alert to be stored, unless the same was raised within a minute. Returns whether it is kept.
    pub(super) fn raise(
        &mut self,
        kind: &'static str,
        message: String,
        observed: Option<u64>,
    ) -> bool {
        if !self.claim_kind(kind) {
            return false;
        }
        tracing::error!(kind, message, "alert");
        self.unstored.push(Alert {
            at_ms: Millis::now(),
            severity: AlertSeverity::Critical,
            kind: kind.to_owned(),
            agent: None,
            message,
            observed: observed.map(|observed| observed as f64),
            limit: None,
        });
        true
    }

    /// Stores the alerts that are kept, up to the first that cannot be, and hands each to `stored`. Returns whether any was stored and none is
    /// left. At most one of a kind and minute waits.
    pub(super) fn store_all(&mut self, connection: &Connection, stored: impl Fn(Alert)) -> bool {
        if self.unstored.is_empty() {
            return false;
        }
        while let Some(alert) = self.unstored.first() {
            if let Err(error) = write_alert(connection, alert) {
                tracing::warn!(%error, kind = alert.kind, "an alert is stored later");
                return false;
            }
            stored(self.unstored.remove(0));
        }
        true
    }
}
