//! From the table `[redis]` to how the Redis is reached and what it is used for.

use std::collections::HashSet;
use std::sync::Arc;

use crate::redis::{
    EntryForm, PayloadSource, RedisAddress, RedisConfig, RedisSettings, SignalStream,
};
use crate::router::HOST_TOPIC_PREFIX;
use ark_model::check::check_topic;

use super::file::{RedisFile, RedisSignalsFile, WatchdogFile};

/// A key, and what is wrong with its value.
type Problem = (String, String);

/// How many streams are read at most: each has a thread.
const MAX_STREAMS: usize = 32;
/// The longest name of a stream, a group or a field, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// What the Redis is used for; `None`: there is none.
pub(super) fn resolve_redis(
    file: RedisFile,
    watchdog: &WatchdogFile,
) -> Result<Option<RedisConfig>, Problem> {
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
    Ok(Some(RedisConfig {
        settings: Arc::new(RedisSettings {
            address,
            username: file.username,
            password_file: file.password_file,
            ca_file: file.ca_file,
        }),
        signals,
    }))
}

fn resolve_signals(index: usize, file: RedisSignalsFile) -> Result<SignalStream, Problem> {
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
fn check_distinct(signals: &[SignalStream]) -> Result<(), Problem> {
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
