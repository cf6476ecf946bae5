//! What happened since: audit rows and alerts in the order they were committed, and a bell that rings at every commit.

use rusqlite::params;
use tokio::sync::watch;

use super::Store;
use super::audit::{AUDIT_COLUMNS, AuditRow, read_audit_row};
use super::control::{ALERT_COLUMNS, AlertRow, read_alert};
use super::error::ReadError;

/// How far somebody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCursor {
    /// The last audit row.
    pub audit_seq: u64,
    /// The last alert.
    pub alert_seq: u64,
}

impl Store {
    /// Rings (changes) after every commit.
    #[must_use]
    pub fn subscribe_commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// The place behind everything that is committed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_event_cursor(&self) -> Result<EventCursor, ReadError> {
        self.inner.readers.with_connection(|connection| {
            Ok(EventCursor {
                audit_seq: super::audit::read_audit_head(connection)?.seq,
                alert_seq: connection
                    .prepare_cached("SELECT COALESCE(max(seq), 0) FROM watchdog_events")?
                    .query_row([], |row| row.get(0))?,
            })
        })
    }

    /// The first audit row that is still in the database, and not in an archive; `None`: there is none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn first_audit_seq(&self) -> Result<Option<u64>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached("SELECT min(seq) FROM audit_log")?
                .query_row([], |row| row.get(0))
        })
    }

    /// What was committed behind a place, in its order: `limit` audit rows and as many alerts at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn events_since(
        &self,
        place: EventCursor,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, Vec<AlertRow>), ReadError> {
        self.inner.readers.with_connection(|connection| {
            let rows = connection
                .prepare_cached(&format!(
                    "SELECT {AUDIT_COLUMNS} FROM audit_log WHERE seq > ?1 ORDER BY seq LIMIT ?2"
                ))?
                .query_map(params![place.audit_seq, limit], read_audit_row)?
                .collect::<rusqlite::Result<_>>()?;
            let alerts = connection
                .prepare_cached(&format!(
                    "SELECT {ALERT_COLUMNS} FROM watchdog_events WHERE seq > ?1 ORDER BY seq LIMIT ?2"
                ))?
                .query_map(params![place.alert_seq, limit], read_alert)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((rows, alerts))
        })
    }
}
