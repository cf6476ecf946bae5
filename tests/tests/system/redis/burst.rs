//! Signals by a Redis beside signals over HTTP, and a burst: `ARK_REDIS_BURST=100000` for figures.

use std::time::{Duration, Instant};

use ark_tests::redis::{Redis, RedisClient};
use ark_tests::{
    Client, Host, PATIENT, TestDir, copy_agent, guests_dir, post_signal, take_turn, wait_until,
};
use serde_json::{Value, json};

use super::{
    AMPLE, Records, events, from_environment, read_lag, read_pending, wait_until_idle,
    wait_until_read,
};

/// The stream whose signals an agent handles.
const HANDLED: &str = "kyle:signals";
/// The stream whose signals no agent receives: they are accepted and stored.
const STORED: &str = "other:signals";
/// Entries that are written together.
const TOGETHER: usize = 500;
/// Connections that send signals over HTTP.
const SENDERS: usize = 8;
/// Entries that a host takes of a stream before it has acknowledged them: docs/redis.md.
const MOST_GIVEN: u64 = 128;
/// How much more memory a host may hold in a burst than before it, in KiB: what a queue of agents takes, whatever the burst has.
const MOST_GROWTH_KIB: u64 = 128 * 1024;

fn make_tick(number: u64) -> Value {
    json!({"symbol": "BTC-USD", "price": 100.0 + (number % 7) as f64 * 0.1, "volume": 5.0, "at": number})
}

fn write_entries(redis: &mut RedisClient, stream: &str, count: u64) {
    let numbers: Vec<u64> = (0..count).collect();
    for part in numbers.chunks(TOGETHER) {
        let commands: Vec<Vec<String>> = part
            .iter()
            .map(|number| {
                let event = make_tick(*number).to_string();
                let add = ["XADD", stream, "*", "event", &event];
                add.map(str::to_owned).to_vec()
            })
            .collect();
        redis.try_run_all(&commands).expect("answers");
    }
}

/// Sends signals over HTTP. Each is answered when it is durable.
fn send_over_http(host: &Host, topic: &str, count: u64) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            scope.spawn(move || {
                let mut client = Client::new(host);
                for number in (0..count).skip(sender).step_by(SENDERS) {
                    post_signal(&mut client, topic, &make_tick(number));
                }
            });
        }
    });
    began.elapsed()
}

#[test]
fn a_burst_waits_in_the_redis_and_the_hosts_memory_stays_as_it_is() {
    let _turn = take_turn();
    let burst = from_environment("ARK_REDIS_BURST", 5_000);
    let (compared, handled) = (burst / 5, burst / 10);
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&format!(
        r#"{PATIENT}
{AMPLE}[capacity]
agent_queue = 200
token_requests_per_second = 1_000_000
[redis]
url = "redis://127.0.0.1:{}/0"
[[redis.signals]]
stream = "{HANDLED}"
topic = "market.tick"
field = "event"
[[redis.signals]]
stream = "{STORED}"
topic = "other.tick"
field = "event"
[redis.events]
stream = "{}"
"#,
        redis.port,
        events::STREAM
    ));
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let records = Records::open(&dir);
    let count = |topic: &str| {
        records.query_count(&format!(
            "SELECT count(*) FROM signals WHERE topic = '{topic}'"
        ))
    };

    // Signals that nobody handles, so that only their acceptance is compared.
    let over_http = send_over_http(&host, "other.tick", compared);
    let began = Instant::now();
    write_entries(&mut client, STORED, compared);
    wait_until_read(&mut client, STORED);
    let by_redis = began.elapsed();
    assert_eq!(count("other.tick"), 2 * compared);

    let before = host.memory_kib("VmRSS");
    let began = Instant::now();
    write_entries(&mut client, HANDLED, handled);
    write_entries(&mut client, STORED, burst);
    let written = began.elapsed();
    let (mut most_lag, mut most_kib, mut stored) = (0, 0, None);
    wait_until_all("the burst is read", || {
        let lags = [HANDLED, STORED].map(|stream| -> u64 {
            let lag = read_lag(&mut client, stream).and_then(|lag| lag.parse().ok());
            lag.expect("a lag")
        });
        // What a stream has in the host's memory is bounded, however long the burst.
        for stream in [HANDLED, STORED] {
            let given: u64 = read_pending(&mut client, stream).parse().expect("a number");
            assert!(given <= MOST_GIVEN, "{stream}: {given}");
        }
        most_lag = most_lag.max(lags.iter().sum());
        most_kib = most_kib.max(host.memory_kib("VmRSS"));
        if lags[1] == 0 {
            stored.get_or_insert(began.elapsed());
        }
        lags.iter().sum()
    });
    wait_until_read(&mut client, HANDLED);
    wait_until_read(&mut client, STORED);
    wait_until_idle(&records);
    let all_handled = began.elapsed();
    most_kib = most_kib.max(host.memory_kib("VmRSS"));
    assert_eq!(count("other.tick"), 2 * compared + burst);
    assert_eq!(count("market.tick"), handled);
    let done = "SELECT count(*) FROM deliveries WHERE agent = 'kyle' AND status = 'done'";
    assert_eq!(records.query_count(done), handled);
    wait_until("the events are sent", || {
        let (_, status) = Client::new(&host).get("/v1/watchdog");
        status["events"]["waiting"] == json!(0)
    });
    assert!(
        most_kib.saturating_sub(before) < MOST_GROWTH_KIB,
        "the host held {before} KiB before the burst and {most_kib} KiB in it"
    );
    let rate = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    let stored = stored.unwrap_or(all_handled);
    println!(
        "accepted a second: {:.0} by the Redis, {:.0} over HTTP ({SENDERS} connections), {compared} signals each\n\
         a burst of {burst} signals, and {handled} for an agent, written in {:.1} s: lag of up to {most_lag} entries; those without a receiver are accepted after {:.1} s ({:.0}/s), the others handled after {:.1} s ({:.0}/s)\n\
         resident memory: {} MiB before, {} MiB at most, {} MiB after",
        rate(compared, by_redis),
        rate(compared, over_http),
        written.as_secs_f64(),
        stored.as_secs_f64(),
        rate(burst, stored),
        all_handled.as_secs_f64(),
        rate(handled, all_handled),
        before / 1024,
        most_kib / 1024,
        host.memory_kib("VmRSS") / 1024
    );
    assert_eq!(host.terminate(), Some(0));
}

/// Waits until nothing is left. Only a standstill ends the wait.
fn wait_until_all(what: &str, mut left: impl FnMut() -> u64) {
    let mut now = left();
    while now > 0 {
        let before = now;
        wait_until(what, || {
            now = left();
            now < before
        });
    }
}
