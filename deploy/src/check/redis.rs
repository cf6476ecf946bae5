//! The Redis, where one is configured: whether it answers, takes what the host sends, and keeps what producers were told it has.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_host::redis::{LinkError, RedisLink, RedisSettings};
use ark_store::{SecretKey, looks_typed};
use redis::Connection;

use super::inputs::CheckInputs;
use super::line::CheckLines;
use super::redis_commands::check_commands;

/// How long opening a connection and each command may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest password that is not warned of, in bytes: a Redis answers many guesses a second.
const MIN_PASSWORD_BYTES: usize = 16;
/// How much of its memory a Redis may have used before an operator should look.
const FULL_SHARE: f64 = 0.9;

pub(super) fn check_redis(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(config) = &inputs.config.redis else {
        return;
    };
    let settings = &config.settings;
    check_password(inputs, settings, lines);
    let mut link = RedisLink::new(settings.clone(), TIMEOUT);
    let connection = match link.connect() {
        Ok(connection) => connection,
        Err(LinkError::Redis(error)) if error.is_timeout() => return tell_silence(settings, lines),
        Err(error) => {
            return lines.add_error(
                error.to_string(),
                "start the Redis, or correct [redis]: url, username, password_file, ca_file",
            );
        }
    };
    if let Err(error) = redis::cmd("PING").exec(connection) {
        if error.is_timeout() {
            return tell_silence(settings, lines);
        }
        return lines.add_error(
            format!("the Redis does not answer: {error}"),
            "start the Redis, and give the user of [redis] the right to it",
        );
    }
    check_persistence(connection, lines);
    check_state(connection, lines);
    check_commands(inputs, settings, TIMEOUT, lines);
    if lines.is_good() {
        lines.add_ok(format!(
            "answers, takes what the host sends, and keeps its data; {} streams are read",
            config.signals.len()
        ));
    }
}

fn tell_silence(settings: &RedisSettings, lines: &mut CheckLines) {
    lines.add_error(
        format!(
            "the Redis at {} has not answered within {} s",
            settings.address.shown(),
            TIMEOUT.as_secs()
        ),
        "see on its machine whether its process is stopped or busy (redis-cli ping, its log) and whether a firewall drops what is sent to it, or correct redis.url",
    );
}

/// The file with the password is the host's alone, and the password was drawn, is not short and is no other secret.
fn check_password(inputs: &CheckInputs, settings: &RedisSettings, lines: &mut CheckLines) {
    let Some(path) = &settings.password_file else {
        if let Some(password) = settings.address.password() {
            judge_password(inputs, password, "the password in redis.url", lines);
        }
        return;
    };
    // A file that cannot be read ends the connection below with its own message.
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    inputs.host_user.check_secret(path, "0400", lines);
    let place = format!("the password in {}", path.display());
    judge_password(inputs, text.trim(), &place, lines);
}

fn judge_password(inputs: &CheckInputs, password: &str, place: &str, lines: &mut CheckLines) {
    let remedy = "make another one (openssl rand -base64 24) and set it in the Redis too";
    let is_key =
        |key: &SecretKey| SecretKey::parse(password, place).is_ok_and(|own| own.id() == key.id());
    let fleet = inputs.config.watchdog.fleet.as_ref();
    for (key, name) in [
        (inputs.usable_key(), "the key that encrypts secrets"),
        (fleet.map(|fleet| &fleet.key), "the key of the fleet"),
    ] {
        if key.is_some_and(is_key) {
            lines.add_error(
                format!("{place} is {name}: whoever administers the Redis knows it"),
                remedy,
            );
        }
    }
    if password.len() < MIN_PASSWORD_BYTES {
        lines.add_warning(
            format!("{place} has fewer than {MIN_PASSWORD_BYTES} characters"),
            remedy,
        );
    } else if looks_typed(password) {
        lines.add_warning(
            format!("{place} is no random one (few characters, or a part that repeats): it can be guessed"),
            remedy,
        );
    }
}

/// The fields of `INFO`, by their names; `None`: this user may not ask.
fn read_info(connection: &mut Connection) -> Option<BTreeMap<String, String>> {
    let info: String = redis::cmd("INFO").query(connection).ok()?;
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    let owned = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Some(owned.collect())
}

/// The Redis is no copy of another one, has memory left, and could write last what it keeps.
fn check_state(connection: &mut Connection, lines: &mut CheckLines) {
    let Some(info) = read_info(connection) else {
        return lines.add_warning(
            "the Redis does not say how it is (INFO), so whether it has memory left and can write its data is not known",
            "allow the user of [redis] +info",
        );
    };
    let field = |name: &str| info.get(name).map(String::as_str);
    if field("role").is_some_and(|role| role != "master") {
        lines.add_error(
            "the Redis is a replica of another one: it takes no writes, or loses them",
            "name the master in redis.url, or the Sentinels that know it",
        );
    }
    let number = |name: &str| field(name)?.parse::<f64>().ok();
    if let (Some(used), Some(most)) = (number("used_memory"), number("maxmemory"))
        && most > 0.0
        && used >= most * FULL_SHARE
    {
        lines.add_warning(
            format!(
                "the Redis has {:.1} MB in memory and may have {:.1} MB (maxmemory): it refuses writes when that is full",
                used / 1e6,
                most / 1e6
            ),
            "raise maxmemory, or remove what nobody reads any more",
        );
    }
    for (name, what) in [
        ("rdb_last_bgsave_status", "its last save"),
        ("aof_last_write_status", "the last write of its log"),
        ("aof_last_bgrewrite_status", "the last rewriting of its log"),
    ] {
        if field(name).is_some_and(|status| status != "ok") {
            lines.add_error(
                format!("the Redis could not finish {what} ({name}): it may keep nothing, or refuse writes"),
                "see its log, and make room on its disk",
            );
        }
    }
}

/// The value of a setting of the Redis; `None`: it does not show its settings to this user.
fn read_setting(connection: &mut Connection, name: &str) -> Option<String> {
    let pair: Vec<String> = redis::cmd("CONFIG")
        .arg("GET")
        .arg(name)
        .query(connection)
        .ok()?;
    pair.into_iter().nth(1)
}

fn check_persistence(connection: &mut Connection, lines: &mut CheckLines) {
    let mut read = |name: &str| read_setting(connection, name);
    let settings = (
        read("appendonly"),
        read("save"),
        read("appendfsync"),
        read("maxmemory"),
        read("maxmemory-policy"),
    );
    let (Some(log), Some(saves), Some(sync), Some(memory), Some(eviction)) = settings else {
        return lines.add_warning(
            "the Redis does not show its settings (CONFIG GET), so whether it keeps its data is not known",
            "look at appendonly, appendfsync and maxmemory-policy in its configuration, or allow the user +config|get",
        );
    };
    let remedy =
        "set appendonly yes and appendfsync everysec or always in the configuration of the Redis";
    match (log.as_str(), saves.is_empty(), sync.as_str()) {
        ("yes", _, "no") => lines.add_warning(
            "the Redis leaves it to the system when its log is on disk (appendfsync no): a power cut loses entries",
            remedy,
        ),
        ("yes", _, _) => {}
        (_, true, _) => lines.add_error(
            "the Redis keeps nothing over its end (appendonly no, no save): entries that the host has not read are lost",
            remedy,
        ),
        (_, false, _) => lines.add_warning(
            format!("the Redis keeps what was there at its last save ({saves}) only (appendonly no)"),
            remedy,
        ),
    }
    let waits_for_rewrite = read_setting(connection, "no-appendfsync-on-rewrite");
    if log == "yes" && waits_for_rewrite.as_deref() == Some("yes") {
        lines.add_warning(
            "the Redis does not put its log on disk while it rewrites it (no-appendfsync-on-rewrite yes): a power cut then loses seconds of entries",
            "set no-appendfsync-on-rewrite no",
        );
    }
    if memory != "0" && eviction != "noeviction" {
        lines.add_error(
            format!("the Redis drops keys when its memory is full (maxmemory-policy {eviction}): streams can vanish"),
            "set maxmemory-policy noeviction",
        );
    }
}
