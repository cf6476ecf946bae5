//! The commands of a consumer group.

use std::collections::HashMap;

use redis::{Connection, FromRedisValue, RedisResult, cmd};

use super::entry::StreamEntry;

/// How many entries are read at once.
pub(super) const BATCH: usize = 128;
/// How long a read waits for entries, in milliseconds. The end of the host waits as long.
const BLOCK_MS: u64 = 500;
/// How long an entry must have been with a consumer before another one takes it over, in milliseconds. A host that lives shows it in time
/// ([`Group::keep_entries`]).
pub(super) const CLAIM_IDLE_MS: u64 = 60_000;

/// An entry of a reply: its id, and names and values in turn; nil if it was trimmed.
type RawEntry = (String, Option<Vec<Vec<u8>>>);
/// The reply of XREADGROUP: for each stream its entries; nil if there are none.
type StreamReply = Option<Vec<(String, Vec<RawEntry>)>>;

/// A stream, a group of consumers, and this host's name in it.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) stream: String,
    pub(super) group: String,
    pub(super) consumer: String,
}

/// Entries that were taken over from another consumer, and where the search goes on.
pub(super) struct Claimed {
    pub(super) entries: Vec<StreamEntry>,
    /// `0-0`: it has come to the end.
    pub(super) next: String,
}

impl Group {
    /// Makes the group, unless there is one, and the stream with it. It begins at the beginning of the stream. Returns whether it was made.
    pub(super) fn create(&self, connection: &mut Connection) -> RedisResult<bool> {
        let made = cmd("XGROUP")
            .arg("CREATE")
            .arg(&self.stream)
            .arg(&self.group)
            .arg("0")
            .arg("MKSTREAM")
            .query::<()>(connection);
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads up to `count` entries that no consumer was given yet. Waits for one for up to half a second.
    pub(super) fn read_new(&self, connection: &mut Connection) -> RedisResult<Vec<StreamEntry>> {
        self.read_entries(connection, BATCH, Some(BLOCK_MS), ">")
    }

    /// Reads up to `count` entries behind `after` that this consumer was given and has not acknowledged.
    pub(super) fn read_own(
        &self,
        connection: &mut Connection,
        after: &str,
        count: usize,
    ) -> RedisResult<Vec<StreamEntry>> {
        self.read_entries(connection, count, None, after)
    }

    fn read_entries(
        &self,
        connection: &mut Connection,
        count: usize,
        block_ms: Option<u64>,
        after: &str,
    ) -> RedisResult<Vec<StreamEntry>> {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.consumer);
        command.arg("COUNT").arg(count);
        if let Some(block) = block_ms {
            command.arg("BLOCK").arg(block);
        }
        command.arg("STREAMS").arg(&self.stream).arg(after);
        let reply: StreamReply = command.query(connection)?;
        let entries = reply.into_iter().flatten().flat_map(|(_, entries)| entries);
        Ok(entries.map(to_entry).collect())
    }

    /// Takes over entries that a consumer has held for more than [`CLAIM_IDLE_MS`], from `start` on.
    pub(super) fn claim_entries(
        &self,
        connection: &mut Connection,
        start: &str,
    ) -> RedisResult<Claimed> {
        let reply: redis::Value = cmd("XAUTOCLAIM")
            .arg(&self.stream)
            .arg(&self.group)
            .arg(&self.consumer)
            .arg(CLAIM_IDLE_MS)
            .arg(start)
            .arg("COUNT")
            .arg(BATCH)
            .query(connection)?;
        // Before Redis 7 the reply has two parts, from then on three: the last are entries that are gone, which need nothing any more.
        let parts: Vec<redis::Value> = FromRedisValue::from_redis_value(reply)?;
        let mut parts = parts.into_iter();
        let next = parts.next().map(String::from_redis_value).transpose()?;
        let entries = parts
            .next()
            .map(Vec::<Option<RawEntry>>::from_redis_value)
            .transpose()?;
        Ok(Claimed {
            entries: entries
                .into_iter()
                .flatten()
                .flatten()
                .map(to_entry)
                .collect(),
            next: next.unwrap_or_else(|| "0-0".to_owned()),
        })
    }

    /// How often each of these entries of this consumer was read.
    pub(super) fn count_reads(
        &self,
        connection: &mut Connection,
        after: &str,
        count: usize,
    ) -> RedisResult<HashMap<String, u64>> {
        let start = match after {
            "0" => "-".to_owned(),
            after => format!("({after}"),
        };
        let rows: Vec<(String, String, u64, u64)> = cmd("XPENDING")
            .arg(&self.stream)
            .arg(&self.group)
            .arg(start)
            .arg("+")
            .arg(count)
            .arg(&self.consumer)
            .query(connection)?;
        Ok(rows
            .into_iter()
            .map(|(id, _, _, reads)| (id, reads))
            .collect())
    }

    /// Acknowledges entries.
    pub(super) fn acknowledge(
        &self,
        connection: &mut Connection,
        ids: &[String],
    ) -> RedisResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        cmd("XACK")
            .arg(&self.stream)
            .arg(&self.group)
            .arg(ids)
            .query(connection)
    }

    /// Shows that this host still has these entries, so that no other takes them over, and that it is not their fault that they wait: their
    /// reads count from zero.
    pub(super) fn keep_entries(
        &self,
        connection: &mut Connection,
        ids: &[String],
    ) -> RedisResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        cmd("XCLAIM")
            .arg(&self.stream)
            .arg(&self.group)
            .arg(&self.consumer)
            .arg(0)
            .arg(ids)
            .arg(&["RETRYCOUNT", "0", "JUSTID"])
            .query::<Vec<String>>(connection)
            .map(drop)
    }

    /// The last id that the stream has given; `None`: there is no stream.
    pub(super) fn last_id(&self, connection: &mut Connection) -> RedisResult<Option<String>> {
        let fields: HashMap<String, redis::Value> = cmd("XINFO")
            .arg("STREAM")
            .arg(&self.stream)
            .query(connection)?;
        let last = fields.get("last-generated-id").cloned();
        Ok(last.map(String::from_redis_value).transpose()?)
    }
}

/// The id of the server's run: another one after every start. `None`: this user may not ask.
pub(super) fn read_run_id(connection: &mut Connection) -> RedisResult<Option<String>> {
    let info: RedisResult<String> = cmd("INFO").arg("server").query(connection);
    match info {
        Ok(info) => Ok(info
            .lines()
            .find_map(|line| line.strip_prefix("run_id:"))
            .map(|id| id.trim().to_owned())),
        Err(error) if error.code() == Some("NOPERM") => Ok(None),
        Err(error) => Err(error),
    }
}

/// An entry's id as two numbers, which order entries. `None`: it is no id.
pub(super) fn parse_entry_id(id: &str) -> Option<(u64, u64)> {
    let (millis, sequence) = id.split_once('-')?;
    Some((millis.parse().ok()?, sequence.parse().ok()?))
}

fn to_entry((id, fields): RawEntry) -> StreamEntry {
    let fields = fields.map(|fields| {
        let mut pairs = Vec::with_capacity(fields.len() / 2);
        let mut parts = fields.into_iter();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            pairs.push((name, value));
        }
        pairs
    });
    StreamEntry { id, fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_as_numbers() {
        assert!(parse_entry_id("9-0") < parse_entry_id("10-0"));
        assert!(parse_entry_id("10-9") < parse_entry_id("10-10"));
        assert_eq!(parse_entry_id("10"), None);
        assert_eq!(parse_entry_id("a-1"), None);
    }
}
