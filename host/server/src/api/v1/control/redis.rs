//! What the watchdog sees of the Redis: a part of `/v1/watchdog`.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::state::Api;
use crate::redis::StreamStatus;
use crate::watchdog::{RedisMeasurement, StreamMeasurement};

/// The last measurement of a Redis.
#[derive(Serialize, ToSchema)]
pub(super) struct RedisView {
    /// Its address, without user and password.
    address: String,
    /// How long it took to answer a PING, in milliseconds; absent: it did not answer.
    latency_ms: Option<f64>,
    /// How many entries the queue `watchdog.redis_queue` has; absent: it did not answer.
    depth: Option<u64>,
    /// How long ago that was measured, in milliseconds; absent: it was not yet.
    measured_ms: Option<u64>,
    /// Why it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// How a stream is read, since the start of the host.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamView {
    /// The key of the stream.
    stream: String,
    /// The consumer group.
    group: String,
    /// The topic of the signals.
    topic: String,
    /// The stream for entries that cannot become signals.
    dead_letters: String,
    /// Entries that became signals.
    accepted: u64,
    /// Entries that had become signals before.
    duplicates: u64,
    /// Entries that went to the dead-letter stream.
    refused: u64,
    /// Entries that were trimmed from the stream before they could be read.
    trimmed: u64,
    /// Entries that were taken over from another consumer.
    claimed: u64,
    /// Connections that failed, and commands that were refused.
    failures: u64,
    /// Whether entries wait until a receiver's queue has room.
    waiting: bool,
    /// How long ago the Redis answered the reader of the stream last, in milliseconds; absent: it did not since the start.
    answered_ms: Option<u64>,
    /// How much waits in the stream at the last measurement; absent: the Redis did not answer.
    measured: Option<StreamLoad>,
    /// Why the stream is not read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// How much waits in a stream.
#[derive(Serialize, ToSchema)]
struct StreamLoad {
    /// Entries, read ones included.
    depth: u64,
    /// Entries that the group has not read; absent: the Redis cannot tell, since entries were removed or it is older than version 7.
    lag: Option<u64>,
    /// Entries that were read and are not acknowledged.
    pending: u64,
    /// How long the oldest of those has been that, in milliseconds.
    pending_age_ms: u64,
    /// Entries of the dead-letter stream.
    dead_letters: u64,
    /// Why it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// How events are sent to the Redis, since the start of the host.
#[derive(Serialize, ToSchema)]
pub(super) struct EventsView {
    /// The key of the stream.
    stream: String,
    /// The id of the last event that was sent, as in `/v1/events`; absent: it is not known yet.
    position: Option<String>,
    /// Events that were sent.
    sent: u64,
    /// Audit rows that went into an archive before they could be sent.
    missed: u64,
    /// Connections that failed, and commands that were refused.
    failures: u64,
    /// Entries of the stream at the last measurement; absent: the Redis did not answer.
    depth: Option<u64>,
    /// Events that wait to be sent, at the last measurement.
    waiting: Option<u64>,
    /// How long the oldest of those has waited, in milliseconds.
    waiting_ms: Option<u64>,
    /// How long ago the Redis took events last, or said what it has, in milliseconds; absent: it did not since the start.
    answered_ms: Option<u64>,
    /// Why events are not sent now.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Shows the Redis; `None`: this host uses none.
pub(super) fn show_redis(api: &Api) -> Option<RedisView> {
    let config = api.watchdog.config().redis.as_ref()?;
    let measured = api.watchdog.redis_measurement().unwrap_or_default();
    Some(RedisView {
        address: config.settings.address.shown().to_owned(),
        latency_ms: measured.latency_ms,
        depth: measured.depth,
        measured_ms: measured.measured_at.map(|at| whole_millis(at.elapsed())),
        problem: measured.problem,
    })
}

/// Shows how each stream is read.
pub(super) fn show_streams(api: &Api) -> Vec<StreamView> {
    let measured = api.watchdog.redis_measurement().unwrap_or_default();
    let streams = api.redis.streams.iter();
    streams
        .map(|status| {
            let measured = measured.streams.iter();
            let mut measured = measured.filter(|it| it.stream == status.stream);
            show_stream(status, measured.next())
        })
        .collect()
}

fn show_stream(status: &StreamStatus, measured: Option<&StreamMeasurement>) -> StreamView {
    StreamView {
        stream: status.stream.clone(),
        group: status.group.clone(),
        topic: status.topic.clone(),
        dead_letters: status.dead_letters.clone(),
        accepted: status.accepted.get(),
        duplicates: status.duplicates.get(),
        refused: status.refused.get(),
        trimmed: status.trimmed.get(),
        claimed: status.claimed.get(),
        failures: status.failures.get(),
        waiting: status.is_waiting(),
        answered_ms: status.answer_age().map(whole_millis),
        measured: measured.map(|measured| StreamLoad {
            depth: measured.depth,
            lag: measured.lag,
            pending: measured.pending,
            pending_age_ms: whole_millis(measured.pending_age),
            dead_letters: measured.dead_letters,
            problem: measured.problem.clone(),
        }),
        problem: status.problem(),
    }
}

/// Shows how events are sent; `None`: none are.
pub(super) fn show_events(api: &Api) -> Option<EventsView> {
    let status = api.redis.events.as_ref()?;
    let RedisMeasurement {
        events_depth,
        events,
        ..
    } = api.watchdog.redis_measurement().unwrap_or_default();
    Some(EventsView {
        stream: status.stream.clone(),
        position: status.position().map(|it| it.to_string()),
        sent: status.sent.get(),
        missed: status.missed.get(),
        failures: status.failures.get(),
        depth: events_depth,
        waiting: events.map(|events| events.events),
        waiting_ms: events.map(|events| whole_millis(events.age)),
        answered_ms: status.answer_age().map(whole_millis),
        problem: status.problem(),
    })
}

pub(super) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
