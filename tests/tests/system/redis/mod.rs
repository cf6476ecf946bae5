//! Signals from the streams of a real Redis, and events to one.

mod burst;
mod events;
mod failures;
mod lost;
mod reader;
mod secured;
mod signals;
mod status;

use std::collections::HashMap;

use ark_tests::redis::{RedisClient, RedisReply};
use ark_tests::{TestDir, wait_until};
use rusqlite::{Connection, OpenFlags};

/// Limits and quotas far above what these tests do, so that a fast machine ends no run.
const AMPLE: &str = "[limits]
deadline_ms = 600_000
actions_per_minute = 1_000_000
[quotas]
messages_per_minute = 1_000_000_000
audit_bytes_per_minute = 1_000_000_000_000
stored_bytes_per_minute = 1_000_000_000_000
";

/// What the host has on disk.
struct Records(Connection);

impl Records {
    fn open(dir: &TestDir) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        Self(Connection::open_with_flags(dir.data().join("ark.db"), flags).expect("the database"))
    }

    fn query_count(&self, sql: &str) -> u64 {
        // A host that was killed leaves a log that the next one recovers; until then a reader may be refused.
        let counted = || self.0.query_row(sql, [], |row| row.get(0));
        ark_tests::wait_for("a count", || counted().ok())
    }

    fn count_signals(&self) -> u64 {
        self.query_count("SELECT count(*) FROM signals")
    }

    /// What a batch that is read changes, one of known entries too: after its group was lost, a long stream is read again for minutes.
    fn read_progress(&self) -> (u64, u64) {
        (
            self.count_signals(),
            self.query_count("SELECT coalesce(sum(at), 0) FROM redis_streams"),
        )
    }

    fn query_texts(&self, sql: &str) -> Vec<String> {
        let mut statement = self.0.prepare(sql).expect("a query");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a text")).collect()
    }
}

/// Entries that the group was given and has not acknowledged.
fn read_pending(redis: &mut RedisClient, stream: &str) -> String {
    redis.run(&["XPENDING", stream, "ark"]).list()[0].text()
}

/// How many entries the group has not read yet.
fn read_lag(redis: &mut RedisClient, stream: &str) -> Option<String> {
    let groups = redis.try_run(&["XINFO", "GROUPS", stream]).ok()?;
    let group = groups.list().first()?.list();
    let fields: HashMap<String, &RedisReply> = group
        .chunks_exact(2)
        .map(|pair| (pair[0].text(), &pair[1]))
        .collect();
    Some(fields.get("lag")?.text())
}

/// Waits until everything in a stream is read and acknowledged.
fn wait_until_read(redis: &mut RedisClient, stream: &str) {
    wait_until("the stream is read", || {
        read_lag(redis, stream).as_deref() == Some("0") && read_pending(redis, stream) == "0"
    });
}

/// The dead letters of a stream, with their fields.
fn dead_letters(redis: &mut RedisClient, stream: &str) -> Vec<HashMap<String, String>> {
    let entries = redis.run(&["XRANGE", stream, "-", "+"]);
    let entries = entries.list().iter().map(RedisReply::entry);
    entries
        .map(|(_, fields)| fields.into_iter().collect())
        .collect()
}

/// A number from the environment, for long runs.
fn from_environment(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

fn wait_until_idle(records: &Records) {
    let pending =
        || records.query_count("SELECT count(*) FROM deliveries WHERE status = 'pending'");
    let mut left = pending();
    while left > 0 {
        let before = left;
        wait_until("fewer deliveries", || {
            left = pending();
            left < before
        });
    }
    wait_until("no message is left", || {
        records.query_count("SELECT count(*) FROM outbox") == 0
    });
}
