//! Traces: everything that one signal from outside led to.

use ark_model::ids::{Millis, Name, SignalId, TraceId};
use ark_model::signal::Signal;
use rusqlite::{Row, params};

use crate::error::ReadError;
use crate::query::{optional_millis, parse_required, select_rows, select_value};
use crate::reader::Reader;
use crate::tables::audit::{AuditFilter, AuditRow};

use super::signal::{SIGNAL_COLUMNS, read_signal};

/// How many rows of each kind are read of a trace at most.
pub const TRACE_ROWS: u32 = 1000;

/// A delivery of a signal of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The signal.
    pub signal_id: SignalId,
    /// The receiver.
    pub agent: Name,
    /// `pending`, `done` or `failed`.
    pub status: String,
    /// Why the delivery failed.
    pub reason: Option<String>,
    /// When the delivery was completed.
    pub settled_at: Option<Millis>,
}

/// Everything the store holds of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceRows {
    /// The signals, in the order they were accepted.
    pub signals: Vec<Signal>,
    /// The deliveries of the signals.
    pub deliveries: Vec<DeliveryRow>,
    /// The audit rows, newest first.
    pub audit: Vec<AuditRow>,
    /// How many messages of the trace are in the outbox.
    pub waiting_messages: u64,
    /// The ids of the decisions whose approval is open.
    pub open_approvals: Vec<String>,
}

fn read_delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        signal_id: parse_required(row, 0)?,
        agent: parse_required(row, 1)?,
        status: row.get(2)?,
        reason: row.get(3)?,
        settled_at: optional_millis(row, 4)?,
    })
}

impl Reader {
    /// Everything of a trace, at most [`TRACE_ROWS`] rows of each kind. The audit rows are read a moment after the others.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn trace_rows(&self, trace_id: TraceId) -> Result<TraceRows, ReadError> {
        let text = trace_id.to_string();
        let mut trace = self.with_connection(|connection| {
            Ok(TraceRows {
                signals: select_rows(
                    connection,
                    &format!(
                        "SELECT {SIGNAL_COLUMNS} FROM signals s WHERE s.trace_id = ?1 ORDER BY s.id LIMIT ?2"
                    ),
                    params![text, TRACE_ROWS],
                    read_signal,
                )?,
                deliveries: select_rows(
                    connection,
                    "SELECT d.signal_id, d.agent, d.status, d.reason, d.settled_at FROM signals s
                     JOIN deliveries d ON d.signal_id = s.id WHERE s.trace_id = ?1 ORDER BY s.id, d.agent LIMIT ?2",
                    params![text, TRACE_ROWS],
                    read_delivery,
                )?,
                audit: Vec::new(),
                waiting_messages: select_value(
                    connection,
                    "SELECT count(*) FROM outbox WHERE trace_id = ?1",
                    [&text],
                )?,
                open_approvals: select_rows(
                    connection,
                    "SELECT id FROM approvals WHERE status = 'open' AND trace_id = ?1 LIMIT ?2",
                    params![text, TRACE_ROWS],
                    |row| row.get(0),
                )?,
            })
        })?;
        let filter = AuditFilter {
            trace_id: Some(trace_id),
            ..AuditFilter::default()
        };
        trace.audit = self.audit_page(&filter, None, TRACE_ROWS)?;
        Ok(trace)
    }
}
