//! The outbox: messages that were approved and will become signals.

use ark_model::ids::{Millis, Name, TraceId};
use rusqlite::{Connection, Row, params};

use crate::error::{CommitError, ReadError, StorageError, WriteError};
use crate::query::{execute_cached, millis_column, parse_column, parse_required};
use crate::reader::Reader;

/// A message that will become a signal.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxMessage {
    /// The topic.
    pub topic: String,
    /// The receiver; `None`: all subscribers.
    pub to: Option<Name>,
    /// The payload: one JSON value, as text.
    pub payload_json: String,
    /// The trace the message belongs to.
    pub trace_id: TraceId,
    /// The agent that sends it; `None`: the host.
    pub sender: Option<Name>,
    /// How many signals led to it, itself included.
    pub causal_depth: u32,
    /// When it was sent.
    pub at: Millis,
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// The number of the row.
    pub seq: i64,
    /// The message.
    pub message: OutboxMessage,
}

pub(crate) fn insert_outbox_message(
    connection: &Connection,
    message: &OutboxMessage,
) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "INSERT INTO outbox (topic, receiver, payload, trace_id, sender, causal_depth, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            message.topic,
            message.to.as_ref().map(Name::as_str),
            message.payload_json,
            message.trace_id.to_string(),
            message.sender.as_ref().map(Name::as_str),
            message.causal_depth,
            message.at.0,
        ],
    )
    .map(drop)
}

/// Deletes a row whose message has become a signal. A row that is gone is refused: its signal was stored before.
pub(crate) fn delete_outbox_row(connection: &Connection, seq: i64) -> Result<(), WriteError> {
    let deleted = execute_cached(connection, "DELETE FROM outbox WHERE seq = ?1", [seq])?;
    if deleted == 1 {
        return Ok(());
    }
    let taken = StorageError::OutboxRowTaken(seq);
    Err(WriteError::refuse(CommitError::Storage(taken)))
}

fn read_outbox_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        seq: row.get(0)?,
        message: OutboxMessage {
            topic: row.get(1)?,
            to: parse_column(row, 2)?,
            payload_json: row.get(3)?,
            trace_id: parse_required(row, 4)?,
            sender: parse_column(row, 5)?,
            causal_depth: row.get(6)?,
            at: millis_column(row, 7)?,
        },
    })
}

impl Reader {
    /// The messages in the outbox, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_outbox(&self, limit: u32) -> Result<Vec<OutboxRow>, ReadError> {
        self.select_rows(
            "SELECT seq, topic, receiver, payload, trace_id, sender, causal_depth, at FROM outbox
             ORDER BY seq LIMIT ?1",
            [limit],
            read_outbox_row,
        )
    }
}
