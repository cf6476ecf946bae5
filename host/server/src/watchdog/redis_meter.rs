//! Measures a Redis: whether it answers, how fast, and how much waits in it. It only reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Connection, RedisError, RedisResult, cmd};

use crate::outgoing_events::EventsBacklog;
use crate::redis::{LinkError, RedisLink, RedisSettings, RedisStatus, StreamStatus};
use ark_store::Store;

use super::alert_rules::{self, AlertRule};

/// Which Redis is measured, and from when on there are alerts.
#[derive(Debug, Clone)]
pub struct RedisWatchConfig {
    /// How it is reached.
    pub settings: Arc<RedisSettings>,
    /// The key of its queue, which is a stream or a list.
    pub queue: String,
    /// How often it is measured, and how long it may take to answer.
    pub interval: Duration,
    /// What alerts are graded by.
    pub limits: RedisWatchLimits,
}

/// What the alerts about a Redis are graded by.
#[derive(Debug, Clone, Copy)]
pub struct RedisWatchLimits {
    /// The latency.
    pub latency: Duration,
    /// The number of entries in the queue.
    pub depth: u64,
    /// The number of entries in a stream of signals.
    pub stream_depth: u64,
    /// The number of entries in a stream that wait to be read.
    pub lag: u64,
    /// How long an entry that was read waits for its acknowledgement.
    pub pending_age: Duration,
    /// The number of dead letters of a stream.
    pub dead_letters: u64,
    /// The number of events that wait to be sent.
    pub events_waiting: u64,
    /// How long an event waits to be sent.
    pub events_age: Duration,
}

/// The last measurement of a Redis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RedisMeasurement {
    /// How long it took to answer a PING, in milliseconds; absent: it did not answer.
    pub latency_ms: Option<f64>,
    /// How many entries the queue has; absent: it did not answer.
    pub depth: Option<u64>,
    /// Why it could not be measured.
    pub problem: Option<String>,
    /// When it was measured; absent: it was not yet.
    pub measured_at: Option<Instant>,
    /// The streams whose entries become signals, in the order of the configuration; empty: it did not answer.
    pub streams: Vec<StreamMeasurement>,
    /// How many entries the stream of events has; absent: it did not answer, or there is none.
    pub events_depth: Option<u64>,
    /// The events that wait to be sent; absent: none are sent, or the database cannot be read.
    pub events: Option<EventsBacklog>,
}

/// How much waits in a stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamMeasurement {
    /// The key of the stream.
    pub stream: String,
    /// How many entries it has, read ones included.
    pub depth: u64,
    /// How many entries its group has not read; absent: the Redis cannot tell, since entries were removed or it is older than version 7.
    pub lag: Option<u64>,
    /// How many entries were read and are not acknowledged.
    pub pending: u64,
    /// How long the oldest of those has been pending.
    pub pending_age: Duration,
    /// How many entries the dead-letter stream has.
    pub dead_letters: u64,
    /// Why it could not be measured.
    pub problem: Option<String>,
}

/// Something that was measured, and the limit that its alert is graded by.
pub(super) struct Graded {
    pub(super) rule: &'static AlertRule,
    pub(super) observed: f64,
    pub(super) limit: f64,
    pub(super) message: String,
}

/// Measures a Redis over one connection, and connects again when that fails.
pub(super) struct RedisMeter {
    config: RedisWatchConfig,
    link: RedisLink,
    /// The streams and events that the host uses in the Redis.
    used: Arc<RedisStatus>,
    store: Store,
    /// The oldest entry of each stream that was read and not acknowledged, and since when it is known.
    oldest_pending: HashMap<String, (String, Instant)>,
}

impl RedisMeter {
    pub(super) fn new(config: RedisWatchConfig, used: Arc<RedisStatus>, store: Store) -> Self {
        Self {
            link: RedisLink::new(Arc::clone(&config.settings), config.interval),
            config,
            used,
            store,
            oldest_pending: HashMap::new(),
        }
    }

    /// Measures once. Blocks for up to the interval for each of its commands.
    pub(super) fn measure(&mut self) -> RedisMeasurement {
        let mut measured = match self.measure_redis() {
            Ok(measured) => {
                self.link.record_success();
                measured
            }
            Err(error) => {
                self.link.record_failure(&error);
                RedisMeasurement {
                    problem: Some(error.to_string()),
                    ..RedisMeasurement::default()
                }
            }
        };
        if let Some(events) = &self.used.events {
            measured.events = events.measure_backlog(&self.store).ok().flatten();
        }
        measured.measured_at = Some(Instant::now());
        measured
    }

    fn measure_redis(&mut self) -> Result<RedisMeasurement, LinkError> {
        let connection = self.link.connect()?;
        let asked_at = Instant::now();
        cmd("PING").query::<String>(connection)?;
        let latency = asked_at.elapsed();
        let depth = measure_queue(connection, &self.config.queue)?;
        let mut streams = Vec::new();
        for used in &self.used.streams {
            let measured = measure_stream(connection, used, &mut self.oldest_pending);
            streams.push(or_problem(measured, |problem| StreamMeasurement {
                stream: used.stream.clone(),
                problem: Some(problem),
                ..StreamMeasurement::default()
            })?);
        }
        let events_depth = match &self.used.events {
            None => None,
            Some(events) => {
                or_problem(measure_length(connection, &events.stream).map(Some), |_| {
                    None
                })?
            }
        };
        Ok(RedisMeasurement {
            latency_ms: Some(latency.as_secs_f64() * 1e3),
            depth: Some(depth),
            streams,
            events_depth,
            ..RedisMeasurement::default()
        })
    }
}

/// Takes what the Redis refuses to tell of one stream for that stream's problem. A connection that fails is everything's.
fn or_problem<T>(
    measured: RedisResult<T>,
    of_problem: impl FnOnce(String) -> T,
) -> Result<T, RedisError> {
    match measured {
        Err(error) if error.code().is_some() => Ok(of_problem(error.to_string())),
        measured => measured,
    }
}

fn measure_queue(connection: &mut Connection, queue: &str) -> Result<u64, LinkError> {
    let kind: String = cmd("TYPE").arg(queue).query(connection)?;
    let length = match kind.as_str() {
        "stream" => "XLEN",
        "list" => "LLEN",
        // The queue does not exist yet: nothing waits.
        "none" => return Ok(0),
        _ => {
            let problem = (
                redis::ErrorKind::UnexpectedReturnType,
                "the queue is neither a stream nor a list",
            );
            return Err(LinkError::Redis(problem.into()));
        }
    };
    Ok(cmd(length).arg(queue).query(connection)?)
}

fn measure_length(connection: &mut Connection, stream: &str) -> RedisResult<u64> {
    cmd("XLEN").arg(stream).query(connection)
}

fn measure_stream(
    connection: &mut Connection,
    used: &StreamStatus,
    oldest_pending: &mut HashMap<String, (String, Instant)>,
) -> RedisResult<StreamMeasurement> {
    let depth = measure_length(connection, &used.stream)?;
    let mut measured = StreamMeasurement {
        stream: used.stream.clone(),
        depth,
        // Without a group nothing was read.
        lag: Some(depth),
        dead_letters: measure_length(connection, &used.dead_letters)?,
        ..StreamMeasurement::default()
    };
    let exists: bool = cmd("EXISTS").arg(&used.stream).query(connection)?;
    let groups: Vec<HashMap<String, redis::Value>> = if exists {
        cmd("XINFO")
            .arg("GROUPS")
            .arg(&used.stream)
            .query(connection)?
    } else {
        Vec::new()
    };
    let named = |group: &&HashMap<String, redis::Value>| {
        let name = group.get("name").cloned();
        name.is_some_and(|name| {
            redis::from_redis_value::<String>(name).is_ok_and(|name| name == used.group)
        })
    };
    let Some(group) = groups.iter().find(named) else {
        oldest_pending.remove(&used.stream);
        return Ok(measured);
    };
    let number = |field: &str| -> Option<u64> {
        let value = group.get(field).cloned()?;
        redis::from_redis_value(value).ok().flatten()
    };
    measured.lag = number("lag");
    measured.pending = number("pending").unwrap_or(0);
    let oldest: Vec<(String, String, u64, u64)> = cmd("XPENDING")
        .arg(&used.stream)
        .arg(&used.group)
        .arg(&["-", "+", "1"])
        .query(connection)?;
    let Some((entry, _, idle_ms, _)) = oldest.into_iter().next() else {
        oldest_pending.remove(&used.stream);
        return Ok(measured);
    };
    // A host that holds an entry says so again and again, which sets its idle time back: so it is counted here too.
    let known = oldest_pending
        .entry(used.stream.clone())
        .or_insert_with(|| (entry.clone(), Instant::now()));
    if known.0 != entry {
        *known = (entry, Instant::now());
    }
    measured.pending_age = known.1.elapsed().max(Duration::from_millis(idle_ms));
    Ok(measured)
}

impl RedisWatchConfig {
    /// Returns what was measured with the limits of its alerts; of several streams the one that is nearest to its limit.
    pub(super) fn grade(&self, measured: &RedisMeasurement) -> Vec<Graded> {
        let limits = &self.limits;
        let mut graded = Vec::new();
        if measured.problem.is_none() {
            let latency = measured.latency_ms.unwrap_or(f64::INFINITY);
            let depth = measured.depth.unwrap_or(0) as f64;
            for (rule, observed, limit) in [
                (
                    &alert_rules::REDIS_LATENCY,
                    latency,
                    to_millis(limits.latency),
                ),
                (&alert_rules::REDIS_DEPTH, depth, limits.depth as f64),
            ] {
                let message = format!("{observed:.1} of {limit:.0} in {}", self.queue);
                graded.push(Graded {
                    rule,
                    observed,
                    limit,
                    message,
                });
            }
        }
        type Read = fn(&StreamMeasurement) -> f64;
        let rules: [(&'static AlertRule, Read, f64, &str); 4] = [
            (
                &alert_rules::REDIS_STREAM_DEPTH,
                |stream| stream.depth as f64,
                limits.stream_depth as f64,
                "entries",
            ),
            (
                &alert_rules::REDIS_LAG,
                |stream| stream.lag.unwrap_or(0) as f64,
                limits.lag as f64,
                "entries that are not read",
            ),
            (
                &alert_rules::REDIS_PENDING_AGE,
                |stream| to_millis(stream.pending_age),
                to_millis(limits.pending_age),
                "milliseconds without an acknowledgement",
            ),
            (
                &alert_rules::REDIS_DEAD_LETTERS,
                |stream| stream.dead_letters as f64,
                limits.dead_letters as f64,
                "dead letters",
            ),
        ];
        for (rule, read, limit, what) in rules {
            let worst = measured
                .streams
                .iter()
                .max_by(|a, b| read(a).total_cmp(&read(b)));
            if let Some(stream) = worst {
                let observed = read(stream);
                graded.push(Graded {
                    rule,
                    observed,
                    limit,
                    message: format!("{}: {observed:.0} {what}, of {limit:.0}", stream.stream),
                });
            }
        }
        if let Some(events) = measured.events {
            let waiting = (events.events as f64, limits.events_waiting as f64);
            let age = (to_millis(events.age), to_millis(limits.events_age));
            for (rule, (observed, limit), what) in [
                (
                    &alert_rules::REDIS_EVENTS_WAITING,
                    waiting,
                    "events wait to be sent",
                ),
                (
                    &alert_rules::REDIS_EVENTS_AGE,
                    age,
                    "milliseconds that an event waits to be sent",
                ),
            ] {
                graded.push(Graded {
                    rule,
                    observed,
                    limit,
                    message: format!("{observed:.0} {what}, of {limit:.0}"),
                });
            }
        }
        graded
    }
}

fn to_millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
