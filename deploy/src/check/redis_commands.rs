//! Whether the Redis takes the commands that the host will send.
//!
//! Each is put into a transaction that is never carried out: a Redis decides before it queues a command whether the user may run it on these keys and
//! channels, and whether it takes writes at all (a replica, memory that is full, too few replicas, a disk that failed). The transaction ends with
//! its connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ark_host::redis::{EventsConfig, RedisLink, RedisSettings, SignalStream};
use redis::{Cmd, Connection, RedisError};

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How many commands are named at most.
const MAX_NAMED: usize = 6;
/// The kind of error of what the user may not do.
const FORBIDDEN: &str = "NOPERM";
/// A consumer's name, in commands that are not carried out.
const ANY: &str = "ark-check";

/// A command that the host sends: its words.
type UsedCommand = Vec<String>;

/// The user of the host may run what the configuration needs, and the Redis takes its writes. `timeout` is that of a connection and each command.
pub(super) fn check_commands(
    inputs: &CheckInputs,
    settings: &Arc<RedisSettings>,
    timeout: Duration,
    lines: &mut CheckLines,
) {
    let Some(config) = &inputs.config.redis else {
        return;
    };
    let mut used = Vec::new();
    for stream in &config.signals {
        used.extend(list_reading(stream));
    }
    if let Some(events) = &config.events {
        used.extend(list_sending(events));
    }
    if let Some(fleet) = &inputs.config.watchdog.fleet {
        used.extend(list_sharing(&fleet.stream));
    }
    if let Some(watch) = &inputs.config.watchdog.redis {
        used.push(split_words(&["TYPE", &watch.queue]));
        used.push(split_words(&["XLEN", &watch.queue]));
    }
    let has_transactions = !config.signals.is_empty() || config.events.is_some();
    let watched = config.events.as_ref().map(|events| events.stream.as_str());
    let mut streams: BTreeSet<&str> = BTreeSet::new();
    for stream in &config.signals {
        streams.insert(stream.stream.as_str());
        streams.insert(stream.dead_letters.as_str());
    }
    streams.extend(config.events.iter().map(|events| events.stream.as_str()));
    let fleet = inputs.config.watchdog.fleet.as_ref();
    streams.extend(fleet.map(|fleet| fleet.stream.as_str()));
    let mut link = RedisLink::new(Arc::clone(settings), timeout);
    let refused = match link.connect() {
        Ok(connection) => {
            check_types(connection, &streams, lines);
            find_refused(connection, &used, has_transactions, watched)
        }
        Err(error) => {
            return lines.add_error(error.to_string(), "start the Redis, and check again");
        }
    };
    match refused {
        Ok(refused) => tell_refused(&refused, lines),
        Err(error) => lines.add_warning(
            format!("whether the Redis takes what the host sends is not known: {error}"),
            "allow the user of [redis] +multi, or see that it may run the commands in docs/redis.md (Access)",
        ),
    }
}

/// Each key that is to be a stream is one, or is not there yet: the queued commands are not carried out, so none of them meets a key of another type.
fn check_types(connection: &mut Connection, streams: &BTreeSet<&str>, lines: &mut CheckLines) {
    for stream in streams {
        match redis::cmd("TYPE").arg(*stream).query::<String>(connection) {
            Ok(kind) if kind == "none" || kind == "stream" => {}
            Ok(kind) => lines.add_error(
                format!("the key {stream} in the Redis is a {kind} and no stream: the host can neither read nor write it"),
                "name another stream in [redis] or [watchdog.fleet], or remove the key if nothing needs it",
            ),
            Err(error) => lines.add_warning(
                format!("whether the key {stream} in the Redis is a stream is not known: {error}"),
                "allow the user of [redis] +type on the keys of its streams",
            ),
        }
    }
}

fn split_words(words: &[&str]) -> UsedCommand {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What reads a stream of signals and keeps its dead letters.
fn list_reading(stream: &SignalStream) -> Vec<UsedCommand> {
    let (key, group, dead) = (
        stream.stream.as_str(),
        stream.group.as_str(),
        stream.dead_letters.as_str(),
    );
    [
        &["XGROUP", "CREATE", key, group, "0", "MKSTREAM"][..],
        &["XREADGROUP", "GROUP", group, ANY, "STREAMS", key, ">"],
        &["XAUTOCLAIM", key, group, ANY, "60000", "0-0"],
        &["XCLAIM", key, group, ANY, "60000", "0-1"],
        &["XPENDING", key, group],
        &["XACK", key, group, "0-1"],
        &["XINFO", "STREAM", key],
        &["XINFO", "GROUPS", key],
        &["XLEN", key],
        &["EXISTS", key],
        &["XADD", dead, "*", "a", "b"],
        &["XREVRANGE", dead, "+", "-", "COUNT", "1"],
        &["XLEN", dead],
    ]
    .map(split_words)
    .into()
}

/// What sends events.
fn list_sending(events: &EventsConfig) -> Vec<UsedCommand> {
    let key = events.stream.as_str();
    let mut used: Vec<UsedCommand> = [
        &["TYPE", key][..],
        &["XINFO", "STREAM", key],
        &["XADD", key, "*", "a", "b"],
        &["XLEN", key],
    ]
    .map(split_words)
    .into();
    let channels = events.list_channels();
    used.extend(
        channels
            .iter()
            .map(|channel| split_words(&["PUBLISH", channel, "a"])),
    );
    used
}

/// What shares orders with the other hosts of a fleet.
fn list_sharing(stream: &str) -> Vec<UsedCommand> {
    [
        &["XADD", stream, "*", "a", "b"][..],
        &["XREAD", "COUNT", "1", "STREAMS", stream, "0-0"],
    ]
    .map(split_words)
    .into()
}

/// Sends the commands so that none is carried out. Returns those that are refused, by the kind of the error.
///
/// # Errors
/// The connection fails, or there can be no transaction and the host needs none.
fn find_refused(
    connection: &mut Connection,
    used: &[UsedCommand],
    has_transactions: bool,
    watched: Option<&str>,
) -> Result<BTreeMap<String, Vec<(String, RedisError)>>, RedisError> {
    let mut refused: BTreeMap<String, Vec<(String, RedisError)>> = BTreeMap::new();
    let mut note = |words: &[&str], error: RedisError| {
        let Some(kind) = error.code().map(str::to_owned) else {
            return Err(error);
        };
        let names = words.iter().take(2).copied().collect::<Vec<_>>();
        refused
            .entry(kind)
            .or_default()
            .push((names.join(" "), error));
        Ok(())
    };
    let run = |connection: &mut Connection, words: &[&str]| {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query::<redis::Value>(connection).map(drop)
    };
    if let Some(stream) = watched {
        for words in [&["WATCH", stream][..], &["UNWATCH"]] {
            if let Err(error) = run(connection, words) {
                note(words, error)?;
            }
        }
    }
    if has_transactions && run(connection, &["MULTI"]).is_ok() {
        // An empty one does nothing.
        if let Err(error) = run(connection, &["EXEC"]) {
            note(&["EXEC"], error)?;
        }
    }
    // From here on nothing is carried out.
    if let Err(error) = run(connection, &["MULTI"]) {
        if !has_transactions {
            return Err(error);
        }
        note(&["MULTI"], error)?;
        return Ok(refused);
    }
    for command in used {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        if let Err(error) = run(connection, &words) {
            note(&words, error)?;
        }
    }
    Ok(refused)
}

fn tell_refused(refused: &BTreeMap<String, Vec<(String, RedisError)>>, lines: &mut CheckLines) {
    for (kind, commands) in refused {
        let Some((first, error)) = commands.first() else {
            continue;
        };
        let names: Vec<&str> = commands.iter().map(|(name, _)| name.as_str()).collect();
        if kind == FORBIDDEN {
            lines.add_error(
                format!(
                    "the user of [redis] may not run {} of the commands that the host sends, e.g. {}",
                    names.len(),
                    names.get(..MAX_NAMED).unwrap_or(&names).join(", ")
                ),
                "give it the commands, keys and channels in docs/redis.md (Access) with ACL SETUSER",
            );
            continue;
        }
        let remedy = match kind.as_str() {
            "READONLY" => "name the master in redis.url, or the Sentinels that know it",
            "OOM" => "raise maxmemory of the Redis, or remove what nobody reads any more",
            "NOREPLICAS" => {
                "start the replicas of the Redis, or lower min-replicas-to-write in its configuration"
            }
            "MISCONF" => "see the log of the Redis, and make room on its disk",
            _ => "correct the configuration of the Redis",
        };
        lines.add_error(
            format!(
                "the Redis refuses {} of the host's commands, e.g. {first}: {error}",
                names.len()
            ),
            remedy,
        );
    }
}
