//! This host in a Redis: its name there, how far it has read streams, the entries that cannot become signals, and how far it has sent events.

use ark_model::ids::{Digest, Millis, TraceId};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::error::ReadError;
use crate::query::{execute_cached, parse_required};
use crate::reader::Reader;
use crate::tables::audit::EventCursor;

/// How far a stream was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPosition {
    /// The key of the stream.
    pub stream: String,
    /// The run of the server in which it was read.
    pub run_id: String,
    /// The last entry that was read.
    pub last_entry: String,
}

/// An entry that cannot become a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The key of the stream it came from.
    pub stream: String,
    /// Its id there.
    pub entry: String,
    /// The digest of its fields: a stream that started again can give the same id to another entry.
    pub content: Digest,
    /// Why it cannot become a signal.
    pub reason: String,
    /// The trace it is recorded under.
    pub trace_id: TraceId,
}

/// A change of what is kept about Redis streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisChange {
    /// Gives this host its name in consumer groups, unless it has one.
    Join {
        /// The name.
        consumer: String,
    },
    /// A stream was read up to here.
    Read(StreamPosition),
    /// An entry cannot become a signal. The first reason stays.
    Refuse(DeadLetter),
    /// Events were sent up to here.
    Send(EventCursor),
}

impl RedisChange {
    /// Gives this host a random name in consumer groups, unless it has one.
    #[must_use]
    pub fn join() -> Self {
        Self::Join {
            consumer: format!("ark-{}", Uuid::now_v7()),
        }
    }
}

pub(crate) fn write_redis_change(
    connection: &Connection,
    change: &RedisChange,
    at: Millis,
) -> rusqlite::Result<()> {
    match change {
        RedisChange::Join { consumer } => execute_cached(
            connection,
            "INSERT INTO redis_consumer (id, name) VALUES (1, ?1) ON CONFLICT (id) DO NOTHING",
            [consumer],
        ),
        RedisChange::Read(position) => execute_cached(
            connection,
            "INSERT INTO redis_streams (stream, run_id, last_entry, at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (stream) DO UPDATE SET run_id = ?2, last_entry = ?3, at = ?4",
            params![position.stream, position.run_id, position.last_entry, at.0],
        ),
        RedisChange::Refuse(letter) => execute_cached(
            connection,
            "INSERT INTO redis_dead_letters (stream, entry, content, reason, trace_id, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (stream, entry, content) DO NOTHING",
            params![
                letter.stream,
                letter.entry,
                letter.content.as_bytes(),
                letter.reason,
                letter.trace_id.to_string(),
                at.0
            ],
        ),
        RedisChange::Send(cursor) => execute_cached(
            connection,
            "INSERT INTO redis_events (id, audit_seq, alert_seq, at) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET audit_seq = ?1, alert_seq = ?2, at = ?3",
            params![cursor.audit_seq, cursor.alert_seq, at.0],
        ),
    }
    .map(drop)
}

impl Reader {
    /// This host's name in consumer groups; `None` when it has none yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn redis_consumer(&self) -> Result<Option<String>, ReadError> {
        self.select_row("SELECT name FROM redis_consumer", [], |row| row.get(0))
    }

    /// How far a stream was read; `None` when it never was.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn stream_position(&self, stream: &str) -> Result<Option<StreamPosition>, ReadError> {
        self.select_row(
            "SELECT stream, run_id, last_entry FROM redis_streams WHERE stream = ?1",
            [stream],
            |row| {
                Ok(StreamPosition {
                    stream: row.get(0)?,
                    run_id: row.get(1)?,
                    last_entry: row.get(2)?,
                })
            },
        )
    }

    /// How far events were sent, at the last time it was recorded; `None` when none ever were.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn sent_events(&self) -> Result<Option<EventCursor>, ReadError> {
        self.select_row("SELECT audit_seq, alert_seq FROM redis_events", [], |row| {
            Ok(EventCursor {
                audit_seq: row.get(0)?,
                alert_seq: row.get(1)?,
            })
        })
    }

    /// The reason and the trace under which an entry was refused; `None` when it was not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn refused_entry(
        &self,
        stream: &str,
        entry: &str,
        content: Digest,
    ) -> Result<Option<(String, TraceId)>, ReadError> {
        self.select_row(
            "SELECT reason, trace_id FROM redis_dead_letters WHERE stream = ?1 AND entry = ?2 AND content = ?3",
            params![stream, entry, content.as_bytes()],
            |row| Ok((row.get(0)?, parse_required(row, 1)?)),
        )
    }
}
