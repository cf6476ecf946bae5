//! Signals by a Redis beside signals over HTTP, and a burst: `ARK_REDIS_BURST=100000` for figures.

use std::time::{Duration, Instant};

use ark_tests::redis::{Redis, RedisClient};
use ark_tests::{Client, Host, PATIENT, TestDir, copy_agent, guests_dir, take_turn, wait_until};
use serde_json::{Value, json};

use super::{Records, from_environment, lag, wait_until_idle, wait_until_read};

/// The stream of the test.
const STREAM: &str = "kyle:signals";
/// Entries that are written together.
const TOGETHER: u64 = 500;
/// Connections that send signals over HTTP.
const SENDERS: u64 = 8;
/// How much more memory a host may hold in a burst than before it, in KiB: what a queue of agents takes, whatever the burst has.
const MOST_GROWTH_KIB: u64 = 128 * 1024;

fn tick(number: u64) -> Value {
    json!({"symbol": "BTC-USD", "price": 100.0 + (number % 7) as f64 * 0.1, "volume": 5.0, "at": number})
}

fn write_entries(redis: &mut RedisClient, numbers: std::ops::Range<u64>) {
    let numbers: Vec<u64> = numbers.collect();
    for part in numbers.chunks(TOGETHER as usize) {
        let commands: Vec<Vec<String>> = part
            .iter()
            .map(|number| {
                let event = tick(*number).to_string();
                ["XADD", STREAM, "*", "event", &event]
                    .map(str::to_owned)
                    .to_vec()
            })
            .collect();
        redis.try_run_all(&commands).expect("answers");
    }
}

/// The memory that a host holds, in KiB.
fn resident_kib(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("a number")
}

/// Sends signals over HTTP, each answered when it is durable. What a full queue turns away is sent again.
fn send_over_http(host: &Host, numbers: std::ops::Range<u64>) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let numbers = numbers.clone();
            scope.spawn(move || {
                let mut client = Client::new(host);
                for number in numbers.filter(|number| number % SENDERS == sender) {
                    let signal = json!({"topic": "market.tick", "payload": tick(number)});
                    while client.post("/v1/signals", &signal).0 == 503 {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
    });
    began.elapsed()
}

#[test]
fn a_burst_waits_in_the_redis_and_the_hosts_memory_stays_as_it_is() {
    let _turn = take_turn();
    let burst = from_environment("ARK_REDIS_BURST", 2_000);
    let compared = (burst / 10).max(500);
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&format!(
        r#"{PATIENT}
[limits]
deadline_ms = 600_000
actions_per_minute = 1_000_000
[capacity]
agent_queue = 1000
token_requests_per_second = 1_000_000
[redis]
url = "redis://127.0.0.1:{}/0"
[[redis.signals]]
stream = "{STREAM}"
topic = "market.tick"
field = "event"
[redis.events]
stream = "ark:events"
"#,
        redis.port
    ));
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let records = Records::open(&dir);

    let over_http = send_over_http(&host, 0..compared);
    wait_until_idle(&records);
    let http_handled = records.signals();
    let began = Instant::now();
    write_entries(&mut client, compared..2 * compared);
    wait_until_read(&mut client, STREAM);
    let by_redis = began.elapsed();
    wait_until_idle(&records);
    assert_eq!((http_handled, records.signals()), (compared, 2 * compared));

    let before = resident_kib(&host);
    let began = Instant::now();
    write_entries(&mut client, 2 * compared..2 * compared + burst);
    let written = began.elapsed();
    let (mut most_lag, mut most_kib) = (0, 0);
    wait_until("the burst is read", || {
        let now: u64 = lag(&mut client, STREAM)
            .and_then(|lag| lag.parse().ok())
            .expect("a lag");
        most_lag = most_lag.max(now);
        most_kib = most_kib.max(resident_kib(&host));
        now == 0
    });
    wait_until_read(&mut client, STREAM);
    let read = began.elapsed();
    wait_until_idle(&records);
    let handled = began.elapsed();
    assert_eq!(records.signals(), 2 * compared + burst);
    assert_eq!(
        records.count("SELECT count(*) FROM deliveries WHERE status = 'done'"),
        2 * compared + burst
    );
    let sent = "events are sent";
    wait_until(sent, || {
        let (_, status) = Client::new(&host).get("/v1/watchdog");
        status["events"]["waiting"] == json!(0)
    });
    let events_sent = began.elapsed();
    assert!(
        most_kib.saturating_sub(before) < MOST_GROWTH_KIB,
        "the host held {before} KiB before the burst and {most_kib} KiB in it"
    );
    let rate = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    println!(
        "accepted a second: {:.0} by the Redis, {:.0} over HTTP ({SENDERS} connections), {compared} signals each\n\
         a burst of {burst} entries, written in {:.1} s: lag of up to {most_lag} entries, read after {:.1} s ({:.0}/s), handled after {:.1} s, its events sent after {:.1} s\n\
         resident memory: {} MiB before, {} MiB at most in the burst, {} MiB after",
        rate(compared, by_redis),
        rate(compared, over_http),
        written.as_secs_f64(),
        read.as_secs_f64(),
        rate(burst, read),
        handled.as_secs_f64(),
        events_sent.as_secs_f64(),
        before / 1024,
        most_kib / 1024,
        resident_kib(&host) / 1024
    );
    assert_eq!(host.terminate(), Some(0));
}
