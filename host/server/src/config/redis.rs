//! From the table `[redis]` to how the Redis is reached and what it is used for.

use std::collections::HashSet;
use std::sync::Arc;

use crate::redis::{
    EntryForm, EventsConfig, PayloadSource, RedisAddress, RedisConfig, RedisSettings, SignalStream,
};
use crate::router::HOST_TOPIC_PREFIX;
use ark_model::check::check_topic;

use super::error::KeyProblem;
use super::file::{RedisEventsFile, RedisFile, RedisSignalsFile, WatchdogFile};

/// How many streams are read at most: each has a thread.
const MAX_STREAMS: usize = 32;
/// The longest name of a stream, a group or a field, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// What the Redis is used for; `None`: there is none.
pub(super) fn resolve_redis(
    file: RedisFile,
    watchdog: &WatchdogFile,
) -> Result<Option<RedisConfig>, KeyProblem> {
    let url = match (&file.url, &watchdog.redis_url) {
        (Some(url), Some(old)) if url != old => {
            let problem = "is the earlier name of redis.url and differs from it; leave it out";
            return Err(("watchdog.redis_url".to_owned(), problem.to_owned()));
        }
        (Some(url), _) => Some(("redis.url", url)),
        (None, Some(url)) => Some(("watchdog.redis_url", url)),
        (None, None) => None,
    };
    let Some((key, url)) = url else {
        let given = [
            ("redis.username", file.username.is_some()),
            ("redis.password_file", file.password_file.is_some()),
            ("redis.ca_file", file.ca_file.is_some()),
            ("redis.signals", !file.signals.is_empty()),
            ("redis.events.stream", file.events.stream.is_some()),
        ];
        return match given.iter().find(|(_, is_given)| *is_given) {
            None => Ok(None),
            Some((key, _)) => Err((
                "redis.url".to_owned(),
                format!("is missing, and {key} needs it; give redis://HOST:PORT/DATABASE"),
            )),
        };
    };
    let address = RedisAddress::parse(url).map_err(|error| (key.to_owned(), error.to_string()))?;
    if file.ca_file.is_some() && !address.uses_tls() {
        let problem = format!("is given, but {key} is not encrypted; write rediss:// in it");
        return Err(("redis.ca_file".to_owned(), problem));
    }
    let signals = file.signals.into_iter().enumerate();
    let signals: Vec<SignalStream> = signals
        .map(|(index, signals)| resolve_signals(index, signals))
        .collect::<Result<_, _>>()?;
    check_distinct(&signals)?;
    let events = resolve_events(file.events, &signals)?;
    Ok(Some(RedisConfig {
        settings: Arc::new(RedisSettings {
            address,
            username: file.username,
            password_file: file.password_file,
            ca_file: file.ca_file,
        }),
        signals,
        events,
    }))
}

/// How events are sent. Their stream is none of those that are read, nor one of dead letters.
fn resolve_events(
    file: RedisEventsFile,
    signals: &[SignalStream],
) -> Result<Option<EventsConfig>, KeyProblem> {
    let field = |name: &str| format!("redis.events.{name}");
    let Some(stream) = file.stream else {
        return Ok(None);
    };
    if stream.is_empty() || stream.len() > MAX_NAME_BYTES {
        let problem = format!("is empty or too long; give 1 to {MAX_NAME_BYTES} bytes");
        return Err((field("stream"), problem));
    }
    let is_used = |signal: &SignalStream| [&signal.stream, &signal.dead_letters].contains(&&stream);
    if signals.iter().any(is_used) {
        let problem =
            format!("is {stream:?}, which [[redis.signals]] uses; give a stream of its own");
        return Err((field("stream"), problem));
    }
    if file.channel_prefix.len() > MAX_NAME_BYTES {
        let problem = format!("is too long; give at most {MAX_NAME_BYTES} bytes");
        return Err((field("channel_prefix"), problem));
    }
    if let Some(source) = &file.source
        && (source.is_empty() || source.len() > MAX_NAME_BYTES || !source.bytes().all(is_uri_byte))
    {
        let problem = format!(
            "is no URI reference of 1 to {MAX_NAME_BYTES} bytes; give e.g. https://ark.example/hosts/1"
        );
        return Err((field("source"), problem));
    }
    Ok(Some(EventsConfig {
        stream,
        max_length: file.max_length,
        publish: file.publish,
        channel_prefix: file.channel_prefix,
        source: file.source,
    }))
}

/// Returns whether a byte can stand in a URI (RFC 3986, section 2).
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

fn resolve_signals(index: usize, file: RedisSignalsFile) -> Result<SignalStream, KeyProblem> {
    let field = |name: &str| format!("redis.signals[{index}].{name}");
    if index >= MAX_STREAMS {
        let problem = format!("is one too many; read at most {MAX_STREAMS} streams");
        return Err((format!("redis.signals[{index}]"), problem));
    }
    let group = file.group.unwrap_or_else(|| "ark".to_owned());
    let dead_letters = file
        .dead_letters
        .unwrap_or_else(|| format!("{}:dead", file.stream));
    for (name, text) in [
        ("stream", Some(&file.stream)),
        ("group", Some(&group)),
        ("dead_letters", Some(&dead_letters)),
        ("field", file.field.as_ref()),
        ("key", file.key.as_ref()),
    ] {
        if text.is_some_and(|text| text.is_empty() || text.len() > MAX_NAME_BYTES) {
            let problem = format!("is empty or too long; give 1 to {MAX_NAME_BYTES} bytes");
            return Err((field(name), problem));
        }
    }
    check_topic("topic", &file.topic).map_err(|error| {
        (
            field("topic"),
            format!("{}; {}", error.problem, error.remedy),
        )
    })?;
    if file.topic.starts_with(HOST_TOPIC_PREFIX) {
        let problem = format!(
            "is {:?}, and topics that start with `{HOST_TOPIC_PREFIX}` are the host's own; give another one, e.g. market.tick",
            file.topic
        );
        return Err((field("topic"), problem));
    }
    if file
        .select
        .as_ref()
        .is_some_and(std::collections::BTreeMap::is_empty)
    {
        let problem = "selects nothing; name the members of the payload, or leave it out";
        return Err((field("select"), problem.to_owned()));
    }
    let max_attempts = file.max_attempts.unwrap_or(16);
    if !(1..=1000).contains(&max_attempts) {
        let problem = format!("is {max_attempts}; give 1 to 1000");
        return Err((field("max_attempts"), problem));
    }
    Ok(SignalStream {
        stream: file.stream,
        group,
        form: EntryForm {
            topic: file.topic,
            payload: file
                .field
                .map_or(PayloadSource::Entry, PayloadSource::Field),
            key: file.key,
            select: file.select,
        },
        max_attempts,
        dead_letters,
    })
}

/// Each stream is read once, and none is a dead-letter stream: its entries would come back as signals.
fn check_distinct(signals: &[SignalStream]) -> Result<(), KeyProblem> {
    let mut seen = HashSet::new();
    for (index, signal) in signals.iter().enumerate() {
        if !seen.insert(&signal.stream) {
            let problem = format!(
                "is {:?}, which is read already; name it once",
                signal.stream
            );
            return Err((format!("redis.signals[{index}].stream"), problem));
        }
    }
    for (index, signal) in signals.iter().enumerate() {
        if seen.contains(&signal.dead_letters) {
            let problem = format!(
                "is {:?}, which is read for signals; give a stream of its own",
                signal.dead_letters
            );
            return Err((format!("redis.signals[{index}].dead_letters"), problem));
        }
    }
    Ok(())
}
