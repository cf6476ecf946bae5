//! Signals through the Redis of a host, as a producer writes them: entries of a stream that the host reads, in the form that its configuration
//! gives them.
//!
//! Must not know: how the host is driven, what is proved.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_host::redis::{LinkError, PayloadSource, RedisConfig, RedisLink, SignalStream};
use ark_model::ids::TraceId;
use serde_json::{Map, Value};

use crate::synthetic::{SentSignal, SignalChannel, TickSignal};

/// How long opening a connection and each command may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What stands in members that the stream's form selects and a signal of this program does not have.
const FILLER: &str = "synthetic";

/// Why signals cannot go through the Redis of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum RedisSignalsError {
    /// The configuration names no Redis.
    #[error(
        "the configuration names no Redis; give redis.url, and an entry of [[redis.signals]] with topic = \"{topic}\""
    )]
    NoRedis {
        /// The topic of the signals.
        topic: String,
    },
    /// No stream becomes signals on the topic.
    #[error(
        "no entry of [[redis.signals]] has topic = \"{topic}\"; add one with a stream of its own, or give the topic of another one with --topic"
    )]
    NoStream {
        /// The topic of the signals.
        topic: String,
    },
    /// The Redis does not answer, or refuses.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Nobody reads the stream.
    #[error(
        "no group {group} reads the stream {stream}; start the host with this configuration (`ark redis status` shows what it reads)"
    )]
    NoReader {
        /// The consumer group.
        group: String,
        /// The stream.
        stream: String,
    },
}

/// A stream of signals that a host reads.
pub struct RedisSignals {
    link: RedisLink,
    stream: SignalStream,
}

impl RedisSignals {
    /// The stream whose entries become signals on a topic.
    ///
    /// # Errors
    /// The configuration has none: see [`RedisSignalsError`].
    pub fn for_topic(config: Option<&RedisConfig>, topic: &str) -> Result<Self, RedisSignalsError> {
        let topic = topic.to_owned();
        let Some(config) = config else {
            return Err(RedisSignalsError::NoRedis { topic });
        };
        let mut streams = config.signals.iter();
        let Some(stream) = streams.find(|stream| stream.form.topic == topic) else {
            return Err(RedisSignalsError::NoStream { topic });
        };
        Ok(Self {
            link: RedisLink::new(config.settings.clone(), TIMEOUT),
            stream: stream.clone(),
        })
    }

    /// Runs a command; a failure closes the connection, and the next command opens another.
    fn run_command<T: redis::FromRedisValue>(
        &mut self,
        command: &redis::Cmd,
    ) -> Result<T, LinkError> {
        let answered = match self.link.connect() {
            Ok(connection) => command.query(connection).map_err(LinkError::from),
            Err(error) => return Err(error),
        };
        match &answered {
            Ok(_) => self.link.record_success(),
            Err(error) => self.link.record_failure(error),
        }
        answered
    }

    fn find_reader(&mut self) -> Result<(), RedisSignalsError> {
        let stream = self.stream.stream.clone();
        let exists: bool = self.run_command(redis::cmd("EXISTS").arg(&stream))?;
        // Each group is a list of names and values in turn, the first of which are "name" and its name.
        let groups: Vec<BTreeMap<String, redis::Value>> = if exists {
            self.run_command(redis::cmd("XINFO").arg("GROUPS").arg(&stream))?
        } else {
            Vec::new()
        };
        let mut names = groups.into_iter().filter_map(|mut group| {
            let name = group.remove("name")?;
            redis::from_redis_value::<String>(name).ok()
        });
        if names.any(|name| name == self.stream.group) {
            return Ok(());
        }
        Err(RedisSignalsError::NoReader {
            group: self.stream.group.clone(),
            stream,
        })
    }
}

impl SignalChannel for RedisSignals {
    fn describe(&self) -> String {
        format!("the Redis stream {}", self.stream.stream)
    }

    fn check(&mut self) -> Result<(), String> {
        self.find_reader().map_err(|error| error.to_string())
    }

    /// The Redis has it then; the host takes it from there.
    fn send(&mut self, signal: &TickSignal<'_>) -> Result<SentSignal, String> {
        let trace_id = TraceId::fresh().to_string();
        let mut add = redis::cmd("XADD");
        add.arg(&self.stream.stream).arg("*");
        for (name, value) in make_entry(&self.stream, signal, &trace_id) {
            add.arg(name).arg(value);
        }
        let added: Result<String, _> = self.run_command(&add);
        added.map_err(|error| error.to_string())?;
        Ok(SentSignal {
            trace_id,
            signal_id: None,
        })
    }
}

/// The fields of an entry that becomes the signal.
fn make_entry(
    stream: &SignalStream,
    signal: &TickSignal<'_>,
    trace_id: &str,
) -> BTreeMap<String, String> {
    let form = &stream.form;
    let mut members = Map::new();
    for source in form.select.iter().flat_map(BTreeMap::values) {
        members.insert(source.clone(), FILLER.into());
    }
    members.insert("tick".to_owned(), signal.tick.into());
    members.insert("kind".to_owned(), signal.kind.into());
    let mut fields = match &form.payload {
        PayloadSource::Field(name) => {
            BTreeMap::from([(name.clone(), Value::Object(members).to_string())])
        }
        PayloadSource::Entry => members
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })
            .collect(),
    };
    // No two signals have the same trace, so it is a key too.
    for name in form.key.iter().map(String::as_str).chain(["trace_id"]) {
        fields.insert(name.to_owned(), trace_id.to_owned());
    }
    fields
}

#[cfg(test)]
mod tests {
    use ark_host::redis::EntryForm;

    use super::*;

    #[test]
    fn entries_have_the_form_of_their_stream() {
        let stream = |payload, key: Option<&str>, select: Option<&str>| SignalStream {
            stream: "s".to_owned(),
            group: "ark".to_owned(),
            form: EntryForm {
                topic: "synthetic.tick".to_owned(),
                payload,
                key: key.map(str::to_owned),
                select: select.map(|from| BTreeMap::from([("at".to_owned(), from.to_owned())])),
            },
            max_attempts: 1,
            dead_letters: "s:dead".to_owned(),
        };
        let signal = TickSignal {
            topic: "synthetic.tick",
            tick: 7,
            kind: "valid",
        };
        let trace_id = "0af7651916cd43dd8448eb211c80319c";
        let trace = ("trace_id", trace_id);
        let event = || PayloadSource::Field("event".to_owned());
        for (stream, fields) in [
            (
                stream(PayloadSource::Entry, None, None),
                vec![("kind", "valid"), ("tick", "7"), trace],
            ),
            (
                stream(PayloadSource::Entry, Some("id"), Some("ts")),
                vec![
                    ("id", trace_id),
                    ("kind", "valid"),
                    ("tick", "7"),
                    trace,
                    ("ts", FILLER),
                ],
            ),
            (
                stream(event(), Some("id"), None),
                vec![
                    ("event", r#"{"kind":"valid","tick":7}"#),
                    ("id", trace_id),
                    trace,
                ],
            ),
            (
                stream(event(), None, Some("ts")),
                vec![
                    ("event", r#"{"kind":"valid","tick":7,"ts":"synthetic"}"#),
                    trace,
                ],
            ),
        ] {
            let entry = make_entry(&stream, &signal, trace_id);
            let found: Vec<(&str, &str)> = entry
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(found, fields);
        }
    }
}
