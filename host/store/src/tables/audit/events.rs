//! Events: audit rows and alerts in the order they were committed, for those who follow what happens.

use rusqlite::params;

use crate::error::ReadError;
use crate::query::{select_rows, select_value};
use crate::reader::Reader;
use crate::tables::control::{ALERT_COLUMNS, AlertRow, read_alert};

use super::audit_log::{AUDIT_COLUMNS, AuditRow, read_audit_head, read_audit_row};

/// How far a follower has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCursor {
    /// The number of the last audit row it has read.
    pub audit_seq: u64,
    /// The number of the last alert it has read.
    pub alert_seq: u64,
}

impl Reader {
    /// The cursor behind everything that is committed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_event_cursor(&self) -> Result<EventCursor, ReadError> {
        self.with_connection(|connection| {
            Ok(EventCursor {
                audit_seq: read_audit_head(connection)?.seq,
                alert_seq: select_value(
                    connection,
                    "SELECT COALESCE(max(seq), 0) FROM watchdog_events",
                    [],
                )?,
            })
        })
    }

    /// What was committed behind a cursor, oldest first: at most `limit` audit rows and at most `limit` alerts.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn events_since(
        &self,
        cursor: EventCursor,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, Vec<AlertRow>), ReadError> {
        self.with_connection(|connection| {
            let rows = select_rows(
                connection,
                &format!("SELECT {AUDIT_COLUMNS} FROM audit_log WHERE seq > ?1 ORDER BY seq LIMIT ?2"),
                params![cursor.audit_seq, limit],
                read_audit_row,
            )?;
            let alerts = select_rows(
                connection,
                &format!(
                    "SELECT {ALERT_COLUMNS} FROM watchdog_events WHERE seq > ?1 ORDER BY seq LIMIT ?2"
                ),
                params![cursor.alert_seq, limit],
                read_alert,
            )?;
            Ok((rows, alerts))
        })
    }
}
