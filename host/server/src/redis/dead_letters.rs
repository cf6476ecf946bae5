//! Entries that cannot become signals: each is on record in the database, then in the dead-letter stream once, then acknowledged.

use redis::{Connection, cmd};

use ark_model::ids::{Digest, Millis, TraceId};
use ark_store::{DeadLetter, RedisChange, Store, Unit};

use super::entry::StreamEntry;
use super::error::ReadingError;
use super::group::Group;

/// About how many entries the dead-letter stream keeps. The record in the database stays.
const MAX_LENGTH: &str = "100000";
/// How many of the latest dead letters are searched for one that may be there already.
const SEARCHED: usize = 1000;

/// An entry that cannot become a signal, and why.
pub(super) struct RefusedEntry<'a> {
    pub(super) entry: &'a StreamEntry,
    pub(super) reason: &'a str,
    /// How often it was read.
    pub(super) attempts: u64,
}

/// Puts an entry into the dead-letter stream and acknowledges it, both at once.
///
/// # Errors
/// It is not acknowledged; the next attempt goes on where this one ended.
pub(super) fn put_aside(
    store: &Store,
    connection: &mut Connection,
    group: &Group,
    dead_letters: &str,
    refusal: &RefusedEntry<'_>,
) -> Result<(), ReadingError> {
    let RefusedEntry {
        entry,
        reason,
        attempts,
    } = *refusal;
    let content = entry.digest();
    let known = store.refused_entry(&group.stream, &entry.id, content)?;
    let (reason, trace_id) = match &known {
        Some((reason, trace_id)) => (reason.clone(), *trace_id),
        None => (reason.to_owned(), TraceId::fresh()),
    };
    if known.is_none() {
        store.commit(Unit {
            at: Millis::now(),
            redis: vec![RedisChange::Refuse(DeadLetter {
                stream: group.stream.clone(),
                entry: entry.id.clone(),
                content,
                reason: reason.clone(),
                trace_id,
            })],
            ..Unit::default()
        })?;
    }
    tracing::warn!(stream = group.stream, entry = entry.id, %trace_id, reason, "an entry cannot become a signal");
    // Only one that was refused before can be in the stream already: when its acknowledgement was lost with the group.
    if known.is_some() && is_there(connection, dead_letters, group, entry, content)? {
        return Ok(group.acknowledge(connection, std::slice::from_ref(&entry.id))?);
    }
    let mut add = cmd("XADD");
    add.arg(dead_letters).arg("MAXLEN").arg("~").arg(MAX_LENGTH);
    add.arg("*");
    for (name, value) in entry.fields.iter().flatten() {
        add.arg(name).arg(value);
    }
    // Last, so that a field of the entry cannot be taken for one of these where a reader keeps the last of a name.
    for (name, value) in [
        ("ark_stream", group.stream.clone()),
        ("ark_entry", entry.id.clone()),
        ("ark_content", content.to_string()),
        ("ark_reason", reason),
        ("ark_trace_id", trace_id.to_string()),
        ("ark_attempts", attempts.to_string()),
        ("ark_at_ms", Millis::now().0.to_string()),
    ] {
        add.arg(name).arg(value);
    }
    let mut acknowledge = cmd("XACK");
    acknowledge
        .arg(&group.stream)
        .arg(&group.group)
        .arg(&entry.id);
    redis::pipe()
        .atomic()
        .add_command(add)
        .ignore()
        .add_command(acknowledge)
        .ignore()
        .query::<()>(connection)?;
    Ok(())
}

/// Returns whether an entry is among the latest dead letters.
fn is_there(
    connection: &mut Connection,
    dead_letters: &str,
    group: &Group,
    entry: &StreamEntry,
    content: Digest,
) -> redis::RedisResult<bool> {
    let latest: Vec<(String, Vec<Vec<u8>>)> = cmd("XREVRANGE")
        .arg(dead_letters)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(SEARCHED)
        .query(connection)?;
    let content = content.to_string();
    let expected = [
        ("ark_stream", group.stream.as_str()),
        ("ark_entry", entry.id.as_str()),
        ("ark_content", content.as_str()),
    ];
    Ok(latest.iter().any(|(_, fields)| {
        let own = fields.len().saturating_sub(14);
        let own = fields.get(own..).unwrap_or_default();
        expected.iter().all(|(name, value)| {
            own.chunks_exact(2)
                .any(|pair| pair[0] == name.as_bytes() && pair[1] == value.as_bytes())
        })
    }))
}
