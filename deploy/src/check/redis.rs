//! The Redis, where one is configured: whether it answers, and whether it keeps what producers were told it has.

use std::time::Duration;

use ark_host::redis::{RedisLink, RedisSettings};
use redis::Connection;

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How long opening a connection and each command may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest password that is not warned of, in bytes: a Redis answers many guesses a second.
const MIN_PASSWORD_BYTES: usize = 16;

pub(super) fn check_redis(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(config) = &inputs.config.redis else {
        return;
    };
    let settings = &config.settings;
    check_password_file(inputs, settings, lines);
    let mut link = RedisLink::new(settings.clone(), TIMEOUT);
    let connection = match link.connect() {
        Ok(connection) => connection,
        Err(error) => {
            return lines.add_error(
                error.to_string(),
                "start the Redis, or correct [redis]: url, username, password_file, ca_file",
            );
        }
    };
    if let Err(error) = redis::cmd("PING").exec(connection) {
        return lines.add_error(
            format!("the Redis does not answer: {error}"),
            "start the Redis, and give the user of [redis] the right to it",
        );
    }
    check_persistence(connection, lines);
    if lines.is_good() {
        lines.add_ok(format!(
            "answers and keeps its data; {} streams are read",
            config.signals.len()
        ));
    }
}

/// The file with the password is the host's alone, and the password is not short.
fn check_password_file(inputs: &CheckInputs, settings: &RedisSettings, lines: &mut CheckLines) {
    let Some(path) = &settings.password_file else {
        return;
    };
    // A file that cannot be read ends the connection below with its own message.
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    let shown = path.display();
    inputs.host_user.check_secret(path, "0400", lines);
    if text.trim().len() < MIN_PASSWORD_BYTES {
        lines.add_warning(
            format!("the password in {shown} has fewer than {MIN_PASSWORD_BYTES} characters"),
            "make a longer one (openssl rand -base64 24) and set it in the Redis too",
        );
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
    if memory != "0" && eviction != "noeviction" {
        lines.add_error(
            format!("the Redis drops keys when its memory is full (maxmemory-policy {eviction}): streams can vanish"),
            "set maxmemory-policy noeviction",
        );
    }
}
