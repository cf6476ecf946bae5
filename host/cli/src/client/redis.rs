//! `ark redis`: how a running host reads from its Redis and sends to it.

use std::process::ExitCode;

use ark_client::members::{array_field, is_true, text_field};
use ark_model::printable::format_count;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::output::{print_json, print_line};

use super::connection::Connection;
use super::request::ApiRequest;

#[derive(Debug, Subcommand)]
pub(crate) enum RedisCommand {
    /// Shows whether the Redis answers, how much waits in each stream, and how far events were sent.
    Status {
        #[command(flatten)]
        connection: Connection,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run_command(command: RedisCommand) -> anyhow::Result<ExitCode> {
    let RedisCommand::Status { connection, json } = command;
    let status = ApiRequest::get(&["v1", "watchdog"]).send(&connection)?;
    if json {
        let part = |name: &str| status.get(name).cloned().unwrap_or_default();
        print_json(&json!({
            "redis": part("redis"),
            "streams": part("streams"),
            "events": part("events"),
            "fleet": part("fleet"),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    match status.get("redis").filter(|redis| redis.is_object()) {
        None => print_line!(
            "this host uses no Redis; give one in its configuration: url, in the table [redis]"
        ),
        Some(redis) => {
            print_redis(redis);
            print_streams(&status);
            print_events(&status);
            print_fleet(&status);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_redis(redis: &Value) {
    let latency = redis.get("latency_ms").and_then(Value::as_f64);
    let state = match (latency, text_field(redis, "problem")) {
        (Some(latency), _) => format!(
            "answers in {latency:.1} ms (measured {} ago)",
            show_age(redis.get("measured_ms"))
        ),
        (None, "") => "is not measured yet".to_owned(),
        (None, problem) => format!("DOES NOT ANSWER: {problem}"),
    };
    print_line!("{} {state}", text_field(redis, "address"));
}

fn print_streams(status: &Value) {
    let streams = array_field(status, "streams");
    if streams.is_empty() {
        return;
    }
    print_line!(
        "{:<24} {:>8} {:>8} {:>8} {:>9} {:>8} {:>9} {:>8}  state",
        "stream",
        "entries",
        "unread",
        "pending",
        "for",
        "dead",
        "accepted",
        "refused"
    );
    for stream in streams {
        let measured = |name: &str| stream.get("measured").and_then(|it| it.get(name));
        let state = match text_field(stream, "problem") {
            "" if is_true(stream, "waiting") => "waits for room in a queue".to_owned(),
            "" => {
                let state = describe_progress(status, stream, ["is read", "was read"]);
                match measured("problem").and_then(Value::as_str) {
                    Some(problem) => format!("{state}; cannot be measured: {problem}"),
                    None => state,
                }
            }
            problem => format!("IS NOT READ: {problem}"),
        };
        print_line!(
            "{:<24} {:>8} {:>8} {:>8} {:>9} {:>8} {:>9} {:>8}  {state}",
            text_field(stream, "stream"),
            show_number(measured("depth")),
            show_number(measured("lag")),
            show_number(measured("pending")),
            show_age(measured("pending_age_ms")),
            show_number(measured("dead_letters")),
            show_number(stream.get("accepted")),
            show_number(stream.get("refused"))
        );
    }
}

/// Whether the Redis did not answer when it was measured last.
fn is_away(status: &Value) -> bool {
    let redis = status.get("redis").unwrap_or(&Value::Null);
    !text_field(redis, "problem").is_empty()
}

/// What is known of a stream without a problem of its own: `words` say it of a Redis that answers, and of one that does not. The reader and the sender
/// notice a lost connection only when they use it next, so how old the last answer is stands beside.
fn describe_progress(status: &Value, stream: &Value, words: [&str; 2]) -> String {
    let [now, before] = words;
    let answered = stream.get("answered_ms").filter(|age| age.is_u64());
    let last = answered.map(|age| format!("last answer {} ago", show_age(Some(age))));
    match (is_away(status), last) {
        (false, Some(last)) => format!("{now} ({last})"),
        (false, None) => "waits for the first answer of the Redis".to_owned(),
        (true, Some(last)) => format!("{before} ({last}); the Redis does not answer now"),
        (true, None) => "the Redis does not answer now".to_owned(),
    }
}

fn print_events(status: &Value) {
    let Some(events) = status.get("events").filter(|events| events.is_object()) else {
        return;
    };
    let state = match text_field(events, "problem") {
        "" => describe_progress(status, events, ["are sent", "were sent"]),
        problem => format!("ARE NOT SENT: {problem}"),
    };
    print_line!(
        "{:<24} {:>8} {:>8} {:>9} {:>9}  state",
        "events",
        "entries",
        "waiting",
        "for",
        "sent"
    );
    print_line!(
        "{:<24} {:>8} {:>8} {:>9} {:>9}  {state}",
        text_field(events, "stream"),
        show_number(events.get("depth")),
        show_number(events.get("waiting")),
        show_age(events.get("waiting_ms")),
        show_number(events.get("sent"))
    );
    let missed = events.get("missed").and_then(Value::as_u64).unwrap_or(0);
    if missed > 0 {
        let rows = format_count(missed, "row", "rows");
        print_line!("{rows} of the audit log went into an archive before being sent");
    }
}

fn print_fleet(status: &Value) {
    let Some(fleet) = status.get("fleet").filter(|fleet| fleet.is_object()) else {
        return;
    };
    let state = match text_field(fleet, "problem") {
        "" if is_away(status) => {
            "orders were exchanged at last; the Redis does not answer now".to_owned()
        }
        "" => "orders are exchanged".to_owned(),
        problem => format!("ORDERS ARE NOT EXCHANGED: {problem}"),
    };
    print_line!("fleet {}: {state}", text_field(fleet, "stream"));
}

/// A number, or a mark that it is not known.
fn show_number(value: Option<&Value>) -> String {
    value
        .and_then(Value::as_u64)
        .map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// An age in milliseconds.
fn show_age(value: Option<&Value>) -> String {
    value.and_then(Value::as_u64).map_or_else(
        || "?".to_owned(),
        |age| format!("{:.1} s", age as f64 / 1e3),
    )
}
