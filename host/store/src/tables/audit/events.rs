//! Events: audit rows and alerts in the order they were committed, for those who follow what happens.

use std::fmt;

use ark_model::ids::Digest;
use rusqlite::params;

use crate::chain::ChainHead;
use crate::error::ReadError;
use crate::query::{digest_column, select_rows, select_value};
use crate::reader::Reader;
use crate::tables::control::{ALERT_COLUMNS, AlertRow, read_alert};

use super::audit_log::{audit_columns, read_audit_head, read_audit_row};
use super::entry::AuditRow;

/// How far a follower has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCursor {
    /// The number of the last audit row it has read.
    pub audit_seq: u64,
    /// The number of the last alert it has read.
    pub alert_seq: u64,
}

/// The form of an event's id, of an entry's id in a Redis stream, and of `since`.
impl fmt::Display for EventCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.audit_seq, self.alert_seq)
    }
}

/// What was committed between two cursors, or the first part of it.
#[derive(Debug)]
pub struct EventRows {
    /// Audit rows, oldest first.
    pub rows: Vec<AuditRow>,
    /// Alerts, oldest first.
    pub alerts: Vec<AlertRow>,
    /// Whether this is all there is between the cursors.
    pub is_whole: bool,
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

    /// The hash of the audit log at a row, which stands for all rows up to it; `None`: the row is in an archive, or there is none yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit_hash(&self, seq: u64) -> Result<Option<Digest>, ReadError> {
        if seq == 0 {
            return Ok(Some(ChainHead::GENESIS.hash));
        }
        let Ok(seq) = i64::try_from(seq) else {
            return Ok(None);
        };
        self.select_row("SELECT hash FROM audit_log WHERE seq = ?1", [seq], |row| {
            digest_column(row, 0)
        })
    }

    /// What was committed behind one cursor and up to another, oldest first: at most `limit` audit rows and at most `limit` alerts, and no more
    /// rows once their bodies have `bytes` bytes together.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn events_between(
        &self,
        cursor: EventCursor,
        until: EventCursor,
        limit: u32,
        bytes: usize,
    ) -> Result<EventRows, ReadError> {
        self.with_connection(|connection| {
            let mut is_whole = true;
            let mut rows: Vec<AuditRow> = Vec::new();
            let columns = audit_columns(connection)?;
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {columns} FROM audit_log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3"
            ))?;
            let mut found = statement.query(params![cursor.audit_seq, until.audit_seq, limit])?;
            let mut read = 0;
            while let Some(row) = found.next()? {
                let row = read_audit_row(row)?;
                read += row.body.len();
                rows.push(row);
                if read >= bytes {
                    break;
                }
            }
            is_whole &= rows.last().map_or(cursor.audit_seq, |row| row.seq) >= until.audit_seq;
            let alerts = select_rows(
                connection,
                &format!(
                    "SELECT {ALERT_COLUMNS} FROM watchdog_events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3"
                ),
                params![cursor.alert_seq, until.alert_seq, limit],
                read_alert,
            )?;
            is_whole &= alerts.len() < limit as usize;
            Ok(EventRows {
                rows,
                alerts,
                is_whole,
            })
        })
    }
}
