//! The stream that events go to: where it ends, and how it grows.

use std::collections::HashMap;

use redis::{Connection, FromRedisValue, RedisResult, cmd};

use ark_model::ids::Digest;
use ark_store::{EventCursor, ReadError, Store};

use super::config::EventsConfig;
use super::error::SendingError;
use crate::outgoing_events::{OutgoingEvent, render_cloud_event};
use crate::redis::group::parse_entry_id;

/// The field of an entry with the event.
const EVENT_FIELD: &str = "event";
/// The field of an entry with the hash of the audit log at the entry's position; empty where the row is in an archive.
const LOG_FIELD: &str = "log";

/// An entry's id.
type EntryId = (u64, u64);

/// Where the stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamTail {
    /// The last id that the stream has given; `None`: there is no stream, or it has never had an entry.
    last_id: Option<EntryId>,
    last_entry: LastEntry,
}

/// What the last entry of a stream shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LastEntry {
    /// The stream is empty.
    Absent,
    /// It has the field [`LOG_FIELD`], with this text.
    Event(String),
    /// It has no such field: no host appended it.
    Other,
}

/// Where the sending goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResumePoint {
    /// The last id that the stream has given.
    last_id: Option<EntryId>,
    /// The position of the last event that was sent.
    pub(super) position: EventCursor,
    /// The hash of the audit log there, if it is known.
    log_hash: Option<Digest>,
}

/// Looks where the stream ends. From here on until the next transaction, or [`unwatch_stream`], a change of the stream by anybody ends that transaction.
pub(super) fn watch_end(connection: &mut Connection, stream: &str) -> RedisResult<StreamTail> {
    cmd("WATCH").arg(stream).query::<()>(connection)?;
    let kind: String = cmd("TYPE").arg(stream).query(connection)?;
    if kind == "none" {
        return Ok(StreamTail {
            last_id: None,
            last_entry: LastEntry::Absent,
        });
    }
    let mut fields: HashMap<String, redis::Value> =
        cmd("XINFO").arg("STREAM").arg(stream).query(connection)?;
    let last_id = fields.remove("last-generated-id");
    let last_id = last_id.map(String::from_redis_value).transpose()?;
    let last_id = last_id.and_then(|id| parse_entry_id(&id));
    let last_entry = fields.remove("last-entry").unwrap_or(redis::Value::Nil);
    let last_entry: Option<(String, Vec<Vec<u8>>)> = FromRedisValue::from_redis_value(last_entry)?;
    Ok(StreamTail {
        last_id: last_id.filter(|id| *id != (0, 0)),
        last_entry: match last_entry {
            None => LastEntry::Absent,
            Some((_, fields)) => find_log_field(&fields).map_or(LastEntry::Other, LastEntry::Event),
        },
    })
}

/// Returns the text of the field [`LOG_FIELD`] among names and values in turn.
fn find_log_field(fields: &[Vec<u8>]) -> Option<String> {
    let mut pairs = fields.chunks_exact(2);
    let log = pairs.find(|pair| pair[0] == LOG_FIELD.as_bytes())?;
    String::from_utf8(log[1].clone()).ok()
}

/// Forgets what [`watch_end`] watches.
pub(super) fn unwatch_stream(connection: &mut Connection) -> RedisResult<()> {
    cmd("UNWATCH").query(connection)
}

/// Finds where the sending goes on: behind the last entry, if it is of this host's log; where the database says, if the stream is new or was
/// emptied.
///
/// # Errors
/// The stream holds something else, or the database cannot be read.
pub(super) fn find_resume_point(
    end: &StreamTail,
    store: &Store,
    recorded: EventCursor,
) -> Result<ResumePoint, SendingError> {
    let at = |position: EventCursor| -> Result<ResumePoint, ReadError> {
        Ok(ResumePoint {
            last_id: end.last_id,
            position,
            log_hash: store.audit_hash(position.audit_seq)?,
        })
    };
    let Some(last_id) = end.last_id else {
        return Ok(at(recorded)?);
    };
    let position = EventCursor {
        audit_seq: last_id.0,
        alert_seq: last_id.1,
    };
    let head = store.last_event_cursor()?;
    let foreign = |why| SendingError::Foreign { last_id, why };
    if position.audit_seq > head.audit_seq || position.alert_seq > head.alert_seq {
        return Err(foreign("is ahead of this host's log"));
    }
    match &end.last_entry {
        // Its entries were removed. What was recorded before can be repeated, since nothing of it is there.
        LastEntry::Absent => {
            let is_behind = position.audit_seq <= recorded.audit_seq
                && position.alert_seq <= recorded.alert_seq;
            Ok(at(if is_behind { recorded } else { position })?)
        }
        LastEntry::Other => Err(foreign("is no event of a host")),
        LastEntry::Event(log) => {
            let point = at(position)?;
            match point.log_hash {
                Some(hash) if *log != hash.to_string() && !log.is_empty() => Err(foreign(
                    "is of another host's log, or of an earlier database",
                )),
                _ => Ok(point),
            }
        }
    }
}

impl ResumePoint {
    /// Whether the stream still ends where it did.
    pub(super) fn is_end(&self, end: &StreamTail) -> bool {
        self.last_id == end.last_id
    }

    /// Moves on without an entry: what is between is in an archive.
    pub(super) fn skip_to(&mut self, position: EventCursor) {
        if position.audit_seq != self.position.audit_seq {
            self.log_hash = None;
        }
        self.position = position;
    }

    /// Appends events and publishes them, all or none. Returns false when the stream was changed by somebody since [`watch_end`]: then none is.
    ///
    /// # Errors
    /// The Redis fails. Then it is not known whether they were appended.
    pub(super) fn append(
        &mut self,
        connection: &mut Connection,
        config: &EventsConfig,
        source: &str,
        events: &[OutgoingEvent],
    ) -> Result<bool, SendingError> {
        let mut log_hash = self.log_hash;
        let mut transaction = redis::pipe();
        transaction.atomic();
        for event in events {
            log_hash = event.log_hash.or(log_hash);
            let id = event.position.to_string();
            let text = render_cloud_event(event, &id, source)?;
            let log = log_hash.map(|hash| hash.to_string()).unwrap_or_default();
            let mut add = cmd("XADD");
            add.arg(&config.stream).arg("MAXLEN").arg("~");
            add.arg(config.max_length).arg(id);
            add.arg(LOG_FIELD).arg(log).arg(EVENT_FIELD).arg(&text);
            transaction.add_command(add).ignore();
            if config.publish {
                let channel = event.class.channel.as_str();
                let mut publish = cmd("PUBLISH");
                publish.arg(format!("{}{channel}", config.channel_prefix));
                transaction.add_command(publish.arg(text).take()).ignore();
            }
        }
        let Some(last) = events.last() else {
            return Ok(true);
        };
        if transaction.query::<Option<()>>(connection)?.is_none() {
            return Ok(false);
        }
        self.position = last.position;
        self.last_id = Some((last.position.audit_seq, last.position.alert_seq));
        self.log_hash = log_hash;
        Ok(true)
    }
}
