//! Deliveries that failed, and how they become pending again.

use ark_model::ids::{AuditId, Millis, Name, SignalId, TraceId};
use ark_model::signal::Signal;
use rusqlite::{Connection, params};

use crate::error::{CommitError, ReadError, WriteError};
use crate::query::{execute, millis_column, optional_millis, parse_column, parse_required};
use crate::reader::Reader;

use super::signal::{SIGNAL_COLUMNS, read_signal};

/// A delivery that failed and is to be pending again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redelivery {
    /// The signal.
    pub signal: SignalId,
    /// The receiver.
    pub agent: Name,
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDelivery {
    /// The signal.
    pub signal: SignalId,
    /// The receiver.
    pub agent: Name,
    /// The topic of the signal.
    pub topic: String,
    /// The trace of the signal.
    pub trace_id: TraceId,
    /// When the signal was accepted.
    pub accepted_at: Millis,
    /// When the signal's time to live is over.
    pub expires_at: Option<Millis>,
    /// When the delivery failed.
    pub failed_at: Millis,
    /// Why it failed.
    pub reason: String,
    /// The row of the audit log about the failure, which has the capsule's id; `None` when the row is archived or there never was one.
    pub failure: Option<AuditId>,
}

/// Where a page of failed deliveries begins: behind this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCursor {
    /// The signal.
    pub signal: SignalId,
    /// The receiver.
    pub agent: Name,
}

/// How many deliveries of an agent failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedCounts {
    /// Those that can be delivered again.
    pub deliverable: u64,
    /// Those of signals that have expired meanwhile.
    pub expired: u64,
}

/// Makes a delivery that failed pending again.
pub(crate) fn write_redelivery(
    connection: &Connection,
    redelivery: &Redelivery,
) -> Result<(), WriteError> {
    let changed = execute(
        connection,
        "UPDATE deliveries SET status = 'pending', reason = NULL, settled_at = NULL
         WHERE signal_id = ?1 AND agent = ?2 AND status = 'failed'",
        params![redelivery.signal.to_string(), redelivery.agent.as_str()],
    )?;
    if changed == 1 {
        return Ok(());
    }
    Err(WriteError::refuse(CommitError::DeliveryNotFailed {
        agent: redelivery.agent.clone(),
        signal: redelivery.signal,
    }))
}

impl Reader {
    /// The deliveries that failed, of one agent or of all, the latest signal first, behind the cursor when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn failed_deliveries(
        &self,
        agent: Option<&Name>,
        behind: Option<&FailedCursor>,
        limit: u32,
    ) -> Result<Vec<FailedDelivery>, ReadError> {
        let (signal, receiver) = behind.map_or((None, None), |cursor| {
            (Some(cursor.signal.to_string()), Some(cursor.agent.as_str()))
        });
        self.select_rows(
            "SELECT d.signal_id, d.agent, s.topic, s.trace_id, s.accepted_at, s.expires_at, d.settled_at, d.reason,
                 (SELECT a.id FROM audit_log a WHERE a.trace_id = s.trace_id AND a.kind = 'failure' AND a.agent = d.agent
                  AND json_extract(a.body, '$.signal_id') = d.signal_id ORDER BY a.seq DESC LIMIT 1)
             FROM deliveries d JOIN signals s ON s.id = d.signal_id
             WHERE d.status = 'failed' AND (?1 IS NULL OR d.agent = ?1)
                 AND (?2 IS NULL OR (d.signal_id, d.agent) < (?2, ?3))
             ORDER BY d.signal_id DESC, d.agent DESC LIMIT ?4",
            params![agent.map(Name::as_str), signal, receiver, limit],
            |row| {
                Ok(FailedDelivery {
                    signal: parse_required(row, 0)?,
                    agent: parse_required(row, 1)?,
                    topic: row.get(2)?,
                    trace_id: parse_required(row, 3)?,
                    accepted_at: millis_column(row, 4)?,
                    expires_at: optional_millis(row, 5)?,
                    failed_at: millis_column(row, 6)?,
                    reason: row.get(7)?,
                    failure: parse_column(row, 8)?,
                })
            },
        )
    }

    /// The signals whose deliveries to an agent failed at `until` or before, or only this one, oldest first, at most `limit`. Those that
    /// have expired by `now` are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn failed_signals(
        &self,
        agent: &Name,
        only: Option<SignalId>,
        until: Millis,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<Signal>, ReadError> {
        self.select_rows(
            &format!(
                "SELECT {SIGNAL_COLUMNS} FROM deliveries d JOIN signals s ON s.id = d.signal_id
                 WHERE d.status = 'failed' AND d.agent = ?1 AND (?2 IS NULL OR d.signal_id = ?2) AND d.settled_at <= ?3
                     AND (s.expires_at IS NULL OR s.expires_at > ?4)
                 ORDER BY d.signal_id LIMIT ?5"
            ),
            params![
                agent.as_str(),
                only.map(|id| id.to_string()),
                until.0,
                now.0,
                limit
            ],
            read_signal,
        )
    }

    /// How many deliveries to an agent, or of only this signal to it, failed at `until` or before.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn failed_counts(
        &self,
        agent: &Name,
        only: Option<SignalId>,
        until: Millis,
        now: Millis,
    ) -> Result<FailedCounts, ReadError> {
        let counts = self.select_row(
            "SELECT count(*) FILTER (WHERE s.expires_at IS NULL OR s.expires_at > ?4),
                 count(*) FILTER (WHERE s.expires_at <= ?4)
             FROM deliveries d JOIN signals s ON s.id = d.signal_id
             WHERE d.status = 'failed' AND d.agent = ?1 AND (?2 IS NULL OR d.signal_id = ?2) AND d.settled_at <= ?3",
            params![
                agent.as_str(),
                only.map(|id| id.to_string()),
                until.0,
                now.0
            ],
            |row| {
                Ok(FailedCounts {
                    deliverable: row.get(0)?,
                    expired: row.get(1)?,
                })
            },
        )?;
        Ok(counts.unwrap_or_default())
    }
}
